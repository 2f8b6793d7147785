"""What `up` is told: the Mesh document as plain values.

In: a decoded Mesh object (`mainstay.api`). Out: `MeshFile`. Times in milliseconds. Invariant: names are DNS labels and unique
among workloads and gateways, since they become host names, identities and folder names.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Runtime = Literal["python", "node", "java", "go", ""]


class Port(msgspec.Struct, frozen=True):
    """A service port: `protocol` is http, http2, grpc, tcp, or empty to detect."""

    number: int
    name: str = ""
    protocol: str = ""


class Service(msgspec.Struct, frozen=True):
    name: str
    ports: tuple[Port, ...]


class Probe(msgspec.Struct, frozen=True):
    """How an application shows that it serves: an HTTP path, else a TCP connection."""

    path: str = ""
    period: int = 1_000
    timeout: int = 1_000
    failures: int = 3


class Workload(msgspec.Struct, frozen=True):
    """One application: `instances` processes of `command`, each with an address and, unless `proxy` is none, a sidecar.

    `calls` are the services it may call, each handed over as `<SERVICE>_ADDR`. `needs` names run-times without which the
    workload is left out.
    """

    name: str
    command: tuple[str, ...]
    service: str = ""
    version: str = "v1"
    env: dict[str, str] = {}
    needs: tuple[Runtime, ...] = ()
    calls: tuple[str, ...] = ()
    probe: Probe = Probe()
    instances: int = 1
    proxy: Literal["mainstay", "none"] = "mainstay"


class Gateway(msgspec.Struct, frozen=True):
    """A proxy at the edge; `port` 0 lets the system choose."""

    name: str
    port: int = 0


class Load(msgspec.Struct, frozen=True):
    """Requests per second to a path of a gateway, from outside the mesh."""

    to: str
    rate: float
    path: str = "/"
    connections: int = 16


class Step(msgspec.Struct, frozen=True):
    """Objects (YAML text) applied `after` milliseconds of load."""

    after: int
    apply: str
    note: str = ""


class MeshFile(msgspec.Struct, frozen=True):
    """A whole mesh. `config`: pairs of file name and YAML text. `directory`: where commands run and paths start."""

    name: str
    directory: str
    namespace: str = "default"
    services: tuple[Service, ...] = ()
    workloads: tuple[Workload, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    config: tuple[tuple[str, str], ...] = ()
    load: tuple[Load, ...] = ()
    steps: tuple[Step, ...] = ()
    hints: tuple[str, ...] = ()
    """What to try next, shown at the end of start-up."""
