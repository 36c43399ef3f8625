"""Wrong command lines of all commands, made from the configs, and what becomes of each: a table.

    python tests/wrong_command_lines.py           runs all, writes benchmarks/results/wrong_command_lines.csv and the
                                                  table in docs/refusals.md

Every option is wrong in every way that its kind allows; those of the default configs in full, of all other choices once
each. A line of text in `WRITTEN` is one that a user might type.
"""

from __future__ import annotations

import csv
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from saddle.config import resolvers
from saddle.config.check import plain
from saddle.config.compose import Composer
from saddle.config.ranges import Kind

ROOT = Path(__file__).parent.parent
CONF, TABLE, PAGE = ROOT / "conf", ROOT / "benchmarks/results/wrong_command_lines.csv", ROOT / "docs/refusals.md"
BEGIN, END = "<!-- refusals: begin -->", "<!-- refusals: end -->"
SLOW = 2.0  # seconds after which a refusal is late

#: What each command needs beside the wrong word, so that nothing else is wrong; all are files of this repository.
GIVEN = {
    "train": [],
    "evaluate": ["real=/dev/null", "fake=/dev/null"],
    "sample": ["run=nowhere", "out=x.npz"],
    "report": ["sweep=/"],
    "dashboard": ["out=x.json"],
}

WRITTEN: dict[str, list[str]] = {
    "a list where one is chosen": [
        "train loss=[hinge,wasserstein]",
        "train trainer=[cpu,ddp_cpu]",
        "train experiment=[ring,grid]",
        "train callbacks=[points,nope]",
    ],
    "several values without -m": ["train loss=hinge,wasserstein", "train penalty=r1,r2", "train study=lr_beta,width"],
    "a choice that is not there": [
        "train model=cyclegan model/generator=dcgan",
        "train model=stylegan model/head=nope",
        "train model=unrolled model/trunk=dcgann",
        "evaluate run=x data=digits",
        "sample run=x out=y model=dcgan",
        "report sweep=/ loss=hinge",
        "dashboard model=dcgan out=x",
        "train metrics=nope",
        "train metrics=[fid,nope]",
        "train penalty=[r1,lecan]",
        "train experiment=biggan_cifar",
        "train study=lr_betas",
        "train experiment=gulrajani/nope",
        "train base=x",
        "train model/settings=r3gan",
        "evaluate real=/dev/null fake=/dev/null metrics=frechett",
    ],
    "parts that do not fit": [
        "train trainer=cpu trainer.devices=2",
        "train trainer=gpu trainer.devices=2",
        "train trainer=cpu trainer.num_nodes=2",
        "train callbacks=points data=digits",
        "train callbacks=translation",
        "train loss=energy",
        "train penalty=[r1]",
        "train model=biggan data.classes=0",
        "train model=cyclegan data=digits",
        "train data.resolution=33",
        "train model.packing=3",
        "train trainer=ddp_cpu data.batch_size=33",
        "train checkpoint.monitor=eval/fid",
        "train checkpoint.monitor=eval/frechett",
        "train metrics=none checkpoint.monitor=eval/frechet",
        "train model.top_k=0.5 loss=relativistic",
    ],
    "an option that another choice has": [
        "train model.head=projection",
        "train model.generator=dcgan",
        "train penalty.lecam.weight=1",
        "train model=stylegan2 penalty=[lecam] penalty.r1.weight=1",
        "train augment.kimg=3",
        "train model.unroll_steps=3",
        "train hydra.sweeper.trials=3",
        "train data=digits data.path=x",
    ],
    "an option that nothing reads": [
        "train +foo.bar=1",
        "train +foo=1",
        "train ++foo=1",
        "train +seed=3",
        "train +model.extra=1",
        "train +model.generator.extra=1",
        "train +data.extra=1",
        "train +penalty.r1.weight=3",
        "train +callbacks.mine.every=3",
        "train +callbacks.walks.extra=3",
        "train callbacks.mine._target_=a.B",
        "evaluate real=/dev/null fake=/dev/null +extra=1",
        "report sweep=/ +extra=1",
        "train hydra.callbacks.x._target_=a.B",
        "train +hydra.job.env_set.A=1",
        "train hydra.job.env_set={A:1}",
        "train hydra.job.name=x",
        "train hydra.output_subdir=x",
        "train hydra/job_logging=none",
        "evaluate real=/dev/null fake=/dev/null hydra.run.dir=x",
        "sample run=x out=y hydra/launcher=ray",
        "report sweep=/ hydra.mode=MULTIRUN",
        "train hydra/launcher=basic",
        "train hydra.mode=nope",
        "train hydra.run.dir=null",
    ],
    "a schedule": [
        "train +model.schedules={g_lr:5}",
        "train +model.schedules={g_lr:{end:0}}",
        "train +model.schedules={g_lr:{end:0,kimg:1,iterations:1}}",
        "train +model.schedules={g_lr:{end:x,kimg:1}}",
        "train +model.schedules.g_lr.ending=1",
        "train model.schedules={g_lr:{end:0,kimg:1}}",
    ],
    "a path": [
        "evaluate run=nowhere",
        "evaluate run=2024_01_02",
        "evaluate run=1e3",
        "evaluate run=/",
        "evaluate run=/dev/null",
        "evaluate real=nowhere fake=nowhere",
        "sample run=nowhere out=x.npz",
        "report sweep=nowhere",
        "report sweep=/dev/null",
        "dashboard sweep=nowhere out=x.json",
        "train resume=nowhere",
        "train resume=2024_01_02",
        "train resume=",
        "train data.path=",
        "train data=folder data.path=",
        "train hydra.run.dir=",
        "train hydra.run.dir=/dev/null/x",
        "train -m hydra.sweep.dir= seed=0,1",
        "train -m hydra.sweep.dir=/dev/null/x seed=0,1",
        "train -m resume=nowhere",
        "train -m resume=/",
    ],
    "what to score": [
        "evaluate",
        "evaluate real=/dev/null",
        "evaluate run=/ real=/dev/null fake=/dev/null",
        "evaluate real=/dev/null fake=/dev/null seeds=[0,1]",
        "evaluate real=/dev/null fake=/dev/null truncation=0.5",
        "evaluate real=/dev/null fake=/dev/null neighbours=3",
        "sample",
        "sample run=/",
        "report",
    ],
    "a sweep": [
        "train -m seed=range(3,0)",
        "train -m seed=range(0,3,0)",
        "train -m model.g_lr=interval(1e-5,1e-3)",
        "train -m study=lr_beta,width",
        "train -m loss=hinge,null",
        "train -m loss=hinge,nope",
        "train -m loss=hinge data.batchsize=3,4",
        "train -m data.batch_size=32,x",
        "train -m hydra/launcher=basic seed=0,1",
        "train -m hydra/launcher=nope seed=0,1",
        "train -m hydra/sweeper=nope seed=0,1",
        "train -m hydra/launcher=submitit_local hydra.launcher.place.timeout_min=x seed=0,1",
        "train -m hydra/launcher=submitit_slurm hydra.launcher.place.gpus_per_node=-1 seed=0,1",
        "train -m hydra/sweeper=tpe hydra.sweeper.trials=0 model.g_lr=1e-3,1e-4",
        "train -m hydra/sweeper=tpe hydra.sweeper.trials=x model.g_lr=1e-3,1e-4",
        "train -m hydra/sweeper=tpe hydra.sweeper.objectives=[] model.g_lr=1e-3,1e-4",
        "train -m hydra/sweeper=tpe seed=0,1",
        "evaluate -m real=/dev/null fake=/dev/null seed=0,1",
        "sample -m run=x,y out=z",
        "report -m sweep=/,x",
        "dashboard -m score=a,b",
    ],
    "a flag": [
        "train --experimental-rerun x",
        "train --bogus",
        "train --resolve",
        "train --package x",
        "train --cfg nope",
        "train --cfg job loss=nope",
        "train --config-name nope",
        "train --config-path nowhere",
        "evaluate --bogus",
        "train --seed 3",
    ],
    "what cannot be read": ["train foo", "train ''", "train data.path=a=b", "train =3", "train seed=[1"],
}


