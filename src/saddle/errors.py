"""The error that a user can mend, and what an error came of."""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class InputError(ValueError):
    """Wrong input from the user: one line that names the input and the remedy.

    Entry points print its message without a traceback and exit with status 1.
    """


class NonFinite(ArithmeticError):
    """A loss, a gradient or a parameter was NaN or infinite; no checkpoint holds what came of it.

    Args:
        iteration: the iteration, counted from 1, of the bad step.
        name: the first tensor that is not finite: a term of the loss as it is logged (train/penalty/r1), a gradient
            (the gradient of discriminator.head.linear.weight), or a parameter.
    """

    def __init__(self, iteration: int, name: str):
        super().__init__(f"iteration {iteration}: {name} is not finite; the last checkpoint is from before it")
        self.iteration, self.name = iteration, name


def cause_of(error: BaseException, kind: type[E]) -> E | None:
    """The first of a kind among an error and what it came of, which libraries wrap; None if there is none."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, kind):
        cause = cause.__cause__ or cause.__context__
    return cause
