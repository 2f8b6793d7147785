"""What happened while a mesh ran: for people as lines, for programs as data.

In: told by `run` and its children. Out: a list in order, and a callback per event.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec

What = Literal[
    "started", "ready", "crashed", "gave up", "restarted", "left out", "step", "split", "warning", "failed"
]


class Event(msgspec.Struct, frozen=True):
    """`at`: ms since the start of the run."""

    at: int
    what: What
    who: str
    text: str
    data: dict[str, Any] = {}

    @property
    def line(self) -> str:
        """For people."""
        who = f"{self.who}: " if self.who else ""
        return f"{self.at / 1_000:8.1f} s  {who}{self.text or self.what}"


class Events:
    """The list. `shown` hears of each event at once."""

    def __init__(self, shown: Callable[[Event], None] = lambda _: None) -> None:
        self._began = time.monotonic()
        self._shown = shown
        self.all: list[Event] = []

    def tell(self, what: What, who: str, text: str = "", **data: Any) -> None:
        """Note an event."""
        at = int((time.monotonic() - self._began) * 1_000)
        event = Event(at, what, who, text, data)
        self.all.append(event)
        self._shown(event)

    def count(self, what: What) -> int:
        return sum(event.what == what for event in self.all)
