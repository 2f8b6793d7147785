"""Bootstrap files of Envoy's for RPC: a sidecar beside a caller and one beside a server, with mutual TLS between them.

In: protocol, ports, routes, leaves. Out: a file that `mainstay sidecar --bootstrap` starts from, and Envoy too where it has the
codec (`codec=ENVOY_DUBBO`). Peers in any language dial the caller's sidecar and are dialled by the server's:

    pair = write_pair(folder, "bolt", caller_port, between_port, application_port, certificates)
    start("mainstay", pair.server, between_port), start("mainstay", pair.caller, caller_port)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import yaml

from mainstay.protocols.native import native_codec

Fields = dict[str, Any]

TYPE = "type.googleapis.com/envoy.extensions."
PROXY = TYPE + "filters.network.generic_proxy."
MESH_ALPN = ("istio",)
ENVOY_DUBBO: Fields = {
    "name": "envoy.generic_proxy.codecs.dubbo",
    "typed_config": {"@type": PROXY + "codecs.dubbo.v3.DubboCodecConfig"},
}


class Leaves(Protocol):
    """`tests.interop.conftest.Certificates`."""

    roots: Path

    def leaf(self, account: str) -> tuple[Path, Path]: ...


class Pair(NamedTuple):
    """Files of the two sidecars."""

    caller: Path
    server: Path


def described(protocol: str, description: str | None = None) -> Fields:
    """`codec_config` of a protocol that comes with Mainstay, or of a description."""
    if native_codec(protocol) is not None:
        return _own("native", "NativeCodec", {"codec": protocol})
    value = {"protocol": protocol}
    if description is not None:
        value |= {
            "description": description,
            "sha256": hashlib.sha256(description.encode()).hexdigest(),
        }
    return _own("described", "DescribedCodec", value)


def _own(name: str, message: str, value: Fields) -> Fields:
    return {
        "name": f"mainstay.codecs.{name}",
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": f"type.googleapis.com/mainstay.dev.v1alpha1.{message}",
            "value": value,
        },
    }


def check(name: str, **pattern: str) -> Fields:
    """A predicate: `method`, `host`, `path`, or the name of a property; and `exact="…"`, `prefix="…"` and so on."""
    kinds = {"method": "MethodMatchInput", "host": "HostMatchInput", "path": "PathMatchInput"}
    kind = kinds.get(name, "PropertyMatchInput")
    config: Fields = {"@type": f"{PROXY}matcher.v3.{kind}"}
    if kind == "PropertyMatchInput":
        config["property_name"] = name
    match: Fields = dict(pattern)
    if "regex" in match:
        match = {"safe_regex": {"google_re2": {}, "regex": match["regex"]}}
    return {"single_predicate": {"input": {"name": name, "typed_config": config}, "value_match": match}}


def to(cluster: str, **more: Any) -> Fields:
    """An action: the cluster, and fields of `RouteAction` (`timeout="2s"`)."""
    action: Fields = {"@type": PROXY + "action.v3.RouteAction", **more}
    if "weighted_clusters" not in more:
        action["cluster"] = cluster
    return {"action": {"name": "route", "typed_config": action}}


def when(predicate: Fields, then: Fields) -> Fields:
    """An entry of a list of matchers."""
    return {"predicate": predicate, "on_match": then}


def first_of(*entries: Fields, otherwise: Fields | None = None) -> Fields:
    """A matcher: the first entry that matches."""
    made: Fields = {"matcher_list": {"matchers": list(entries)}} if entries else {}
    return made if otherwise is None else {**made, "on_no_match": otherwise}


def table(routes: Fields, hosts: Mapping[str, Fields] | None = None) -> Fields:
    """A `RouteConfiguration`: matchers by service, and one for all others."""
    named = [{"name": host, "hosts": [host], "routes": matcher} for host, matcher in (hosts or {}).items()]
    return {"name": "routes", "virtual_hosts": named, "routes": routes}


def chain(
    codec: Fields, routes: Fields, filters: Sequence[Fields] = (), access_log: Sequence[Fields] = ()
) -> Fields:
    """A filter chain of the generic proxy, clear."""
    router = {"name": "envoy.filters.generic.router", "typed_config": {"@type": PROXY + "router.v3.Router"}}
    proxy: Fields = {
        "@type": PROXY + "v3.GenericProxy",
        "stat_prefix": "rpc",
        "codec_config": codec,
        "route_config": routes,
        "filters": [*filters, router],
        "access_log": list(access_log),
    }
    return {"filters": [{"name": "envoy.filters.network.generic_proxy", "typed_config": proxy}]}


def address(port: int, host: str = "127.0.0.1") -> Fields:
    return {"address": {"socket_address": {"address": host, "port_value": port}}}


def listener(port: int, *chains: Fields, host: str = "127.0.0.1", **more: Any) -> Fields:
    return {"name": f"rpc-{port}", **address(port, host), "filter_chains": list(chains), **more}


def cluster(name: str, *ports: int, **more: Any) -> Fields:
    endpoints = [{"endpoint": address(port)} for port in ports]
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": assignment,
        **more,
    }


def accepting(leaves: Leaves, account: str, peer: str, alpn: Sequence[str] = MESH_ALPN) -> Fields:
    """Fields of a chain that takes mutual TLS from `peer`."""
    context = {
        "@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": _common(leaves, account, peer, alpn),
    }
    return {
        "filter_chain_match": {"transport_protocol": "tls", "application_protocols": list(alpn)},
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
    }


def dialling(leaves: Leaves, account: str, peer: str, alpn: Sequence[str] = MESH_ALPN) -> Fields:
    """Fields of a cluster that is reached by mutual TLS as `peer`."""
    context = {
        "@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext",
        "common_tls_context": _common(leaves, account, peer, alpn),
    }
    return {"transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context}}


def _common(leaves: Leaves, account: str, peer: str, alpn: Sequence[str]) -> Fields:
    chain, key = leaves.leaf(account)
    uri = f"spiffe://cluster.local/ns/shop/sa/{peer}"
    return {
        "alpn_protocols": list(alpn),
        "tls_certificates": [
            {"certificate_chain": {"filename": str(chain)}, "private_key": {"filename": str(key)}}
        ],
        "validation_context": {
            "trusted_ca": {"filename": str(leaves.roots)},
            "match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": uri}}],
        },
    }


TLS_INSPECTOR: Fields = {
    "name": "envoy.filters.listener.tls_inspector",
    "typed_config": {"@type": TYPE + "filters.listener.tls_inspector.v3.TlsInspector"},
}


HTTP_INSPECTOR: Fields = {
    "name": "envoy.filters.listener.http_inspector",
    "typed_config": {"@type": TYPE + "filters.listener.http_inspector.v3.HttpInspector"},
}


def inspector(*protocols: str) -> Fields:
    """The listener filter that tells protocols by their first bytes."""
    return {
        "name": "mainstay.listener.protocol_inspector",
        "typed_config": {
            "@type": "type.googleapis.com/xds.type.v3.TypedStruct",
            "type_url": "type.googleapis.com/mainstay.dev.v1alpha1.ProtocolInspector",
            "value": {"protocols": [{"protocol": protocol} for protocol in protocols]},
        },
    }


def for_protocols(chain: Fields, *names: str) -> Fields:
    """The chain, for connections of these application protocols."""
    return {**chain, "filter_chain_match": {"application_protocols": list(names)}}


def tcp_chain(cluster: str) -> Fields:
    config = {
        "@type": TYPE + "filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "tcp",
        "cluster": cluster,
    }
    return {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}]}


def http_chain(cluster: str) -> Fields:
    router = {"@type": TYPE + "filters.http.router.v3.Router"}
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": cluster}}],
    }
    config = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
        "route_config": {"name": "http", "virtual_hosts": [host]},
    }
    return {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": config}]}


def write(path: Path, listeners: Sequence[Fields], clusters: Sequence[Fields]) -> Path:
    resources = {"listeners": list(listeners), "clusters": list(clusters)}
    path.write_text(
        yaml.safe_dump({"node": {"id": path.stem, "cluster": "rpc"}, "static_resources": resources})
    )
    return path


def write_caller(
    path: Path,
    protocol: str,
    port: int,
    upstreams: Mapping[str, Sequence[int]],
    routes: Fields,
    leaves: Leaves | None = None,
    *,
    codec: Fields | None = None,
    filters: Sequence[Fields] = (),
    access_log: Sequence[Fields] = (),
    **of_cluster: Any,
) -> Path:
    """The sidecar beside a caller: takes clear calls on `port`; `upstreams` are clusters by name, ports of servers' sidecars."""
    codec = codec if codec is not None else described(protocol)
    tls = dialling(leaves, "caller", "server") if leaves is not None else {}
    clusters = [cluster(name, *ports, **tls, **of_cluster) for name, ports in upstreams.items()]
    return write(path, [listener(port, chain(codec, routes, filters, access_log))], clusters)


