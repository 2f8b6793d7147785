"""The version of this program. `importlib.metadata` would load the e-mail package to find it, which a sidecar does not want."""

from __future__ import annotations

import re
import sys
from pathlib import Path

_SOURCES = Path(__file__).resolve().parents[3]
_VERSION = re.compile(r'^version = "([^"]+)"', re.MULTILINE)


def program_version(path: list[str] | None = None, sources: Path = _SOURCES) -> str:
    """From the name of the installed package's metadata folder; in a checkout that was never installed, the version its
    `Cargo.toml` is on the way to, as `0.1.0+source`."""
    for entry in sys.path if path is None else path:
        for found in Path(entry).glob("mainstay-*.dist-info") if entry else ():
            return found.name.removeprefix("mainstay-").removesuffix(".dist-info")
    try:
        written = _VERSION.search((sources / "Cargo.toml").read_text())
    except OSError:
        written = None
    return f"{written[1]}+source" if written is not None else "unknown"
