"""Inject faults into real runs again and again, and count what was lost. `make soak` runs it at length.

    python tests/soak.py run [fault ...] [minutes=60] [seed=N] [out=FOLDER]
    python tests/soak.py table

The first adds to benchmarks/results/soak.json; both rewrite the table in docs/reliability.md from it.

A fault is a function here; tests/test_soak.py calls each once. Each returns an `Outcome` per run that it disturbed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import cycle
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from faults import ROOT, RUN, Runs, begins, differences, rows_of

RESULTS, PAGE = ROOT / "benchmarks" / "results" / "soak.json", ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- soak: begin -->", "<!-- soak: end -->"
PRECISIONS = ("32", "bf16-mixed")


@dataclass
class Outcome:
    """What came of a run that was disturbed.

    Attributes:
        run: what it was: the name of its configuration and its precision.
        injected: how often the fault happened.
        lost: what of its end differs from an undisturbed run's, or was not as promised; empty if nothing.
    """

    run: str
    injected: int
    lost: list[str] = field(default_factory=list)

    def expect(self, promise: bool, otherwise: str) -> None:
        """Note a promise that was not kept."""
        if not promise:
            self.lost.append(otherwise)


class Soak:
    """Configurations, their undisturbed runs, and the faults."""

    def __init__(self, folder: Path, seed: int = 0):
        self.runs = Runs(folder, seed)
        self.random = self.runs.random
        self.call = self.random.randrange(40)  # at which a write was last interrupted

    def words(self, name: str, precision: str) -> list[str]:
        """The command line of a configuration of several_processes.py."""
        from several_processes import overrides

        return [
            *RUN,
            *(word for word in overrides(name) if not word.startswith("precision=")),
            f"precision={precision}",
        ]

    def whole(self, name: str, precision: str, processes: int = 1) -> Path:
        """The folder of the undisturbed run of a configuration."""
        path = self.runs.folder / f"whole_{name}_{precision}_{processes}"
        if not (path / "results.json").exists():
            status = self.end_of(
                [f"hydra.run.dir={self.runs.path(path.name)}", *self.words(name, precision)], processes
            )
            assert status == 0, f"{name} at {precision}: status {status}; see {self.runs.folder / 'output.log'}"
        return path

    def begun(self, name: str, precision: str, processes: int = 1) -> tuple[Path, list[str], Path]:
        """The undisturbed run, the words and a fresh folder for a disturbed one."""
        whole = self.whole(name, precision, processes)
        return whole, self.words(name, precision), self.runs.path(f"cut_{name}_{precision}_{processes}")

    def end_of(self, words: Sequence[str], processes: int = 1) -> int | None:
        """Run to the end; the exit status of process 0."""
        if processes == 1:
            return self.runs.run(*words)
        ranks = self.runs.several(processes, *words)
        for rank in ranks:
            rank.join()
        return ranks[0].exitcode

    def finish(self, outcome: Outcome, run: Path, whole: Path, words: Sequence[str], processes: int = 1) -> Outcome:
        """Let a disturbed run go on to its end, and compare it with the undisturbed one."""
        status = self.end_of(begins(run, words), processes)
        outcome.expect(status == 0, f"status {status} of the run that went on")
        if status == 0:
            outcome.lost += differences(run, whole)
        return outcome

    # ------------------------------------------------------------------------------------------------------ the faults

    def kill(self, name: str, precision: str, kills: int = 2) -> Outcome:
        """kill -9 at random moments of one run, which is resumed after each"""
        whole, words, run = self.begun(name, precision)
        outcome = Outcome(f"{name} {precision}", 0)
        for _ in range(kills):
            outcome.injected += self.runs.killed(run, *begins(run, words), first=max(0, rows_of(run)))
        return self.finish(outcome, run, whole, words)

    def kill_at_write(self, name: str, precision: str, call: int | None = None) -> Outcome:
        """kill -9 just before a rename, link, unlink or fsync, the next one in every run"""
        whole, words, run = self.begun(name, precision)
        self.call = self.call + 1 if call is None else call
        status = self.runs.run(*words, f"hydra.run.dir={run}", inject=("kill_at_call", self.call))
        if status == 0:
            self.call = 0  # the run has no more of them: begin again
        return self.finish(Outcome(f"{name} {precision}", int(status == -signal.SIGKILL)), run, whole, words)

    def kill_a_rank(self, name: str, precision: str) -> Outcome:
        """kill -9 of one of two processes of a run: the other ends by itself"""
        whole, words, run = self.begun(name, precision, 2)
        ranks = self.runs.several(2, *words, f"hydra.run.dir={run}")
        victim = self.random.choice(ranks)
        outcome = Outcome(f"{name} {precision}", int(self.runs.moment(run, victim, first=1)))
        victim.kill()
        self._await(ranks, outcome)
        return self.finish(outcome, run, whole, words, 2)

    @staticmethod
    def _await(ranks: Sequence[BaseProcess], outcome: Outcome) -> None:
        for rank in ranks:
            rank.join(300)
            outcome.expect(not rank.is_alive(), "a process that waits for ever")
            rank.kill()

    def ask_to_end(self, name: str, precision: str) -> Outcome:
        """SIGTERM, SIGUSR1 or Ctrl-C at a random moment: the run saves and exits 75 or 130"""
        return self._asked(name, precision, 1)

    def ask_one_rank_to_end(self, name: str, precision: str) -> Outcome:
        """SIGTERM, SIGUSR1 or Ctrl-C to one of two processes: both save at the same iteration, and exit so"""
        return self._asked(name, precision, 2)

    def _asked(self, name: str, precision: str, processes: int) -> Outcome:
        whole, words, run = self.begun(name, precision, processes)
        number = self.random.choice([signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
        words_here = [*words, f"hydra.run.dir={run}"]
        ranks = self.runs.several(2, *words_here) if processes == 2 else [self.runs.start(*words_here)]
        target = self.random.choice(ranks)
        alive = self.runs.moment(run, target, first=1)
        if alive and target.pid:
            os.kill(target.pid, number)
        outcome = Outcome(f"{name} {precision}", int(alive))
        self._await(ranks, outcome)
        if rows_of(run) < 10:
            promised = 130 if number == signal.SIGINT else 75
            outcome.expect(ranks[0].exitcode == promised, f"status {ranks[0].exitcode} after {number.name}")
        return self.finish(outcome, run, whole, words, processes)

    def damage(self, name: str, precision: str) -> Outcome:
        """last.ckpt cut short, or one bit of it flipped, at a random place: named, and the one before is used"""
        whole, words, run = self.begun(name, precision)
        outcome = Outcome(f"{name} {precision}", 1)
        iteration = self.random.randrange(6, 10)  # last.ckpt is of 6 or 9, and not the only one
        self.runs.run(*words, f"hydra.run.dir={run}", inject=("kill_before", iteration))
        path = run / "checkpoints" / "last.ckpt"
        content = bytearray(path.read_bytes())
        place = self.random.randrange(len(content))
        if self.random.random() < 0.5:
            del content[place:]
        else:
            content[place] ^= 1 << self.random.randrange(8)
        path.write_bytes(content)
        return self.finish(outcome, run, whole, [])

    def fill_the_disk(self, name: str, precision: str) -> Outcome:
        """the disk fills up during a run (a small tmpfs): it fails, says so, and keeps the last good checkpoint"""
        whole, words, _ = self.begun(name, precision)
        outcome = Outcome(f"{name} {precision}", 1)
        with small_disk() as disk:
            run = disk / "run"
            # a share of a checkpoint is left, so that one write or another is the first that does not fit
            injected = ("fill_disk", str(disk), self.random.randrange(4, 10), self.random.choice([0.0, 0.1, 0.5, 0.8]))
            status = self.runs.run(*words, f"hydra.run.dir={run}", inject=injected)
            outcome.expect(status == 1, f"status {status} on a full disk")
            log = (self.runs.folder / "output.log").read_text(errors="replace")
            outcome.expect("No space left on device" in log[-6000:], "what happened was not said")
            (disk / "filling").unlink()
            return self.finish(outcome, run, whole, [])

    def spoil(self, name: str, precision: str) -> Outcome:
        """a NaN or an infinity in a random player's gradient: status 3, and nothing of it on the disk"""
        whole, words, run = self.begun(name, precision)
        player, iteration = self.random.choice(["discriminator", "generator"]), self.random.randrange(4, 10)
        value = self.random.choice([float("nan"), float("inf"), float("-inf")])
        status = self.runs.run(*words, f"hydra.run.dir={run}", inject=("spoil_gradient", player, iteration, value))
        outcome = Outcome(f"{name} {precision}", 1)
        outcome.expect(status == 3, f"status {status}")
        error = json.loads((run / "results.json").read_text()).get("error") or ""
        outcome.expect(f"iteration {iteration + 1}: the gradient of {player}." in error, f"error {error}")
        saved = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        outcome.expect(all(bool(x.isfinite().all()) for x in saved.values()), "a checkpoint that is not finite")
        return self.finish(outcome, run, whole, words)

    def second_process(self, name: str, precision: str) -> Outcome:
        """after a kill -9, two processes resume one run at once, and a third begins a new one there: one runs"""
        whole, words, run = self.begun(name, precision)
        self.runs.killed(run, *words, f"hydra.run.dir={run}", first=1)
        commands = [[f"resume={run}"], [f"resume={run}"], [*words, f"hydra.run.dir={run}"]]
        self.random.shuffle(commands)
        started = [self.runs.start(*command) for command in commands]
        outcome = Outcome(f"{name} {precision}", 1)
        self._await(started, outcome)
        ends = {0: 0, 1: 0} | Counter(process.exitcode for process in started)
        outcome.expect({0, 1} == {*ends} and ends[0] in (1, 2), f"statuses {ends}")  # the later may find it finished
        return self.finish(outcome, run, whole, words)

    def failing_resume(self, name: str, precision: str) -> Outcome:
        """after a kill -9, a resume that cannot be built, or is refused: the folder stays the same to the byte"""
        whole, words, run = self.begun(name, precision)
        self.runs.killed(run, *words, f"hydra.run.dir={run}", first=1)
        wrong = ["seed=7", "iterations=abc", "trainer=ddp_cpu trainer.devices=3", "data.workers=-1", "logger=nowhere"]
        wrong += [] if torch.cuda.is_available() else ["trainer=gpu"]
        before, words_here = bytes_of(run), self.random.choice([f"iterations=20 {each}" for each in wrong]).split()
        status = self.runs.run(f"resume={run}", *words_here)
        outcome = Outcome(f"{name} {precision}", 1)
        outcome.expect(status == 1, f"status {status} of {words_here}")
        outcome.expect(bytes_of(run) == before, f"{words_here} changed the folder")
        return self.finish(outcome, run, whole, words)


