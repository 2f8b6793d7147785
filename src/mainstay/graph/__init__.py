"""Incremental collections: one change recomputes only what read it, and can say why.

In: facts, through `Input`. Out: derived values and, after each round, the keys that changed. Invariant: the
result is that of computing everything from scratch. The room knows nothing of what it carries, of asyncio or
of the time of day. Built by `mainstay.control`; collections of the mesh are defined there and in
`mainstay.compile`.
"""

from mainstay.graph.contract import Cause, Collection, GraphError, More, Refused, Settled
from mainstay.graph.derived import Derived, Reader
from mainstay.graph.explain import Recompute, Ring
from mainstay.graph.index import Index
from mainstay.graph.input import Input
from mainstay.graph.merge import build_merge, first_wins
from mainstay.graph.pace import Pace
from mainstay.graph.settle import LINGER_MS, Graph

__all__ = [
    "LINGER_MS",
    "Cause",
    "Collection",
    "Derived",
    "Graph",
    "GraphError",
    "Index",
    "Input",
    "More",
    "Pace",
    "Reader",
    "Recompute",
    "Refused",
    "Ring",
    "Settled",
    "build_merge",
    "first_wins",
]