class Line(NamedTuple):
    """A wrong command line: what is wrong with it, the command, its words."""

    fault: str
    command: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join([self.command, *self.words])


def written() -> Iterator[Line]:
    """The lines of `WRITTEN`."""
    for fault, texts in WRITTEN.items():
        for command, *words in map(shlex.split, texts):
            yield Line(fault, command, tuple(words))


def made(command: str, composer: Composer) -> Iterator[Line]:
    """What can be wrong with a command: each option, in every way that its kind allows, and each group."""
    given = GIVEN[command]
    named = {word.partition("=")[0] for word in given}

    def line(fault: str, *words: str) -> Line:
        return Line(fault, command, (*given, *words))

    config, kinds = plain(composer.reference([]), complete=False), composer.ranges([])
    mine = [(key, default) for key, default in leaves(config) if key not in named and ordinary(key)]
    for number, (key, default) in enumerate(mine):
        for value in not_of(default, kinds.get(key)):
            yield line("an option's value", f"{key}={value}")
        ways = [
            line("an option's name", f"{key}{key[-1]}=1"),
            line("an option left out", f"~{key}"),
            line("an option added that is there", f"+{key}=1"),
            line("several values without -m", f"{key}=1,2"),
        ]
        yield ways[number % len(ways)]
    chosen = composer.compose([]).hydra.runtime.choices
    for group in (group for group in chosen if not group.startswith("hydra/") and "@" not in group):
        options = composer.library.options_of(group)
        first, last = f"{group}={options[0]}", f"{group}={options[-1]}"
        yield line("a choice that is not there", f"{group}=nope")
        yield line("a choice that is not there", f"{group}=3")
        yield line("a choice left out", f"~{group}")
        yield line("several values without -m", f"{first},{options[-1]}")
        if chosen[group] is not None:
            yield line("nothing chosen", f"{group}=null")
            yield line("a choice added that is there", f"+{last}")
        if not composer.library.takes_several(group):
            yield line("a list where one is chosen", f"{group}=[{options[0]},{options[-1]}]")


