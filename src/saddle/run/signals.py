"""Signals ask a run to save and end; between iterations the run looks whether one came. Free of torch.

While training (`armed`), a signal is only noted, so that no step is torn apart. Before and after it there is nothing
to save, and the signal ends the process at once. A second Ctrl-C always does.
"""

from __future__ import annotations

import signal
from types import FrameType

from saddle.run.status import Preempted

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

_received: list[int] = []
_armed = False


def install() -> None:
    """Handle SIGTERM, SIGUSR1 and SIGINT (again, if some library has put its own handlers in their place)."""
    for number in SIGNALS:
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


def forget() -> None:
    """Forget the signals received so far and disarm."""
    _received.clear()
    arm(False)


def _handle(number: int, frame: FrameType | None) -> None:
    again = number in _received
    _received.append(number)
    if number == signal.SIGINT and (again or not _armed):
        raise KeyboardInterrupt
    if number != signal.SIGINT and not _armed:
        raise Preempted
