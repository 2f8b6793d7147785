"""Waiting for what nobody announces: a process that gets ready, a file that is written, a counter of somebody else's."""

from __future__ import annotations

import time
from collections.abc import Callable

PATIENCE_S = 60.0
"""On a machine that may be busy with other things; nothing takes that long when all is well."""
_APART_S = 0.02


def comes(holds: Callable[[], object], seconds: float = PATIENCE_S) -> bool:
    """Look until it holds; false if it does not within that time."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() >= end:
            return False
        time.sleep(_APART_S)
    return True


def until(holds: Callable[[], object], what: str | Callable[[], str], seconds: float = PATIENCE_S) -> None:
    """Look until it holds; fails with `what` if it does not."""
    assert comes(holds, seconds), f"not within {seconds:g} s: {what if isinstance(what, str) else what()}"
