"""Whatever happens to some files of a run folder, going on with it loses nothing that the others hold."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from toy_model import fit
from toy_run import write_project

from saddle import entry
from saddle.config import resolvers
from saddle.config.compose import Composer
from saddle.errors import InputError
from saddle.run import signals
from saddle.run.launch import RUN_DIR

FILES = ["config.yaml", "metrics.csv", "timing.csv", "results.json"]
CHECKPOINTS = [f"checkpoints/{name}.ckpt" for name in ("last", "previous", "best", "iteration_00000008")]
OPTIONS = ["checkpoint.monitor=eval/frechet", "metrics=frechet", "checkpoint.keep.every=8", "log_every=1"]

Edit = tuple[str, str, float]  # a file, what is done to it, and a place in it


class Toys:
    """Trains the toy by the real entry point, in this process."""

    def __init__(self, root: Path):
        self.conf = write_project(root).parent.parent / "conf"
        self.whole, self.cut = root / "whole", root / "cut"
        assert self.run(f"hydra.run.dir={self.whole}", "iterations=20", *OPTIONS) is None
        assert self.run(f"hydra.run.dir={self.cut}", "iterations=12", *OPTIONS) is None

    def run(self, *words: str) -> BaseException | None:
        """Begin a run, or go on with one; what was raised."""
        raised: list[BaseException] = []

        def task(cfg: Any, folder: Any) -> str:
            try:
                return fit(cfg, folder)
            except BaseException as error:
                raised.append(error)
                raise

        resolvers.register()
        signals.forget()
        try:
            with Composer(self.conf, "train") as composer:
                entry.train(task, composer, list(words))
        except InputError as error:
            raised.append(error)
        return raised[0] if raised else None


@pytest.fixture(scope="module")
def toys(tmp_path_factory: pytest.TempPathFactory, module_signal_handlers: None) -> Iterator[Toys]:
    with pytest.MonkeyPatch.context() as patch:
        for name in (RUN_DIR, "LOCAL_RANK", "RANK", "NODE_RANK", "WORLD_SIZE", "TOY_FAULT"):
            patch.setenv(name, "")  # put back at the end, whatever a run has set
            patch.delenv(name)
        yield Toys(tmp_path_factory.mktemp("toys"))


def edit(run: Path, name: str, how: str, place: float) -> set[str]:
    """Edit a file; the names of those that are another now."""
    path = run / name
    if how.startswith("swap "):
        other = run / how.removeprefix("swap ")
        if path == other or not (path.is_file() and other.is_file()):
            return set()
        beside = run / "beside"
        path.rename(beside)
        other.rename(path)
        beside.rename(other)
        return {name, str(other.relative_to(run))}
    content = path.read_bytes() if path.is_file() else b""
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    at = int(place * len(content))
    if how == "folder":
        path.mkdir()
    elif how == "dangling link":
        path.symlink_to("nowhere")
    elif how != "deleted":
        path.write_bytes(
            {
                "empty": lambda: b"",
                "cut": lambda: content[:at],
                "garbage": lambda: bytes(range(256)),
                "letter": lambda: content[:at] + b"x" + content[at + 1 :],
                "line lost": lambda: content[:at] + content[at:].partition(b"\n")[2],
            }[how]()
        )
    return {name}


HOW = ["empty", "cut", "garbage", "letter", "line lost", "folder", "dangling link", "deleted"]
EDITS = st.lists(
    st.tuples(
        st.sampled_from([*FILES, *CHECKPOINTS]),
        st.sampled_from([*HOW, *(f"swap {name}" for name in [*FILES, *CHECKPOINTS])]),
        st.floats(0, 1, exclude_max=True),
    ),
    min_size=1,
    max_size=3,
)


QUICKLY = settings(
    phases=[Phase.generate],  # an example is small enough
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def contents(run: Path) -> dict[str, Any]:
    """What is in a folder, by name; not its lock."""
    names = {str(path.relative_to(run)): path for path in run.rglob("*") if path.name != ".lock"}
    return {
        name: os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        for name, path in names.items()
    }


def nothing_is_lost(toys: Toys, folder: Path, edits: list[Edit]) -> str | None:
    """Edit a copy of a run, go on with it, and look at what the other files hold; why it was refused, if it was."""
    run = folder / "run"
    shutil.rmtree(run, ignore_errors=True)
    shutil.copytree(toys.cut, run)
    edited = set[str]()
    for each in edits:
        edited |= edit(run, *each)
    before = contents(run)
    error = toys.run(f"resume={run}", "iterations=20")
    after = contents(run)
    if error is not None:
        assert isinstance(error, InputError), error
        assert "\n" not in str(error) and str(run) in str(error)
        assert after == before
        return str(error)
    if "metrics.csv" not in edited:  # rewound to the checkpoint, and computed again
        assert after["metrics.csv"] == (toys.whole / "metrics.csv").read_bytes()
    if "timing.csv" not in edited:
        assert after["timing.csv"].count(b"\n") == (toys.whole / "timing.csv").read_bytes().count(b"\n")
    if "config.yaml" not in edited:
        assert after["config.yaml"] == (toys.whole / "config.yaml").read_bytes()
    ends = [torch.load(each / "checkpoints/last.ckpt", weights_only=True) for each in (run, toys.whole)]
    for part in ("state_dict", "optimizer_states", "iteration"):
        torch.testing.assert_close(ends[0][part], ends[1][part], rtol=0, atol=0)
    for name in {*CHECKPOINTS} - edited:
        saved = torch.load(run / name, weights_only=True)
        assert saved["iteration"] == {"best": 8, "last": 20}.get(Path(name).stem, saved["iteration"])
    return None


@settings(QUICKLY, max_examples=12)
@given(edits=EDITS)
def test_random_edits(toys: Toys, tmp_path: Path, edits: list[Edit]) -> None:
    nothing_is_lost(toys, tmp_path, edits)


@pytest.mark.slow
@settings(QUICKLY, max_examples=300)
@given(edits=EDITS)
def test_many_random_edits(toys: Toys, tmp_path: Path, edits: list[Edit]) -> None:
    nothing_is_lost(toys, tmp_path, edits)


LAST, PREVIOUS, BEST, _ = CHECKPOINTS


@pytest.mark.parametrize(
    ("edits", "refused"),
    [
        ([], None),
        (
            [(name, "deleted", 0) for name in CHECKPOINTS],
            "no checkpoint is there, and the run had come to iteration 12",
        ),
        ([(name, "dangling link", 0) for name in CHECKPOINTS], "had come to iteration 12"),
        ([(LAST, "dangling link", 0)], None),
        ([(LAST, "garbage", 0), (PREVIOUS, "deleted", 0)], None),  # from one that is kept
        ([(name, "cut", 0.5) for name in CHECKPOINTS], "cut short or damaged"),
        ([("metrics.csv", "line lost", 0)], "metrics.csv is damaged in line 1"),
        ([("metrics.csv", "garbage", 0), (BEST, "deleted", 0)], "metrics.csv is damaged"),
        ([("timing.csv", "swap results.json", 0)], "timing.csv is damaged"),
        ([("results.json", "folder", 0)], "results.json is a folder"),
        ([(LAST, "folder", 0)], "last.ckpt is a folder"),
        ([("results.json", "garbage", 0)], None),
        ([("config.yaml", "empty", 0)], "choices must be there"),
        ([("config.yaml", "deleted", 0)], "it has no config.yaml"),
    ],
)
def test_edits_by_name(toys: Toys, tmp_path: Path, edits: list[Edit], refused: str | None) -> None:
    said = nothing_is_lost(toys, tmp_path, edits)
    assert said is None if refused is None else refused in str(said)


def hand_edited(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (hand_edited("seed: 0", "seed: 1"), "seed=1 is not what the run was trained with: put 0 back"),
        (hand_edited("seed: 0", "seed: abc"), "seed=abc: must be a whole number"),
        (hand_edited("seed: 0", "seed: -1"), "seed=-1: must be at least 0"),
        (hand_edited("batch_size: 64", "batch_size: 32"), "data.batch_size=32 is not what"),
        (hand_edited("  g_lr:", "  g_Lr: 1.0\n  g_lr:"), "there is no option model.g_Lr; did you mean g_lr?"),
        (hand_edited("  g_lr:", "  mine: 1.0\n  g_lr:"), "model.mine=1.0 is not what the run was trained with: leave"),
        (hand_edited("  ema: null\n", ""), "model.ema must be there"),
        (hand_edited("  model: dcgan", "  model: dcgun"), "model=dcgun: no such model; did you mean dcgan?"),
        (hand_edited("nonfinite:", "nonfinit:"), "there is no option nonfinit; did you mean nonfinite?"),
    ],
)
def test_a_config_edited_by_hand_is_checked_as_a_new_one(
    toys: Toys, tmp_path: Path, change: Callable[[str], str], says: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(toys.cut, run)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(change(text))
    assert change(text) != text
    before = contents(run)
    error = toys.run(f"resume={run}", "iterations=20")
    assert isinstance(error, InputError) and f"{run}/config.yaml: {says}" in str(error), error
    assert contents(run) == before
