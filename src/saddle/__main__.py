"""The command `saddle NAME ...`, or `python -m saddle NAME ...`: what `python src/NAME.py ...` is in a clone."""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"  # in a clone links to those in its src/


def main() -> None:
    """Become the named script, so that a sweep and Lightning start their processes as they do where it is called."""
    scripts = {path.stem: path for path in sorted(SCRIPTS.glob("*.py"))}
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in scripts:
        os.execv(sys.executable, [sys.executable, str(scripts[name]), *sys.argv[2:]])
    if name not in ("-h", "--help"):
        sys.exit(f"error: there is no command {name}; there are: {', '.join(scripts)}")
    print("saddle COMMAND [option=value] ...; its options: saddle COMMAND --help\n")
    for command, path in scripts.items():
        says = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        print(f"  {command:<10} {says.partition(':')[0]}")


if __name__ == "__main__":
    main()
