"""Imports without what they bring along and never use: a sidecar's idle memory is a promise.

In: names of modules. Invariant: what others import later is the real thing.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType


@contextlib.contextmanager
def without(*names: str, absent: bool = False) -> Iterator[None]:
    """Inside, an import of one of these modules gives an empty one, or fails if `absent`; one that is loaded is left alone."""
    stand_ins = {
        name: None if absent else ModuleType(name, "Stands in for a module that is imported and not used.")
        for name in names
        if name not in sys.modules
    }
    sys.modules.update(stand_ins)  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name, stand_in in stand_ins.items():
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
