"""Going on with a sweep. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

from saddle.config.compose import Composer, parse, value_of
from saddle.errors import InputError
from saddle.run.status import DONE, FAILED
from saddle.sweep.jobs import Sweep
from saddle.sweep.launcher import this_script
from saddle.sweep.running import Plan, run_jobs
from saddle.sweep.search.plan import Search
from saddle.sweep.search.start import checker, is_search, load


def resume_sweep(composer: Composer, overrides: Sequence[str]) -> int:
    """Run what is not done in the sweep folder that `-m resume=DIR` names; the exit status.

    Raises:
        InputError: if DIR holds no sweep, or another process runs it, or more is asked for.
    """
    others = [text for text in overrides if parse(text).key_or_group != "resume"]
    if others:
        raise InputError(f"-m resume=SWEEP_DIR takes no other option: leave out {' '.join(others)}")
    return run_rest(Sweep.load(str(value_of(overrides, "resume")), this_script()), composer)


def run_rest(sweep: Sweep, composer: Composer) -> int:
    """Run what is not done in a sweep; the exit status.

    Raises:
        InputError: if another process runs it.
    """
    with sweep.locked():
        if is_search(sweep.folder):
            plan: Plan = Search(sweep, *load(sweep.folder), checker(composer))
        else:
            plan = Plan(sweep.unfinished())
        if not plan.total:
            print(f"{sweep.folder}: all {len(sweep.jobs)} jobs are done")
        return FAILED if run_jobs(sweep, plan) else DONE
