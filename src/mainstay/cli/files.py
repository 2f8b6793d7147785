"""Files named on the command line, read whole: their text goes to the control plane, which finds problems by
line.

In: paths, directories, `-`. Out: `(name, text)` pairs in order, or `OperatorError`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Sequence
from pathlib import Path

from mainstay.settings import OperatorError

ENDINGS = (".yaml", ".yml", ".json")
STDIN = "<stdin>"
MAX_FILE = 64 << 20
"""Bytes of a file, or of standard input; what has no end (a device, a pipe) is found out so."""


def read_files(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Contents of all files; a directory stands for the configuration files below it."""
    found: list[tuple[str, str]] = []
    for given in paths:
        if given == "-":
            found.append((STDIN, _as_text(STDIN, sys.stdin.buffer.read(MAX_FILE + 1))))
            continue
        path = Path(given)
        files = _below(path) if path.is_dir() else [path]
        if not files:
            raise OperatorError(f"there is no file ending in {', '.join(ENDINGS)} below {path}", 2)
        found += [(str(file), _as_text(str(file), _read(file))) for file in files]
    return found


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise OperatorError(f"there is no file {file}", 2) from None
    except OSError as error:
        raise OperatorError(f"cannot read {file}: {error.strerror}") from None


def _as_text(name: str, data: bytes) -> str:
    if len(data) > MAX_FILE:
        raise OperatorError(f"{name} has more than {MAX_FILE:,} bytes, which are the limit", 2)
    try:
        return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
    except UnicodeDecodeError as error:
        raise OperatorError(f"{name} is not UTF-8 (byte {error.start}): save it as UTF-8", 2) from None


def _below(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.rglob("*")
        if path.suffix in ENDINGS and path.is_file() and not any(part.startswith(".") for part in path.parts)
    )
