"""Facts as they enter the graph.

In: `set` and `remove` between rounds, at any time. Out: a collection other collections read. Invariant: a
change is staged and becomes visible with the next round, so a round in progress never sees its inputs move.
Sources (through the control loop) call it.
"""

from __future__ import annotations

from mainstay.graph.contract import Cause, Collection, K, V, Wake

_UNKNOWN = Cause(source="")


class Input(Collection[K, V]):
    """A collection written from outside. Writes of one key between two rounds coalesce: the last one
    counts."""

    __slots__ = ("_staged",)

    def __init__(self, name: str) -> None:
        super().__init__(name, level=0)
        self._staged: dict[K, tuple[V | None, Cause]] = {}

    def set(self, key: K, value: V, cause: Cause = _UNKNOWN) -> None:
        self._staged[key] = (value, cause)

    def remove(self, key: K, cause: Cause = _UNKNOWN) -> None:
        """Removing what is not there is allowed and changes nothing."""
        self._staged[key] = (None, cause)

    @property
    def staged(self) -> int:
        """Number of keys that wait for the next round."""
        return len(self._staged)

    def latest(self, key: K) -> V | None:
        """The value that the next round will see: staged if there is one, else the newest."""
        staged = self._staged.get(key)
        return staged[0] if staged is not None else self.newest(key)

    def take_staged(self, wake: Wake) -> dict[K, Cause]:
        """Begins a round: applies what is staged and returns the keys that really changed, with their
        causes."""
        staged, self._staged = self._staged, {}
        return {key: cause for key, (value, cause) in staged.items() if self.store(key, value, wake)}
