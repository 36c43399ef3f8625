"""What the tests of a run's life share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # for toy_run and toy_model

from toy_run import Run, write_project  # noqa: E402


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
        path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])
        return subprocess.run(
            [sys.executable, "src/train.py", *arguments],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run
