"""A subject's bootstrap: one listener that its cases share, by virtual host, and one more for each that asks for its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from conformance_case import Case, Subject, fill, merge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conformance_upstream import Upstream

TYPE = "type.googleapis.com/envoy.extensions."
LOOPBACK = "127.0.0.1"
_OWN_LISTENER = {
    "manager",
    "listener",
    "filters",
    "tls",
    "log",
    "route_config",
    "tcp",
    "network_filters",
    "chains",
}
_ROUTER = {
    "name": "envoy.filters.http.router",
    "typed_config": {"@type": TYPE + "filters.http.router.v3.Router"},
}


@dataclass(frozen=True)
class Place:
    """Where a case's client goes, and what the names in its expectations stand for."""

    port: int
    meanings: dict[str, Any]


@dataclass(frozen=True)
class Bootstrap:
    document: dict[str, Any]
    admin: int
    places: dict[str, Place]


def write(
    subject: Subject, upstreams: dict[str, dict[str, Upstream]], folder: Path, port: Callable[[], int]
) -> Bootstrap:
    """`upstreams`: by case and name. `port` gives a port that nobody uses."""
    shared, admin = port(), port()
    listeners: list[dict[str, Any]] = []
    clusters: list[dict[str, Any]] = []
    hosts: list[dict[str, Any]] = []
    places: dict[str, Place] = {}
    for case in subject.cases:
        own = bool(_OWN_LISTENER & set(case.fields))
        meanings = _meanings(case, upstreams[case.slug], folder)
        places[case.slug] = Place(port() if own else shared, meanings)
        meanings["listener.port"] = places[case.slug].port
        fields = fill(case.fields, meanings, case.name)
        clusters += _clusters(case, fields, upstreams[case.slug], meanings)
        if own:
            listeners.append(_listener(case, fields, subject.manager, places[case.slug].port, meanings))
        else:
            hosts.append(_host(case, fields, meanings, [case.domain]))
    if hosts:
        chain = {"filters": [manager(subject.stem, {"virtual_hosts": hosts}, subject.manager, [])]}
        listeners.append({"name": subject.stem, "filter_chains": [chain], **address(shared)})
    document = {
        "node": {"id": "conformance", "cluster": "conformance"},
        "admin": address(admin),
        "static_resources": {"listeners": listeners, "clusters": clusters},
    }
    return Bootstrap(document, admin, places)


def address(port: int) -> dict[str, Any]:
    return {"address": {"socket_address": {"address": LOOPBACK, "port_value": port}}}


def _meanings(case: Case, upstreams: dict[str, Upstream], folder: Path) -> dict[str, Any]:
    names = {*upstreams, *case.fields.get("clusters", {})}
    made: dict[str, Any] = {name: f"{case.slug}-{name}" for name in names}
    made |= {f"{name}.port": one.port for name, one in upstreams.items()}
    made |= {f"{name}.endpoint": {"endpoint": address(one.port)} for name, one in upstreams.items()}
    made |= {"host": case.domain, "slug": case.slug, "certs": str(folder / "certs")}
    return {**made, "log": str(folder / f"{case.slug}.log"), "types": TYPE}


def _clusters(
    case: Case, fields: dict[str, Any], upstreams: dict[str, Upstream], meanings: dict[str, Any]
) -> list[dict[str, Any]]:
    written = fields.get("clusters", {})
    made = []
    for name in dict.fromkeys([*upstreams, *written]):
        extra = dict(written.get(name) or {})
        if extra.pop("none", False):
            continue
        behind = extra.pop("endpoints", [name] if name in upstreams else [])
        cluster: dict[str, Any] = {"name": meanings[name], "type": "STATIC", "connect_timeout": "2s"}
        endpoints = [meanings[f"{one}.endpoint"] for one in behind]
        cluster["load_assignment"] = {"endpoints": [{"lb_endpoints": endpoints}]}
        if any(upstreams[one].script.protocol == "h2" for one in behind):
            options: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
            cluster["typed_extension_protocol_options"] = http_options(options)
        if "http" in extra:
            cluster["typed_extension_protocol_options"] = http_options(extra.pop("http"))
        if "tls" in extra:
            context = {"@type": TYPE + "transport_sockets.tls.v3.UpstreamTlsContext", **extra.pop("tls")}
            cluster["transport_socket"] = {
                "name": "envoy.transport_sockets.tls",
                "typed_config": context,
            }
        cluster = merge(cluster, extra)
        cluster["load_assignment"]["cluster_name"] = cluster["name"]
        made.append(cluster)
    del case
    return made


