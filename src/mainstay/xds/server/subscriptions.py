"""What a client asks for, of one kind on one stream.

In: requests of either variant. Out: what they change. Invariants: SotW names replace, delta names add and take away; a wildcard
is asked for by `*`, or by naming nothing in the first request of a kind that has one; a name asked for anew is always answered.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mainstay.xds.messages import DeltaRequest, SotwRequest
from mainstay.xds.types import WILDCARD, Type


class Change(msgspec.Struct, frozen=True):
    """`asked`: names to be answered even if nothing changed. `added`: names not asked for before. `left`: names the client has
    forgotten. `left_wildcard`: it wants only what it named from now on."""

    asked: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    began_wildcard: bool = False
    left_wildcard: bool = False


class Subscriptions:
    """See the module."""

    __slots__ = ("_named", "names", "started", "wildcard")

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.wildcard = False
        self.started = False
        self._named = False

    def covers(self, name: str) -> bool:
        """Whether the client wants to hear of this name."""
        return self.wildcard or name in self.names

    def take_sotw(self, row: Type, request: SotwRequest) -> Change:
        """The whole list of a SotW request. An empty one is the wildcard only while nothing was ever named."""
        wanted = set(request.names)
        wildcard = WILDCARD in wanted or (not wanted and not self._named and row.wildcard)
        wanted.discard(WILDCARD)
        self._named = self._named or bool(request.names)
        return self._replace(wanted, wildcard, wanted - self.names)

    def take_delta(self, row: Type, request: DeltaRequest) -> Change:
        """What a delta request adds and takes away."""
        added, left = set(request.subscribe), set(request.unsubscribe)
        wildcard = self.wildcard
        if WILDCARD in added or (not self.started and not added and row.wildcard):
            wildcard = True
        elif WILDCARD in left:
            wildcard = False
        asked = added - {WILDCARD}
        wanted = (self.names | asked) - left
        return self._replace(wanted, wildcard, asked - left, left - {WILDCARD})

    def _replace(
        self, wanted: set[str], wildcard: bool, asked: Iterable[str], unsubscribed: Iterable[str] = ()
    ) -> Change:
        began = wildcard and not self.wildcard
        ended = self.wildcard and not wildcard
        added = wanted - self.names
        left = self.names - wanted
        again = set(asked)
        if wildcard:
            # A name taken back while the wildcard covers it still belongs to the client, who cannot know that: tell it.
            again |= set(unsubscribed)
        self.names, self.wildcard, self.started = wanted, wildcard, True
        return Change(
            tuple(sorted(again)),
            tuple(sorted(added)),
            () if wildcard else tuple(sorted(left)),
            began,
            ended,
        )
