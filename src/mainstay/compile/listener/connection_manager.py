"""The HTTP connection manager of every listener, in Istio's settings per direction.

In: place, routes (by name or inline), HTTP filters. Out: the network filter that ends an HTTP chain.
"""

from mainstay.compile.access_log import access_log, tracing
from mainstay.compile.filters.context import Place
from mainstay.compile.resource import Fields, duration, extension
from mainstay.model.mesh import Mesh

_MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"

GATEWAY_REQUEST_HEADERS_TIMEOUT = 10_000
"""Milliseconds a client outside the mesh has for its request head; slow heads are an attack there."""


def connection_manager(mesh: Mesh, place: Place, label: str, routes: Fields, filters: list[Fields]) -> Fields:
    """Return the filter. ``routes`` is ``{"rds": …}`` or ``{"route_config": …}``; ``label`` its statistics prefix."""
    fields: Fields = {
        "stat_prefix": label,
        "codec_type": "AUTO",
        **routes,
        "http_filters": filters,
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "normalize_path": {"value": True},
        "use_remote_address": {"value": place == "gateway"},
        "stream_idle_timeout": {},
        "access_log": access_log(mesh),
        **tracing(mesh),
    }
    if place == "inbound":
        fields["forward_client_cert_details"] = "APPEND_FORWARD"
        fields["set_current_client_cert_details"] = {"subject": {"value": True}, "uri": True, "dns": True}
    elif place == "gateway":
        fields["forward_client_cert_details"] = "SANITIZE_SET"
        fields["set_current_client_cert_details"] = {"subject": {"value": True}, "uri": True, "dns": True}
        fields["merge_slashes"] = True
        fields["request_headers_timeout"] = duration(GATEWAY_REQUEST_HEADERS_TIMEOUT)
    return extension("envoy.filters.network.http_connection_manager", _MANAGER, fields)


def by_name(route: str) -> Fields:
    """Return routes fetched by RDS over the aggregated stream."""
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": {}}
    return {"rds": {"route_config_name": route, "config_source": source}}
