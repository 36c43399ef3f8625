"""Signals ask a run to save and end; between iterations the run looks whether one came. Free of torch.

While training (`armed`), a signal is only noted, so that no step is torn apart. Before and after it there is nothing
to save, and the signal ends the process at once. A second Ctrl-C always does. A lost terminal (SIGHUP) asks as SIGTERM
does, unless whoever started the process has it ignored, as nohup.
"""

from __future__ import annotations

import signal
from types import FrameType

from saddle.run.status import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)
VOTES = {"done": 1.0, "preempted": 1024.0, "interrupted": 1024.0**2}  # sums of under 1024 processes tell them apart

_received: list[int] = []
_armed = False
_agreed: str | None = None


def install() -> None:
    """Handle `SIGNALS` (again, if some library has put its own handlers in their place)."""
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _handle)


def arm(on: bool) -> None:
    """Say whether training is under way."""
    global _armed
    _armed = on


def received() -> str | None:
    """How the run is asked to end: "preempted", "interrupted", or None. Ctrl-C wins."""
    if signal.SIGINT in _received:
        return "interrupted"
    return "preempted" if _received else None


def vote(wish: str | None) -> float:
    """The vote of a process that wishes a run to end so, or not to end; the votes of all are added up."""
    return VOTES[wish] if wish else 0.0


def elected(votes: float) -> str | None:
    """How a run ends by the sum of the votes, or None. Ctrl-C wins."""
    return next((word for word in ("interrupted", "preempted", "done") if votes >= VOTES[word]), None)


def agree(status: str) -> None:
    """All processes know that the run ends now, so."""
    global _agreed
    _agreed = status


def agreed() -> str | None:
    """How the run ends now, as all processes know; None while it goes on."""
    return _agreed


def forget() -> None:
    """Forget the signals received so far and disarm."""
    global _agreed
    _received.clear()
    _agreed = None
    arm(False)


def _handle(number: int, frame: FrameType | None) -> None:
    again = number in _received
    _received.append(number)
    if number == signal.SIGINT and (again or not _armed):
        raise KeyboardInterrupt
    if number != signal.SIGINT and not _armed:
        raise Preempted
