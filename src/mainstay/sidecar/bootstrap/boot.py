"""What a start needs to know, wherever it stood."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.sidecar import plan
from mainstay.sidecar.convert.table import Converted


class XdsSource(msgspec.Struct, frozen=True):
    """The control plane's stream. `cluster`: where it is opened; `wildcard`: whether clusters and listeners are asked for."""

    cluster: str
    variant: Literal["sotw", "delta"] = "delta"
    clusters: bool = True
    listeners: bool = True
    metadata: tuple[tuple[str, str], ...] = ()


class Boot(msgspec.Struct, frozen=True):
    """`node`: serialised `envoy.config.core.v3.Node`. `static`: resources that stay. `ignored`: what `--lenient` left out.
    `lenient`: what xDS brings is taken so too."""

    node: bytes
    node_id: str
    node_cluster: str = ""
    static: tuple[Converted, ...] = ()
    xds: XdsSource | None = None
    admin: plan.Address | None = None
    ignored: tuple[str, ...] = ()
    lenient: bool = False
