"""Going on with a sweep. Free of torch.

Anybody may have made its folder. What is in it chooses among the configs of this process and sets their values, no
more. Where configs and code come from, and where jobs run, is said on the command line again, as when the sweep began.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from saddle.config.check import checked
from saddle.config.compose import Composer, parse, value_of
from saddle.config.instantiate import refuse_foreign, refuse_resolvers
from saddle.errors import InputError
from saddle.run.folder import refuse_links
from saddle.run.resume import are_names, key_of, trusted
from saddle.run.status import DONE, FAILED
from saddle.sweep.jobs import Sweep
from saddle.sweep.launcher import place_in, said, this_script
from saddle.sweep.running import Plan, run_jobs
from saddle.sweep.search.options import Check
from saddle.sweep.search.plan import Search
from saddle.sweep.search.start import is_search, load

AGAIN = ("hydra.searchpath", "hydra.launcher")  # what may be said beside resume= and trust=
NOT_OF_A_JOB = ("hydra", "resume", "trust")


def resume_sweep(composer: Composer, overrides: Sequence[str], flags: Sequence[str] = ()) -> int:
    """Run what is not done in the sweep folder that `-m resume=DIR` names; the exit status.

    The `flags` of the command line are those that say where its configs are.

    Raises:
        InputError: if DIR holds no sweep, or another process runs it; if more is asked for, or less said than when the
            sweep began; if a job asks for what no folder may.
    """
    searchpath, launcher = (said(overrides, key) for key in AGAIN)
    others = [text for text in overrides if key_of(text).partition(".")[0] not in ("resume", "trust")]
    others = [text for text in others if text not in (*searchpath, *launcher)]
    if others:
        raise InputError(f"-m resume=SWEEP_DIR takes no other option: leave out {' '.join(others)}")
    sweep = Sweep.load(str(value_of(overrides, "resume")), this_script())
    missing = [text for text in (*sweep.flags, *sweep.launcher) if text not in (*flags, *searchpath, *launcher)]
    if missing:
        again = " ".join(["-m", *sweep.flags, f"resume={sweep.folder}", *sweep.launcher])
        raise InputError(
            f"{sweep.folder} began with {' '.join(missing)}, which a folder is not believed: if the sweep is yours, "
            f"say it again: {again}"
        )
    sweep.flags, sweep.launcher, sweep.trust = [*flags, *searchpath], launcher, trusted(overrides)
    sweep.place = place_in(composer.compose([*searchpath, *launcher]).hydra)
    return run_rest(sweep, checker(composer, searchpath, sweep))


def checker(composer: Composer, searchpath: Sequence[str], sweep: Sweep) -> Check:
    """What refuses a job of a sweep's folder that is wrong, or that asks for what no folder may."""

    def check(overrides: Sequence[str]) -> dict[str, object]:
        for text in overrides:
            refuse_override(composer, text)
        config = checked(composer, [*searchpath, *overrides, "hydra.mode=RUN"])
        refuse_foreign(config, sweep.trust, f"{sweep.folder}: job {' '.join(overrides)}")
        return config

    return check


def refuse_override(composer: Composer, text: str) -> None:
    """Raise an InputError for an override of a job that reads more than this process's configs, or writes elsewhere."""
    outside = composer.is_choice(text) and not are_names(parse(text).value())
    resolvers = re.search(r"\$\{[^}]*[:$]", text)  # ${model.g_lr} is a value of the job's own config
    if key_of(text).partition(".")[0] in NOT_OF_A_JOB or outside or resolvers:
        raise InputError(f"{text}: no job of a folder may say that; say it on the command line of a new sweep")


def run_rest(sweep: Sweep, check: Check) -> int:
    """Run what is not done in a sweep; the exit status.

    Raises:
        InputError: if another process runs it, or `check` refuses the overrides of a job that has not begun.
    """
    refuse_links(sweep.folder, sweep.trust)
    with sweep.locked():
        if is_search(sweep.folder):
            space, options = load(sweep.folder)
            made = {"sampler": options.sampler, "pruner": options.pruner}
            refuse_resolvers(made, sweep.folder)
            refuse_foreign(made, sweep.trust, sweep.folder)
            plan: Plan = Search(sweep, space, options, check)
        else:
            plan = Plan(sweep.unfinished())
            for job in plan.waiting:
                if not sweep.run_folder(job).config_file.exists():
                    check(job.overrides)
        if not plan.total:
            print(f"{sweep.folder}: all {len(sweep.jobs)} jobs are done")
        return FAILED if run_jobs(sweep, plan) else DONE
