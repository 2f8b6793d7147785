"""How long to wait before the next attempt: exponential, with full jitter.

In: a source of random numbers in [0, 1). Out: delays in ms. Full jitter (a uniform share of the whole span) spreads a
thousand proxies that lost one server best.
"""

from __future__ import annotations

from collections.abc import Callable

BASE_MS = 500
CAP_MS = 30_000
REFUSED_BASE_MS = 10_000
REFUSED_CAP_MS = 120_000
"""For a server that says no: somebody has to do something first."""


class Backoff:
    """One sequence of attempts. `floor`: the share of a span that is always waited."""

    __slots__ = ("_attempts", "_base", "_cap", "_floor", "_random")

    def __init__(
        self,
        random: Callable[[], float],
        base_ms: int = BASE_MS,
        cap_ms: int = CAP_MS,
        floor: float = 0.0,
    ) -> None:
        self._random = random
        self._base = base_ms
        self._cap = cap_ms
        self._floor = floor
        self._attempts = 0

    def next_delay(self) -> int:
        """The delay before the next attempt, in ms."""
        span = min(self._cap, self._base << min(self._attempts, 16))
        self._attempts += 1
        return int(span * (self._floor + (1 - self._floor) * self._random()))

    def reset(self) -> None:
        """It worked: begin anew."""
        self._attempts = 0
