"""What is wrong with a description, where, and what to do."""

from __future__ import annotations

import msgspec

from mainstay.api.node import Path


class Finding(msgspec.Struct, frozen=True):
    """One fault of a description; `path` begins below `spec`."""

    path: Path
    reason: str
    remedy: str


def say(*path: str | int, reason: str, remedy: str) -> Finding:
    return Finding(path, reason, remedy)
