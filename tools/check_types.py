"""Types of the tests, the benchmark and the tools: `python tools/check_types.py [FOLDER…]`.

A folder of tests finds its helpers as pytest's `conftest.py` lets it: by their bare names, its own before others'. Bare names
repeat between folders, so mypy is asked once for each.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = sorted(path for path in (ROOT / "tests").iterdir() if any(path.glob("*.py")))
# Applications that meshes run find each other in their own folder.
APPLICATIONS = [
    ROOT / "src" / "mainstay" / "examples" / "shop",
    ROOT / "tests" / "mesh" / "applications",
]
SEARCHED = [ROOT / "src", ROOT / "tests", ROOT / "tools", *APPLICATIONS]


def check(folder: Path) -> int:
    """Types of one folder; mypy prints what is wrong."""
    helpers = (
        [] if folder.parent != ROOT / "tests" else [folder, *(each for each in FOLDERS if each != folder)]
    )
    path = os.pathsep.join(str(each) for each in [*SEARCHED, *helpers])
    # Tests may reach what a module imports for itself, and packages without types of which the product makes no use;
    # `programs` run elsewhere, with packages that are not here.
    own = (
        "--implicit-reexport",
        "--disable-error-code=import-untyped",
        "--exclude=/programs/",
        "--cache-dir=.mypy_cache/tests",
    )
    command = [sys.executable, "-m", "mypy", "--no-error-summary", *own, str(folder.relative_to(ROOT))]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, "MYPYPATH": path}, check=False).returncode


def main() -> int:
    """Every folder, or those that are named; 1 if something is wrong."""
    named = [Path(each).resolve() for each in sys.argv[1:]] or [ROOT / "bench", ROOT / "tools", *FOLDERS]
    codes = [check(folder) for folder in named]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
