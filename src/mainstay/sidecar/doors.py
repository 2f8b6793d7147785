"""Inbound listeners whose address is taken: while one is shut, the workload behind it cannot be reached.

In: inbound listeners as they are offered, what the engine says of their sockets, the time. Out: why the workload cannot be
reached, and which listeners to hand to the engine once more. Invariants: a listener is tried again until it is bound, replaced or
removed, first after `FIRST_MS`, then twice as long each time up to `LONGEST_MS`; outbound listeners and those of a gateway
are nobody's way to a workload and fail alone. No I/O, no clock. Run by the brain.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.convert.table import Encoded

FIRST_MS = 1_000
LONGEST_MS = 30_000


class _Shut(msgspec.Struct):
    reason: str
    wait_ms: int
    again_at: int


class Doors:
    """The machine. Times are milliseconds of a monotonic clock."""

    def __init__(self) -> None:
        self._inbound: dict[str, Encoded] = {}
        self._shut: dict[str, _Shut] = {}

    @property
    def trouble(self) -> str:
        """Why the workload cannot be reached; empty if it can."""
        return "; ".join(f"listener {name}: {self._shut[name].reason}" for name in sorted(self._shut))

    def offered(self, encoded: Encoded) -> None:
        """A listener comes; it is judged anew."""
        if encoded.inbound:
            self._inbound[encoded.name] = encoded
        else:
            self.gone(encoded.name)

    def refused(self, name: str, reason: str, now: int) -> None:
        """A listener's address cannot be had."""
        if name not in self._inbound:
            return
        known = self._shut.get(name)
        if known is None:
            self._shut[name] = _Shut(reason, FIRST_MS, now + FIRST_MS)
        else:
            known.reason = reason

    def judged(self, in_force: Callable[[Reference], str | None]) -> bool:
        """What was handed over has been put in force or refused; `in_force` tells digests. Whether a listener is open again."""
        opened = [name for name in self._shut if in_force(("listener", name)) == self._inbound[name].digest]
        for name in opened:
            del self._shut[name]
        return bool(opened)

    def gone(self, name: str) -> None:
        self._inbound.pop(name, None)
        self._shut.pop(name, None)

    def due(self, now: int) -> tuple[Encoded, ...]:
        """What to hand over again."""
        found = []
        for name, shut in self._shut.items():
            if shut.again_at <= now:
                shut.wait_ms = min(2 * shut.wait_ms, LONGEST_MS)
                shut.again_at = now + shut.wait_ms
                found.append(self._inbound[name])
        return tuple(found)

    def next_deadline(self) -> int | None:
        return min((shut.again_at for shut in self._shut.values()), default=None)
