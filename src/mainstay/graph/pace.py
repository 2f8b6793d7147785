"""When the next round may start: at once after quiet, rarer while changes keep coming.

In: the times of changes and of finished rounds. Out: when to settle. Invariant: a change waits at most one
second, and rounds never take more than about a third of the loop. The control loop asks; all times are ms of
one monotonic clock.
"""

from __future__ import annotations

MIN_GAP_MS = 10
MAX_GAP_MS = 1_000


class Pace:
    """Adaptive debounce: the gap after a round is twice what the round and its push cost, within the two
    limits."""

    def __init__(self) -> None:
        self._earliest = 0
        self._waiting = False

    def note_change(self) -> None:
        self._waiting = True

    def note_round(self, ended: int, cost_ms: float) -> None:
        """A round and its push ended at `ended` and cost `cost_ms`."""
        self._waiting = False
        self._earliest = ended + round(min(MAX_GAP_MS, max(MIN_GAP_MS, 2 * cost_ms)))

    def due(self, now: int) -> int | None:
        """When the next round is to start (never before `now`), or None if nothing has changed."""
        return max(now, self._earliest) if self._waiting else None
