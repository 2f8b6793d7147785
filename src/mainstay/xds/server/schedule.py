"""Whose turn it is: a ring of streams that have something to send.

In: streams with a class of urgency. Out: one stream at a time. Invariants: a stream is in the ring at most once; within a class
streams take turns; a lower class gets at least every `SHARE`-th turn, so that first loads end even while endpoints storm;
first loads can be held back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

T = TypeVar("T", bound=Hashable)

CLASSES = 4
"""Secrets and removals of endpoints, endpoints, other changes of live streams, first loads."""

SHARE = 8


class Ring(Generic[T]):
    """See the module."""

    def __init__(self) -> None:
        self._queues: tuple[deque[T], ...] = tuple(deque() for _ in range(CLASSES))
        self._class_of: dict[T, int] = {}
        self.turns = 0

    def __len__(self) -> int:
        return len(self._class_of)

    def push(self, member: T, urgency: int) -> None:
        """Puts a member in, or moves it to a more urgent class."""
        known = self._class_of.get(member)
        if known is not None:
            if known <= urgency:
                return
            self._queues[known].remove(member)
        self._class_of[member] = urgency
        self._queues[urgency].append(member)

    def discard(self, member: T) -> None:
        """Takes a member out, if it is in."""
        known = self._class_of.pop(member, None)
        if known is not None:
            self._queues[known].remove(member)

    def pop(self, *, with_loads: bool = True) -> T | None:
        """The member whose turn it is, or None; without first loads, those wait."""
        waiting = [each for each in range(CLASSES if with_loads else CLASSES - 1) if self._queues[each]]
        if not waiting:
            return None
        self.turns += 1
        chosen = waiting[0]
        if self.turns % SHARE == 0 and len(waiting) > 1:
            chosen = waiting[1 + self.turns // SHARE % (len(waiting) - 1)]
        member = self._queues[chosen].popleft()
        del self._class_of[member]
        return member
