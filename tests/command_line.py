"""A command line run to its end in a process forked from this one, which has imported everything but torch.

What Python and its imports take at the start (measured by `start_seconds`) is paid once; all else is the real command:
the script, its arguments, its exit status, what it writes on the terminal and on the disk.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import saddle.entry  # noqa: F401

SRC = Path(__file__).parent.parent / "src"
TORCH = 99  # exit status of a command that came as far as importing torch


@dataclass(frozen=True)
class Outcome:
    """How a command ended: its exit status, minus a signal; seconds; its output; what it left in its empty folder."""

    status: int
    seconds: float
    stdout: str
    stderr: str
    left: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """It was refused as the user is promised: status 1, one line, and nothing left behind."""
        one_line = self.stderr.startswith("error: ") and self.stderr.count("\n") == 1 and self.stderr.endswith("\n")
        return self.status == 1 and one_line and not self.stdout and not self.left

    @property
    def line(self) -> str:
        """What it says: the refusal, or the last line of anything else."""
        lines = self.stderr.strip().splitlines() or self.stdout.strip().splitlines() or [""]
        return lines[-1].removeprefix("error: ")


class NoTorch:
    """An importer that ends the process at `import torch`: a wrong command line does not come that far."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "torch":
            os._exit(TORCH)


def run(command: str, words: Sequence[str], limit: float = 60.0, **environment: str) -> Outcome:
    """Run `python src/<command>.py <words>` in an empty folder; what takes longer than `limit` seconds is killed."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as texts:
        out, err = Path(texts) / "out", Path(texts) / "err"
        begun = time.monotonic()
        child = os.fork()
        if child == 0:
            _become(command, words, Path(folder), out, err, environment)
        status = None
        while status is None:
            found, code = os.waitpid(child, os.WNOHANG)
            if found:
                status = os.waitstatus_to_exitcode(code)
            elif time.monotonic() - begun > limit:
                os.kill(child, signal.SIGKILL)
                limit = float("inf")
            else:
                time.sleep(0.002)
        seconds = time.monotonic() - begun
        left = tuple(sorted(path.name for path in Path(folder).iterdir()))
        return Outcome(status, seconds, *(path.read_text(errors="replace") for path in (out, err)), left)


def _become(
    command: str, words: Sequence[str], folder: Path, out: Path, err: Path, environment: dict[str, str]
) -> None:
    """Turn this process into the command; it does not return."""
    status = 1
    try:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        os.chdir(folder)
        os.environ.update(environment)
        script = SRC / f"{command}.py"
        sys.argv = [str(script), *words]
        sys.meta_path.insert(0, NoTorch())  # type: ignore[arg-type]
        runpy.run_path(str(script), run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
