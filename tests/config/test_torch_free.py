"""What a command line means is known before torch is imported: wrong input is refused in a moment."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("package", ["saddle.config", "saddle.sweep", "saddle.entry"])
def test_no_module_imports_torch(package: str) -> None:
    code = (
        f"import importlib, pkgutil, sys, {package} as package\n"
        "for module in pkgutil.walk_packages(getattr(package, '__path__', []), package.__name__ + '.'):\n"
        "    importlib.import_module(module.name)\n"
        "print({'torch', 'lightning', 'wandb', 'optuna'} & set(sys.modules) or 'free')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "free", done.stdout + done.stderr