def bytes_of(folder: Path) -> dict[Path, bytes]:
    """What is in the files of a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


Fault = Callable[[Soak, str, str], Outcome]
#: The faults, and the configurations that each meets in turn.
FAULTS: dict[str, tuple[Fault, Sequence[str]]] = {
    "kill": (Soak.kill, ()),  # all
    "kill_at_write": (Soak.kill_at_write, ("dcgan_spectral_penalties",)),
    "kill_a_rank": (Soak.kill_a_rank, ("sngan", "began", "stylegan2_ada")),
    "ask_to_end": (Soak.ask_to_end, ("dcgan", "biggan_accumulate", "progan", "began")),
    "ask_one_rank_to_end": (Soak.ask_one_rank_to_end, ("sngan", "wgan_gp", "biggan")),
    "damage": (Soak.damage, ("dcgan", "stylegan2_ada")),
    "fill_the_disk": (Soak.fill_the_disk, ("dcgan", "dcgan_penalties")),
    "second_process": (Soak.second_process, ("dcgan", "stylegan2_ada", "began")),
    "failing_resume": (Soak.failing_resume, ("dcgan", "biggan_accumulate")),
    "spoil": (Soak.spoil, ("dcgan", "wgan_gp", "biggan_batch", "cyclegan", "stylegan2")),
}


@contextmanager
def small_disk(megabytes: int = 6) -> Iterator[Path]:
    """A file system of its own in memory; needs root."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", folder], check=True)
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


