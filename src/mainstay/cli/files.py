"""Files named on the command line, read whole: their text goes to the control plane, which finds problems by
line.

In: paths, directories, `-`. Out: `(name, text)` pairs in order, or `OperatorError`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from mainstay.settings import OperatorError

ENDINGS = (".yaml", ".yml", ".json")
STDIN = "<stdin>"


def read_files(paths: Sequence[str]) -> list[tuple[str, str]]:
    """Contents of all files; a directory stands for the configuration files below it."""
    found: list[tuple[str, str]] = []
    for given in paths:
        if given == "-":
            found.append((STDIN, sys.stdin.read()))
            continue
        path = Path(given)
        files = _below(path) if path.is_dir() else [path]
        if not files:
            raise OperatorError(f"there is no file ending in {', '.join(ENDINGS)} below {path}", 2)
        for file in files:
            try:
                found.append((str(file), file.read_text(encoding="utf-8")))
            except FileNotFoundError:
                raise OperatorError(f"there is no file {file}", 2) from None
            except UnicodeDecodeError as error:
                raise OperatorError(
                    f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8", 2
                ) from None
            except OSError as error:
                raise OperatorError(f"cannot read {file}: {error.strerror}") from None
    return found


def _below(directory: Path) -> list[Path]:
    return sorted(
        path
        for path in directory.rglob("*")
        if path.suffix in ENDINGS and path.is_file() and not any(part.startswith(".") for part in path.parts)
    )
