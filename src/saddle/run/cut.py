"""Long work beside the steps, such as an evaluation, is cut short when any process of the run is asked to end."""

from __future__ import annotations

from saddle.distributed import sum_over_processes
from saddle.run import signals


class CutShort(Exception):
    """The work goes no further now. A resumed run does it from its beginning."""


def give_way() -> None:
    """Raise `CutShort` on every process if one is asked to end; each must call it equally often."""
    asked = signals.elected(sum_over_processes(signals.vote(signals.received())))
    if asked:
        signals.agree(asked)
        raise CutShort