def http_options(options: dict[str, Any]) -> dict[str, Any]:
    if not {"explicit_http_config", "use_downstream_protocol_config", "auto_config"} & set(options):
        options = {"explicit_http_config": {"http_protocol_options": {}}, **options}
    name = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {name: {"@type": f"type.googleapis.com/{name}", **options}}


def _host(case: Case, fields: dict[str, Any], meanings: dict[str, Any], domains: list[str]) -> dict[str, Any]:
    routes = fields.get("routes")
    if routes is None:
        action = {**fields.get("route", {})}
        if not {"cluster", "weighted_clusters", "cluster_header"} & set(action):
            action["cluster"] = meanings["app"]
        routes = [{"match": {"prefix": "/"}, "route": action}]
    return {"name": case.slug, "domains": domains, "routes": routes, **fields.get("host", {})}


def _listener(
    case: Case, fields: dict[str, Any], shared: dict[str, Any], port: int, meanings: dict[str, Any]
) -> dict[str, Any]:
    extra = fields.get("listener", {})
    made = {"name": case.slug, **address(port), **extra}
    logs = [_log(fields["log"], meanings, fields.get("log_filter"))] if "log" in fields else []
    if "chains" in fields:
        made["filter_chains"] = [
            _chain(case, one, fields, shared, meanings, logs) for one in fields["chains"]
        ]
    else:
        made["filter_chains"] = [_chain(case, fields, fields, shared, meanings, logs)]
    return made


def _chain(
    case: Case,
    own: dict[str, Any],
    fields: dict[str, Any],
    shared: dict[str, Any],
    meanings: dict[str, Any],
    logs: list[dict[str, Any]],
) -> dict[str, Any]:
    """One filter chain: `tls`, `tcp` (or HTTP) and `match`, as the case or one of its chains says."""
    chain: dict[str, Any] = {}
    if "match" in own:
        chain["filter_chain_match"] = own["match"]
    if "tls" in own:
        context = {"@type": TYPE + "transport_sockets.tls.v3.DownstreamTlsContext", **own["tls"]}
        chain["transport_socket"] = {"name": "envoy.transport_sockets.tls", "typed_config": context}
    network = own.get("network_filters", [])
    if "tcp" in own:
        proxy = {"stat_prefix": case.slug, **own["tcp"]}
        if "weighted_clusters" not in proxy:
            proxy.setdefault("cluster", meanings.get("app"))
        if logs:
            proxy["access_log"] = logs
        last = {
            "name": "envoy.filters.network.tcp_proxy",
            "typed_config": {"@type": TYPE + "filters.network.tcp_proxy.v3.TcpProxy", **proxy},
        }
    else:
        domains = fields.get("host", {}).get("domains", ["*"])
        table = {"virtual_hosts": [_host(case, {**fields, **own}, meanings, domains)]}
        table |= fields.get("route_config", {})
        options = {**shared, **fields.get("manager", {})}
        if logs:
            options = {**options, "access_log": logs}
        last = manager(case.slug, table, options, fields.get("filters", []))
    chain["filters"] = [*network, last]
    return chain


def manager(
    name: str, table: dict[str, Any], options: dict[str, Any], filters: list[dict[str, Any]]
) -> dict[str, Any]:
    config = {
        "@type": TYPE + "filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "http_filters": [*filters, _ROUTER],
        "route_config": {"name": name, "validate_clusters": False, **table},
        **options,
    }
    return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def _log(format: Any, meanings: dict[str, Any], wanted: Any) -> dict[str, Any]:
    key = "json_format" if isinstance(format, dict) else "text_format_source"
    value = format if isinstance(format, dict) else {"inline_string": format + "\n"}
    config = {
        "@type": TYPE + "access_loggers.file.v3.FileAccessLog",
        "path": meanings["log"],
        "log_format": {key: value},
    }
    made = {"name": "envoy.access_loggers.file", "typed_config": config}
    return {**made, "filter": wanted} if wanted else made
