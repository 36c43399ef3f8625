"""Fixtures for all tests: configurations, tiny models, a toy project, and processes that many tests share."""

import os

# before torch is loaded, and for the processes that tests start: other sums on two threads would be other roundings,
# which Adam turns into steps where the true gradient is zero
os.environ["OMP_NUM_THREADS"] = "1"

import fcntl
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from toy_run import Run, write_project

# the processes that tests start are of this clone too, whichever is installed
os.environ["PYTHONPATH"] = os.pathsep.join(
    filter(None, [str(Path(__file__).parents[1] / "src"), os.environ.get("PYTHONPATH")])
)

settings.register_profile("same examples every time", derandomize=True, deadline=None, database=None)
settings.load_profile("same examples every time")


def handlers() -> Iterator[None]:
    """The handlers of signals that runs install are taken back in the end."""
    from saddle.run import signals

    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    signals.forget()
    yield
    signals.forget()
    for number, handler in before.items():
        signal.signal(number, handler)


signal_handlers = pytest.fixture(handlers)
module_signal_handlers = pytest.fixture(handlers, scope="module")


@pytest.fixture
def compose():
    """A function of overrides to the configuration of `python src/train.py data=noise logger=none <overrides>`."""
    from tiny import compose_config  # imports lightning, which most tests do without

    return compose_config


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with conf/ and src/train.py, which is the working directory; no run has left anything in memory."""
    write_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("SADDLE_RUN_DIR", "LOCAL_RANK", "RANK", "NODE_RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def command(project: Path) -> Run:
    """Runs src/train.py with arguments and, by keywords, environment variables."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "src/train.py", *arguments],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def pair(worker_once):
    """What `several_processes` computed on two processes: a list over ranks of {job: result}."""
    return computed_on(2, worker_once, "pair")


@pytest.fixture(scope="session")
def pair_in_slices(worker_once):
    """As `pair`, but every model in two micro-batches."""
    return computed_on(2, worker_once, "pair_in_slices", "ACCUMULATED")


@pytest.fixture(scope="session")
def trio(worker_once):
    """As `pair`, on three processes, and every model in two micro-batches too."""
    return computed_on(3, worker_once, "trio", "RUNS", "MODELS", "ACCUMULATED")


def computed_on(count: int, worker_once, name: str, *groups: str) -> list[dict]:
    """What each of `count` processes that run several_processes.py computed."""
    folder = worker_once(name, lambda folder: launch(count, folder, groups))
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(count)]


def launch(count: int, folder: Path, groups: tuple[str, ...]) -> None:
    folder.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(count):
        environment = os.environ | {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "WORLD_SIZE": str(count),
            "NODE_RANK": "0",
            "LOCAL_RANK": str(rank),
            "RANK": str(rank),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, str(Path(__file__).parent / "several_processes.py"), str(folder), *groups]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
    outputs = []
    try:
        for process in processes:
            outputs.append(process.communicate(timeout=3600 if groups else 600)[0].decode())
    finally:
        for process in processes:
            process.kill()
    assert all(process.returncode == 0 for process in processes), "\n".join(outputs)


@pytest.fixture(scope="session")
def worker_once(tmp_path_factory):
    """A function that makes a folder once for all test workers: (name, maker of the folder) to its path."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def once(name: str, make: Callable[[Path], None]) -> Path:
        folder, finished = base / name, base / f"{name}.finished"
        with open(base / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not finished.exists():
                make(folder)
                finished.touch()
        return folder

    return once
