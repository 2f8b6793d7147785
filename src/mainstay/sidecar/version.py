"""The version that the proxy tells of itself. `importlib.metadata` would load the e-mail package to find it."""

from __future__ import annotations

import sys
from pathlib import Path


def find_version() -> str:
    """From the name of the installed package's metadata folder; `0.0.0` when run from sources alone."""
    for entry in sys.path:
        for path in Path(entry).glob("mainstay-*.dist-info") if entry else ():
            return path.name.removeprefix("mainstay-").removesuffix(".dist-info")
    return "0.0.0"


VERSION = find_version()