def of_other_choices(composer: Composer) -> Iterator[Line]:
    """For every sixth option of each group of train, one value out of the range of each of its options."""
    default = dict(leaves(plain(composer.reference([]), complete=False)))
    for group in (
        "loss",
        "penalty",
        "augment",
        "metrics",
        "data",
        "model",
        "model/generator",
        "model/trunk",
        "model/head",
    ):
        for option in composer.library.options_of(group)[1::6]:
            word = f"{group}=[{option}]" if composer.library.takes_several(group) else f"{group}={option}"
            config, kinds = plain(composer.reference([word]), complete=False), composer.ranges([word])
            for key, value in leaves(config):
                bad = [*not_of(value, kinds.get(key))]
                if bad and ordinary(key) and key.startswith(f"{group.replace('/', '.')}.") and key not in default:
                    yield Line("an option's value", "train", (word, f"{key}={bad[-1]}"))


def lines(thorough: bool = True) -> list[Line]:
    """Wrong command lines, in a fixed order: what is written, and what is made, of other choices too if `thorough`."""
    resolvers.register()
    found = [*written()]
    for command in GIVEN:
        with Composer(CONF, command) as composer:
            found += made(command, composer)
            if thorough and command == "train":
                found += of_other_choices(composer)
    return list(dict.fromkeys(found))


def leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys that hold no mapping, and their values."""
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def ordinary(key: str) -> bool:
    """Whether an option is one that users set: no class and no fact."""
    return not any(part.startswith("_") or part == "facts" for part in key.split("."))


def not_of(default: Any, kind: Kind | None) -> list[str]:
    """At most three values, as words on the command line, that an option cannot have: another type, null, too small."""
    as_typed, null = kind is not None and kind.as_typed, default is None
    open_, numeric = (
        default in (None, "auto", "???"),
        isinstance(default, int | float) and not isinstance(default, bool),
    )
    candidates = {"nonsense": "nonsense", "[[x]]": [["x"]], "null": None, "1.5": 1.5, "-0.5": -0.5, "-1": -1, "''": ""}
    bad = []
    for word, value in candidates.items():
        if (as_typed and word in ("nonsense", "1.5", "-0.5", "-1")) or (null and value is None):
            continue  # it is taken as a text; it is the default
        if kind is not None and (open_ or value is not None):
            wrong = not kind.accepts(value)
        elif open_:
            wrong = False
        elif numeric:
            wrong = type(value) not in ((int,) if isinstance(default, int) else (int, float))
        else:
            wrong = type(value) is not type(default)
        if wrong:
            bad.append(word)
    return list(dict.fromkeys([*bad[:1], *(["null"] if "null" in bad else []), *bad[-1:]]))


def start_seconds() -> float:
    """What Python and the imports of a command take before its first word is read."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", "import saddle.entry"], check=True, env={"PYTHONPATH": str(ROOT / "src")})
    return time.monotonic() - begun


def main() -> None:
    """Run all, and write the tables, or with `check` nothing; status 1 where a line is not refused."""
    from command_line import Outcome, run

    found: list[tuple[Line, Outcome]] = []
    for line in lines():
        found.append((line, run(line.command, line.words)))
        if not found[-1][1].refused:
            print(f"status {found[-1][1].status}: {line}: {found[-1][1].line}", flush=True)
    refused = sum(outcome.refused for _, outcome in found)
    print(f"{refused} of {len(found)} are refused, {sum(o.seconds > SLOW for _, o in found)} after {SLOW:.0f} s")
    if sys.argv[1:] == ["check"]:
        sys.exit(refused < len(found))
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    with open(TABLE, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["fault", "command line", "status", "seconds", "refused", "line"])
        for line, outcome in found:
            seconds = f"{outcome.seconds:.2f}"
            writer.writerow([line.fault, line, outcome.status, seconds, outcome.refused, outcome.line])
    text = PAGE.read_text(encoding="utf-8")
    table = summary(found)
    PAGE.write_text(f"{text[: text.index(BEGIN)]}{BEGIN}\n{table}\n{text[text.index(END) :]}", encoding="utf-8")


def summary(found: list[Any]) -> str:
    """The table of the page: a row for each fault, with an example."""
    rows = ["| what is wrong | lines | refused | median s | most s | for example |", "|---|---|---|---|---|---|"]
    for fault in dict.fromkeys(line.fault for line, _ in found):
        mine = [(line, outcome) for line, outcome in found if line.fault == fault]
        seconds = sorted(outcome.seconds for _, outcome in mine)
        line, outcome = next(pair for pair in mine if pair[1].refused or pair is mine[-1])
        said = outcome.line.replace("|", "\\|")
        said = said if len(said) < 160 else f"{said[:150]} ..."
        refused = sum(outcome.refused for _, outcome in mine)
        spread = f"{seconds[len(seconds) // 2]:.1f} | {seconds[-1]:.1f}"
        rows.append(f"| {fault} | {len(mine)} | {refused} | {spread} | `{str(line).replace('|', '')}`: {said} |")
    return "\n".join([*rows, "", f"Python and the imports take {start_seconds():.1f} s before that."])


if __name__ == "__main__":
    main()
