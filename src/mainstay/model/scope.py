"""What a group of proxies may see and where it listens.

In: Sidecar objects. Out: ``Scope`` facts; the compiler picks for a proxy the one of its namespace whose selector fits,
else the namespace's without selector, else the root namespace's, else everything visible.
"""

from typing import Literal

import msgspec

from mainstay.model.key import Labels, ObjectKey
from mainstay.model.protocol import PortProtocol
from mainstay.model.traffic import ConnectionPool

Capture = Literal["DEFAULT", "IPTABLES", "NONE"]
OutboundMode = Literal["REGISTRY_ONLY", "ALLOW_ANY"]


class HostPattern(msgspec.Struct, frozen=True, gc=False, order=True):
    """``namespace/host`` of Sidecar.egress.hosts: namespace ``*`` any (``.`` resolved, ``~`` leaves the list empty by the
    dialect), host exact, ``*.suffix`` or ``*``."""

    namespace: str
    host: str


class EgressListener(msgspec.Struct, frozen=True, gc=False):
    """An outbound listener. ``port`` 0: all ports of the hosts in REDIRECT mode. With a port and ``capture`` NONE (or
    interception mode NONE) it is bound to ``bind`` (``127.0.0.1`` if empty) and serves the one service port it names."""

    hosts: tuple[HostPattern, ...]
    port: int = 0
    protocol: PortProtocol = PortProtocol.AUTO
    name: str = ""
    bind: str = ""
    capture: Capture = "DEFAULT"


class IngressListener(msgspec.Struct, frozen=True, gc=False):
    """An inbound listener on ``bind:port`` (``bind`` empty: the workload's address) that forwards to ``endpoint``:
    ``address:port`` or ``unix:///path``; empty: ``127.0.0.1`` and the same port. ``claims`` as of a ServicePort."""

    port: int
    protocol: PortProtocol = PortProtocol.AUTO
    name: str = ""
    bind: str = ""
    capture: Capture = "DEFAULT"
    endpoint: str = ""
    pool: ConnectionPool | None = None
    claims: tuple[str, ...] = ()


class Scope(msgspec.Struct, frozen=True, gc=False):
    """A Sidecar. ``egress`` and ``ingress`` keep the author's order. ``egress`` empty: everything visible; ``ingress``
    empty: by the services the workload belongs to. ``outbound`` None: the mesh's."""

    key: ObjectKey
    selector: Labels = ()
    egress: tuple[EgressListener, ...] = ()
    ingress: tuple[IngressListener, ...] = ()
    outbound: OutboundMode | None = None
    inbound_pool: ConnectionPool | None = None
    created: int = 0
