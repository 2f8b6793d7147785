"""What a start needs to know, wherever it stood."""

from __future__ import annotations

from pathlib import Path

import msgspec

from mainstay.sidecar import plan
from mainstay.sidecar.convert.source import AGGREGATED, Service, Source
from mainstay.sidecar.convert.table import Converted


class Dynamic(msgspec.Struct, frozen=True):
    """Where configuration comes from. `ads`: the server of the aggregated stream; `clusters`, `listeners`: `None` if they are
    not asked for. What these name comes from where they say."""

    ads: Service | None = None
    clusters: Source | None = AGGREGATED
    listeners: Source | None = AGGREGATED


class Boot(msgspec.Struct, frozen=True):
    """`node`: serialised `envoy.config.core.v3.Node`. `static`: resources that stay. `ignored`: what `--lenient` left out.
    `lenient`: what xDS brings is taken so too. `directory`: from where relative paths are seen. `own_secrets`: those that the
    proxy has of itself, or never."""

    node: bytes
    node_id: str
    node_cluster: str = ""
    static: tuple[Converted, ...] = ()
    dynamic: Dynamic | None = None
    admin: plan.Address | None = None
    ignored: tuple[str, ...] = ()
    lenient: bool = False
    directory: Path = Path()
    own_secrets: frozenset[str] = frozenset()

    @property
    def is_dynamic(self) -> bool:
        """Whether anything comes from outside."""
        return self.dynamic is not None or any(each.resource.sources for each in self.static)

    @property
    def clusters(self) -> frozenset[str]:
        """Names of the clusters that stay: only these may serve configuration."""
        return frozenset(each.resource.name for each in self.static if each.resource.kind == "cluster")
