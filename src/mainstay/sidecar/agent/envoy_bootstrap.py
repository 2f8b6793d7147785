"""The bootstrap of an Envoy beside an agent.

In: settings, the certificate. Out: the bootstrap. Invariants: paths are relative, for Envoy runs in the data folder; it holds no
key; the control plane is verified by its SPIFFE ID; the admin pages, which have no credentials, are a Unix socket of mode 0600;
of them the metrics alone are on a port.
"""

from __future__ import annotations

import ipaddress
from typing import Any

from mainstay.identity.join_wire import SERVER_NAME, Joined
from mainstay.model.agent import secret_file
from mainstay.model.secret import LEAF, ROOTS
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar.agent.nodes import proxy_node
from mainstay.sidecar.bootstrap import own

ADMIN_SOCKET = "admin.sock"
METRICS_PATH = "/stats/prometheus"
_METRICS = "prometheus_stats"
_TYPE = "type.googleapis.com/"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

_CLUSTER_TAG = (
    r"^cluster\.((.+?)\.)(?=(?:upstream_|retry\.|ssl\.|transport_socket_match\.|circuit_breakers\.|membership_|"
    r"outlier_detection\.|lb_|bind_errors|max_host_weight|original_dst_|version|warming_state|assignment_|update_|"
    r"internal\.|external\.|canary\.|zone\.|http1\.|http2\.|default\.|init_fetch_timeout|client_ssl_socket_factory\.))"
)
"""Envoy's own pattern ends a cluster's name at its first dot, and ours hold host names."""
_STATS_TAGS = [
    {"tag_name": "envoy.cluster_name", "regex": _CLUSTER_TAG},
    *(
        {"tag_name": f"envoy.{name}"}
        for name in (
            "response_code",
            "response_code_class",
            "http_conn_manager_prefix",
            "listener_address",
            "tcp_prefix",
        )
    ),
]


def envoy_bootstrap(settings: SidecarSettings, verb: str, version: str, joined: Joined) -> dict[str, Any]:
    """See the module. `verb`: sidecar or gateway."""
    host, port = own.split_address(settings.control_plane.address, verb)
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {
        "node": proxy_node(settings, verb, version, joined),
        "admin": {"address": {"pipe": {"path": ADMIN_SOCKET, "mode": 0o600}}},
        "static_resources": {
            "clusters": [_control_plane(host, port, joined.bundle.server), _admin_cluster()],
            "listeners": [_metrics_listener(settings.metrics.bind, settings.metrics.port)],
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if settings.control_plane.variant == "delta" else "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": own.XDS_CLUSTER}}],
                "set_node_on_first_message_only": True,
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        **_limits(settings.max_connections),
        # Histograms show only once they are merged; whoever reads metrics each second wants these too.
        "stats_flush_interval": "1s",
        "stats_config": {"use_all_default_tags": False, "stats_tags": _STATS_TAGS},
    }


def _control_plane(host: str, port: int, server: str) -> dict[str, Any]:
    try:
        ipaddress.ip_address(host)
        kind = "STATIC"
    except ValueError:
        kind = "STRICT_DNS"
    keepalive = {
        "interval": f"{own.KEEPALIVE_INTERVAL_MS // 1_000}s",
        "timeout": f"{own.KEEPALIVE_TIMEOUT_MS // 1_000}s",
    }
    validation = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": server}}]}
    context = {
        "@type": _TYPE + "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        "sni": SERVER_NAME,
        "common_tls_context": {
            "tls_params": {
                "tls_minimum_protocol_version": "TLSv1_2",
                "tls_maximum_protocol_version": "TLSv1_3",
            },
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [_by_file(LEAF)],
            "combined_validation_context": {
                "default_validation_context": validation,
                "validation_context_sds_secret_config": _by_file(ROOTS),
            },
        },
    }
    return {
        "name": own.XDS_CLUSTER,
        "type": kind,
        "connect_timeout": f"{own.CONNECT_MS // 1_000}s",
        "typed_extension_protocol_options": {
            _HTTP_OPTIONS: {
                "@type": _TYPE + _HTTP_OPTIONS,
                "explicit_http_config": {"http2_protocol_options": {"connection_keepalive": keepalive}},
            }
        },
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": context},
        "load_assignment": _assignment(own.XDS_CLUSTER, _socket(host, port)),
    }


def _limits(max_connections: int | None) -> dict[str, Any]:
    if max_connections is None:
        return {}
    kind = "envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    config = {"@type": _TYPE + kind, "max_active_downstream_connections": max_connections}
    monitor = {"name": "envoy.resource_monitors.global_downstream_max_connections", "typed_config": config}
    return {"overload_manager": {"resource_monitors": [monitor]}}


def _by_file(name: str) -> dict[str, Any]:
    path = {"path_config_source": {"path": secret_file(name)}, "resource_api_version": "V3"}
    return {"name": name, "sds_config": path}


def _admin_cluster() -> dict[str, Any]:
    return {
        "name": _METRICS,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": _assignment(_METRICS, {"pipe": {"path": ADMIN_SOCKET}}),
    }


def _metrics_listener(bind: str, port: int) -> dict[str, Any]:
    route = {"match": {"path": METRICS_PATH}, "route": {"cluster": _METRICS}}
    manager = {
        "@type": _TYPE + _MANAGER,
        "stat_prefix": _METRICS,
        "route_config": {"virtual_hosts": [{"name": _METRICS, "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": _TYPE + "envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    return {
        "name": _METRICS,
        "address": _socket(bind, port),
        # Metrics are asked for until the very end: this one is not drained with the inbound ones.
        "traffic_direction": "OUTBOUND",
        "filter_chains": [{"filters": filters}],
    }


def _socket(address: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": address, "port_value": port}}


def _assignment(name: str, address: dict[str, Any]) -> dict[str, Any]:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}]}
