"""Endpoints of a cluster (`envoy.config.endpoint.v3.ClusterLoadAssignment`)."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.sidecar.plan.address import Address

Health = Literal["healthy", "unhealthy", "draining", "degraded"]
Labels = tuple[tuple[str, str], ...]


class Locality(msgspec.Struct, frozen=True):
    region: str = ""
    zone: str = ""
    sub_zone: str = ""


class Endpoint(msgspec.Struct, frozen=True):
    address: Address
    hostname: str = ""
    weight: int = 1
    health: Health = "healthy"
    socket_labels: Labels = ()
    labels: Labels = ()
    takes_http1_in_http2: bool = False


class LocalityEndpoints(msgspec.Struct, frozen=True):
    locality: Locality
    priority: int
    weight: int
    endpoints: tuple[Endpoint, ...]


class Endpoints(msgspec.Struct, frozen=True):
    service: str
    localities: tuple[LocalityEndpoints, ...]
    overprovisioning: int = 140
    drop_percent: float = 0.0
