"""Lets the tests of this folder import their common parts by name."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent / "golden"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
