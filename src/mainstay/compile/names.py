"""Names of resources, as Istio gives them, so that its tools and dashboards read ours.

In: direction, port, subset, host. Out: names, and back for outbound clusters.
"""

import msgspec

from mainstay.model.application import server_name
from mainstay.model.key import ObjectKey

PASSTHROUGH = "PassthroughCluster"
INBOUND_PASSTHROUGH = "InboundPassthroughCluster"
BLACK_HOLE = "BlackHoleCluster"
VIRTUAL_OUTBOUND = "virtualOutbound"
VIRTUAL_INBOUND = "virtualInbound"
SDS_CLUSTER = "sds-grpc"
"""The static cluster from which proxies get their own leaf and roots (Istio's name); Mainstay's serves itself."""

VIRTUAL_OUTBOUND_PORT = 15001
VIRTUAL_INBOUND_PORT = 15006

_OUTBOUND = "outbound"
_STREAM = "outbound-tcp"
"""Direction of clusters for byte streams of ports whose protocol is detected. They need a name of their own because
the ALPN they offer must lead to the peer's TCP chain, while the HTTP cluster's leads to its HTTP chain."""


class ClusterName(msgspec.Struct, frozen=True, gc=False):
    """An outbound cluster's name in parts; ``stream`` marks byte streams of a detected port."""

    host: str
    port: int
    subset: str = ""
    stream: bool = False

    def __str__(self) -> str:
        return f"{_STREAM if self.stream else _OUTBOUND}|{self.port}|{self.subset}|{self.host}"

    @property
    def sni(self) -> str:
        """Server name sent to mesh peers: ``outbound_.9080_.v1_.host``."""
        return f"outbound_.{self.port}_.{self.subset}_.{server_name(self.host)}"


def parse_cluster_name(text: str) -> ClusterName | None:
    """Parse the name of an outbound cluster; None for every other cluster."""
    parts = text.split("|")
    if len(parts) != 4 or parts[0] not in (_OUTBOUND, _STREAM) or not parts[1].isdecimal():
        return None
    return ClusterName(parts[3], int(parts[1]), parts[2], parts[0] == _STREAM)


def inbound_cluster(port: int) -> str:
    """Return the name of the cluster towards the application's port."""
    return f"inbound|{port}||"


def probe_cluster(group: ObjectKey) -> str:
    """Return the name of the cluster that carries a group's probe: Mainstay's sidecars report what comes of it."""
    return f"probe|{group}"


def listener_at(address: str, port: int) -> str:
    """Return the name of a listener by its address: ``10.0.0.1_3306``."""
    return f"{address}_{port}"


def explicit_route(host: str, port: int) -> str:
    """Return the name of an explicit listener's routes; without its address, so that workloads share them."""
    return f"explicit|{port}||{host}"


def rpc_route(host: str, port: int) -> str:
    """Return the name of the RPC routes of one service port."""
    return f"rpc|{port}||{host}"


def host_route(host: str, port: int) -> str:
    """Return the name of the routes of a detected port with an address of its own (``host:port``)."""
    return f"{host}:{port}"


def gateway_http_route(port: int) -> str:
    """Return the name of the routes of a gateway's plain HTTP port."""
    return f"http.{port}"


def gateway_https_route(port: int, server: str, gateway: str, namespace: str) -> str:
    """Return the name of the routes of one TLS server of a gateway."""
    return f"https.{port}.{server}.{gateway}.{namespace}"
