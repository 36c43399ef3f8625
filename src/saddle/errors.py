"""The error that a user can mend."""


class InputError(ValueError):
    """Wrong input from the user: one line that names the input and the remedy.

    Entry points print its message without a traceback and exit with status 1.
    """


class NonFinite(ArithmeticError):
    """A step's gradient was NaN or infinite; the parameters still hold what they held before it.

    Args:
        iteration: the iteration, counted from 1, of the bad step.
        name: the first parameter of the stepping player whose gradient is not finite.
    """

    def __init__(self, iteration: int, name: str):
        what = f"iteration {iteration}: the gradient of {name} is not finite"
        super().__init__(f"{what}; the last checkpoint is from before it")
        self.iteration, self.name = iteration, name
