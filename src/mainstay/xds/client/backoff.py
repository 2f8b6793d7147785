"""How long to wait before the next attempt: exponential, with full jitter.

In: a source of random numbers in [0, 1). Out: delays in ms. Full jitter (a uniform share of the whole span) spreads a
thousand proxies that lost one server best.
"""

from __future__ import annotations

from collections.abc import Callable

BASE_MS = 500
CAP_MS = 30_000


class Backoff:
    """One sequence of attempts."""

    __slots__ = ("_attempts", "_base", "_cap", "_random")

    def __init__(self, random: Callable[[], float], base_ms: int = BASE_MS, cap_ms: int = CAP_MS) -> None:
        self._random = random
        self._base = base_ms
        self._cap = cap_ms
        self._attempts = 0

    def next_delay(self) -> int:
        """The delay before the next attempt: up to 0.5 s at first, up to 30 s in the end."""
        span = min(self._cap, self._base << min(self._attempts, 16))
        self._attempts += 1
        return int(span * self._random())

    def reset(self) -> None:
        """It worked: begin anew."""
        self._attempts = 0
