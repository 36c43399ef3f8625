"""How a run can end, and what the shell is told of it. Free of torch."""

from __future__ import annotations

from saddle.errors import NonFinite

DONE = 0
FAILED = 1  # wrong input, or an error
NONFINITE = 3
PREEMPTED = 75  # EX_TEMPFAIL: submit the same command again with resume=
INTERRUPTED = 130  # Ctrl-C
PRUNED = "pruned"  # how a job of a sweep ended that was hopeless; it does not run again

EXIT_STATUS = {
    "done": DONE,
    "failed": FAILED,
    "nonfinite": NONFINITE,
    "preempted": PREEMPTED,
    "interrupted": INTERRUPTED,
}


class Preempted(BaseException):
    """SIGTERM or SIGUSR1 came while there was nothing to save. Not an Exception: no handler in between swallows it."""


def status_of(error: BaseException) -> str:
    """The word for a run that `error` ended: one of the keys of `EXIT_STATUS`."""
    if isinstance(error, NonFinite):
        return "nonfinite"
    if isinstance(error, Preempted):
        return "preempted"
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    return "failed"


def describe(error: BaseException) -> str:
    """One line that says what went wrong."""
    text = " ".join(str(error).split())
    return text if isinstance(error, NonFinite) else f"{type(error).__name__}: {text}" if text else type(error).__name__
