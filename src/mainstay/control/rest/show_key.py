"""Keys of the graph in words, for `mainstay why`.

In: whatever a collection is keyed by: text, model keys, structs of traits. Out: one line. A struct that has no name is told by
the fields that make it what it is.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

import msgspec


def show_key(key: Any) -> str:
    """The key, as its reader would call it."""
    match key:
        case str():
            return key
        case Enum():
            return key.name.lower()
        case tuple() | frozenset():
            parts = [show_key(each) for each in key]
            return ", ".join(parts if isinstance(key, tuple) else sorted(parts))
        case msgspec.Struct() if type(key).__str__ is object.__str__:
            return _show_struct(key)
    return str(key)


def _show_struct(key: msgspec.Struct) -> str:
    name = getattr(key, "name", None)
    if isinstance(name, str) and name:
        return name
    parts = []
    for field in msgspec.structs.fields(key):
        value = getattr(key, field.name)
        words = field.name.replace("_", " ")
        if isinstance(value, bool):
            parts.append(words if value else f"not {words}")
        elif value not in (None, "", (), frozenset()) and value != field.default:
            parts.append(f"{words} {show_key(value)}")
    return ", ".join(parts)
