"""What an engine is started with; everything else arrives by deltas."""

from __future__ import annotations

import msgspec

from mainstay.sidecar.plan.address import Address


class LocalWorkload(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    principal: str = ""
    app: str = ""
    version: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    cluster: str = ""


class EngineSettings(msgspec.Struct, frozen=True):
    node_id: str
    workers: int = 1
    admin: Address | None = None
    metrics: Address | None = None
    health: Address | None = None
    registry: Address | None = None
    admin_beyond_loopback: bool = False
    max_connections: int | None = None
    resend_unprocessed: bool = True
    log_json: bool = False
    node_cluster: str = ""
    version: str = ""
    workload: LocalWorkload = LocalWorkload()