# ------------------------------------------------------------------------------------------------------ the long run


def run(names: Sequence[str], minutes: float, seed: int, folder: Path) -> int:
    """Inject the faults in turn for so many minutes, and add to the results after each; the exit status."""
    from several_processes import MODELS, RUNS

    soak, end, bad = Soak(folder, seed), time.monotonic() + 60 * minutes, 0
    everything = [(name, precision) for name in [*RUNS, *MODELS] for precision in PRECISIONS]
    soak.random.shuffle(everything)
    turns = {
        name: cycle([(c, p) for c in FAULTS[name][1] for p in PRECISIONS] or everything) for name in names or FAULTS
    }
    while time.monotonic() < end:
        for fault, configurations in turns.items():
            if time.monotonic() >= end:
                break
            outcome = FAULTS[fault][0](soak, *next(configurations))
            record(fault, outcome)
            bad += bool(outcome.lost)
            print(
                f"{fault}: {outcome.run}: {outcome.injected}, {'; '.join(outcome.lost) or 'nothing lost'}", flush=True
            )
    return int(bad > 0)


def record(fault: str, outcome: Outcome) -> None:
    """Add an outcome to the results."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault(fault, []).append(asdict(outcome))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    lines = [
        f"{json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, found)) + "\n]" for name, found in results.items()
    ]
    RESULTS.write_text("{" + ",\n".join(lines) + "}\n")


def table(results: dict[str, list[dict]]) -> str:
    """The table of docs/reliability.md."""
    lines = ["| fault, and how it is injected | runs | times | configurations | lost |", "|---|---|---|---|---|"]
    for name, (fault, _) in FAULTS.items():
        found = results.get(name, [])
        lost = [f"{one['run']}: {', '.join(one['lost'])}" for one in found if one["lost"]]
        cells = [len(found), sum(one["injected"] for one in found), len({one["run"] for one in found})]
        lines.append(f"| {fault.__doc__} | {' | '.join(map(str, cells))} | {'; '.join(lost) or 'nothing'} |")
    return "\n".join(lines)


def main(words: Sequence[str]) -> int:
    """The command line."""
    options = dict(word.split("=", 1) for word in words if "=" in word)
    command, *names = [word for word in words if "=" not in word] or ["run"]
    status = 0
    if command == "run":
        with tempfile.TemporaryDirectory() as folder:
            out = Path(options.get("out", folder))
            status = run(names, float(options.get("minutes", 60)), int(options.get("seed", time.time())), out)
    text = PAGE.read_text()
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    PAGE.write_text(f"{head}{BEGIN}\n{table(json.loads(RESULTS.read_text()))}\n{END}{tail}")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
