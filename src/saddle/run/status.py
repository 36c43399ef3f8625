"""How a run can end, and what the shell is told of it. Free of torch."""

from __future__ import annotations

from saddle.errors import NonFinite

EXIT_STATUS = {
    "done": 0,
    "failed": 1,  # wrong input, or an error
    "nonfinite": 3,
    "preempted": 75,  # EX_TEMPFAIL: submit the same command again with resume=
    "interrupted": 130,  # Ctrl-C
}
DONE, FAILED = EXIT_STATUS["done"], EXIT_STATUS["failed"]
PRUNED = "pruned"  # a job of a search that was ended because it was hopeless; it does not run again


class Preempted(BaseException):
    """SIGTERM or SIGUSR1 came while there was nothing to save. Not an Exception: no handler in between swallows it."""


def status_of(error: BaseException) -> str:
    """The word for a run that `error` ended: one of the keys of `EXIT_STATUS`."""
    words = {NonFinite: "nonfinite", Preempted: "preempted", KeyboardInterrupt: "interrupted"}
    return next((word for kind, word in words.items() if isinstance(error, kind)), "failed")


def describe(error: BaseException) -> str:
    """One line that says what went wrong."""
    text = " ".join(str(error).split())
    return text if isinstance(error, NonFinite) else f"{type(error).__name__}: {text}" if text else type(error).__name__
