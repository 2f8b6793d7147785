"""What travels in the rules: small real resources out of texts such as `r@2>b` (see `steps`), and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2  # noqa: F401 (known to the JSON parser)
from envoy.extensions.filters.network.http_connection_manager.v3 import (  # noqa: F401
    http_connection_manager_pb2,
)
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from google.protobuf import json_format

from .steps import Kind

_CLASSES: dict[Kind, Any] = {
    "cluster": cluster_pb2.Cluster,
    "endpoint": endpoint_pb2.ClusterLoadAssignment,
    "listener": listener_pb2.Listener,
    "route": route_pb2.RouteConfiguration,
    "secret": secret_pb2.Secret,
}
_TARGETS: dict[Kind, Kind] = {"cluster": "endpoint", "route": "cluster", "listener": "route"}
_HTTP = "type.googleapis.com/envoy.extensions.filters"
BROKEN = "!"


class Text(msgspec.Struct, frozen=True):
    """A resource as a rule writes it."""

    kind: Kind
    name: str
    version: str
    target: str = ""

    @property
    def refers(self) -> tuple[tuple[Kind, str], ...]:
        return ((_TARGETS[self.kind], self.target),) if self.target else ()


def parse(kind: Kind, text: str) -> Text:
    """`a@1>b`."""
    name, _, rest = text.partition("@")
    version, _, target = rest.partition(">")
    return Text(kind, name, version, target)


def parse_all(text: str) -> Text:
    """`cluster a@1`."""
    kind, _, rest = text.partition(" ")
    return parse(msgspec.convert(kind, Kind), rest)


class Maker:
    """Makes resources. `source`: where a resource says that what it refers to comes from. `ports`: where a listener of a name
    listens, where the application of endpoints of a name is."""

    def __init__(
        self, source: Mapping[str, Any], listeners: Mapping[str, int], applications: Mapping[str, int]
    ) -> None:
        self._source = dict(source)
        self._listeners = listeners
        self._applications = applications

    def make(self, text: Text) -> bytes:
        """The resource's bytes. Its content tells its version apart."""
        fields = getattr(self, f"_{text.kind}")(text)
        message = json_format.ParseDict(fields, _CLASSES[text.kind]())
        return bytes(message.SerializeToString(deterministic=True))

    def _cluster(self, text: Text) -> dict[str, Any]:
        fields: dict[str, Any] = {"name": text.name, "type": "STATIC"}
        if text.target:
            fields |= {
                "type": "EDS",
                "eds_cluster_config": {"service_name": text.target, "eds_config": self._source},
            }
        if text.version == BROKEN:
            del fields["type"]
            return fields | {"cluster_type": {"name": "none.such"}}
        return fields | {"connect_timeout": f"{text.version}s"}

    def _endpoint(self, text: Text) -> dict[str, Any]:
        port = self._applications.get(text.name, 9)
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        metadata = {"filter_metadata": {"rules": {"version": text.version}}}
        endpoints = [{"endpoint": {"address": address}, "metadata": metadata}]
        return {"cluster_name": text.name, "endpoints": [{"lb_endpoints": endpoints}]}

    def _route(self, text: Text) -> dict[str, Any]:
        match: dict[str, Any] = {"prefix": "/"}
        if text.version == BROKEN:
            match = {"safe_regex": {"regex": "("}}
        route = {"match": match, "route": {"cluster": text.target or "none"}}
        host = {"name": f"version-{text.version}", "domains": ["*"], "routes": [route]}
        return {"name": text.name, "virtual_hosts": [host]}

    def _secret(self, text: Text) -> dict[str, Any]:
        return {"name": text.name, "generic_secret": {"secret": {"inline_string": text.version}}}

    def _listener(self, text: Text) -> dict[str, Any]:
        router = {"@type": f"{_HTTP}.http.router.v3.Router"}
        manager: dict[str, Any] = {
            "@type": f"{_HTTP}.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": f"version-{text.version}",
            "http_filters": [{"name": "router", "typed_config": router}],
        }
        if text.target:
            manager["rds"] = {"route_config_name": text.target, "config_source": self._source}
        else:
            manager["route_config"] = {}
        if text.version == BROKEN:
            manager["http_filters"].insert(0, {"name": "none.such", "typed_config": _STRUCT})
        port = self._listeners.get(text.name, 1)
        return {
            "name": text.name,
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }


_STRUCT = {"@type": "type.googleapis.com/google.protobuf.Struct", "value": {}}


def read(kind: Kind, body: bytes) -> Any:
    return _CLASSES[kind].FromString(body)


def name_of(kind: Kind, body: bytes) -> str:
    message = read(kind, body)
    return str(message.cluster_name if kind == "endpoint" else message.name)
