"""Imports point one way: the contracts of pyproject.toml hold, and no circle of imports is anywhere.

Imports for types alone and imports inside functions count too.
"""

import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"


def test_the_contracts_are_kept() -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo", str(PYPROJECT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_circle_of_imports() -> None:
    """Of files: the contracts compare a package with those beside it, not with the modules inside it."""
    graph = grimp.build_graph("saddle", exclude_type_checking_imports=False, cache_dir=None)
    try:
        TopologicalSorter({one: graph.find_modules_directly_imported_by(one) for one in graph.modules}).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))