def write_server(
    path: Path,
    protocol: str,
    port: int,
    application: int,
    leaves: Leaves | None = None,
    *,
    codec: Fields | None = None,
    filters: Sequence[Fields] = (),
    access_log: Sequence[Fields] = (),
) -> Path:
    """The sidecar beside a server: takes calls on `port`, by mutual TLS if there are leaves; the application has its own port."""
    codec = codec if codec is not None else described(protocol)
    routes = table(first_of(otherwise=to("application")))
    made = chain(codec, routes, filters, access_log)
    more: Fields = {"traffic_direction": "INBOUND"}
    if leaves is not None:
        made |= accepting(leaves, "server", "caller")
        more["listener_filters"] = [TLS_INSPECTOR]
    return write(path, [listener(port, made, **more)], [cluster("application", application)])


def write_pair(
    folder: Path,
    protocol: str,
    port: int,
    between: int,
    application: int,
    leaves: Leaves | None,
    *,
    codec: Fields | None = None,
    routes: Fields | None = None,
) -> Pair:
    """Both sidecars; all calls go to cluster `next`, unless `routes` say otherwise."""
    routes = routes if routes is not None else table(first_of(otherwise=to("next")))
    caller, server = folder / f"{protocol}-caller.yaml", folder / f"{protocol}-server.yaml"
    return Pair(
        write_caller(caller, protocol, port, {"next": [between]}, routes, leaves, codec=codec),
        write_server(server, protocol, between, application, leaves, codec=codec),
    )
