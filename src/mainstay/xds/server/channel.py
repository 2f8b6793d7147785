"""One kind on one stream: what is asked for, what the client has, what is still to be said.

In and out: state, changed by `stream` and read by `planner` and `order`. Invariant: a name that may differ from what the
client has is in `dirty` until it was sent or found equal.
"""

from __future__ import annotations

from mainstay.xds.server.ledger import Ledger
from mainstay.xds.server.subscriptions import Subscriptions
from mainstay.xds.server.types import Resource, View
from mainstay.xds.types import Type


class Channel:
    """One kind. `dirty`: names that may differ. `asked`: those to be answered whatever they are. `owed`: an answer is due
    even if it is empty. `held`: names that wait for others, and since when. `resumes`: SotW version the client came with."""

    __slots__ = ("asked", "dirty", "held", "ledger", "owed", "resumes", "row", "subscriptions")

    def __init__(self, row: Type) -> None:
        self.row = row
        self.subscriptions = Subscriptions()
        self.ledger = Ledger()
        # Dicts as sets: an empty one is a quarter of an empty set, and most are empty most of the time.
        self.dirty: dict[str, None] = {}
        self.asked: dict[str, None] = {}
        self.held: dict[str, int] = {}
        self.owed = False
        self.resumes = ""

    @property
    def has_work(self) -> bool:
        return self.ledger.under_way is None and (self.owed or bool(self.dirty))

    def settle(self, name: str) -> None:
        """Nothing is left to be said about this name."""
        self.dirty.pop(name, None)
        self.asked.pop(name, None)
        self.held.pop(name, None)

    def shrink(self) -> None:
        """What was large stays slow to walk through after it was emptied: begin with new ones."""
        if not self.dirty:
            self.dirty, self.asked = {}, {}

    def current(self, view: View, name: str) -> Resource | None:
        """What the client should have of a name: a wildcard brings the scope, anything beyond has to be named."""
        kind = self.row.kind
        if name in self.subscriptions.names or name in view.names(kind):
            return view.get(kind, name)
        return None
