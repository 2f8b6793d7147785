"""Log levels of rooms as settings name them (`ROOM=LEVEL`): those of Python's rooms and those of the engine's.

In: the entries. Out: `Levels`; ValueError in words. Rooms of the engine are called `engine.…`, and it knows them without that.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

ENGINE_ROOMS = "engine."
"""Before the names of the engine's rooms."""


class Levels(NamedTuple):
    """By room."""

    own: dict[str, str]
    engine: dict[str, str]


def read_levels(entries: Iterable[str]) -> Levels:
    """Take entries apart."""
    levels = Levels({}, {})
    for entry in entries:
        room, equals, level = entry.partition("=")
        if not equals:
            raise ValueError(f"{entry!r} is not ROOM=LEVEL")
        if room.startswith(ENGINE_ROOMS):
            levels.engine[room.removeprefix(ENGINE_ROOMS)] = level
        else:
            levels.own[room] = level
    return levels
