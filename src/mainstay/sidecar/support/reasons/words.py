"""Names of Envoy's packages, and reasons that many fields share."""

from __future__ import annotations

ACCESS_LOG = "envoy.config.accesslog.v3"
BOOTSTRAP = "envoy.config.bootstrap.v3"
CLUSTER = "envoy.config.cluster.v3"
CORE = "envoy.config.core.v3"
ENDPOINT = "envoy.config.endpoint.v3"
LISTENER = "envoy.config.listener.v3"
RBAC = "envoy.config.rbac.v3"
ROUTE = "envoy.config.route.v3"
HTTP = "envoy.extensions.filters.http"
NETWORK = "envoy.extensions.filters.network"
INSPECTOR = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
LOGGERS = "envoy.extensions.access_loggers"
GENERIC = f"{NETWORK}.generic_proxy"
MANAGER = f"{NETWORK}.http_connection_manager.v3"
XDS_MATCHER = "xds.type.matcher.v3"
TLS = "envoy.extensions.transport_sockets.tls.v3"
UPSTREAM = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

NOT_YET = "not there yet"
EXTENSION = "there is no such extension point"
XDSTP = "resources are named as before xdstp://"
STATISTICS = "counters have names and tags of their own"
TUNING = "it tunes Envoy's own machinery"
UDP = "only TCP is carried"
QUIC = "HTTP/3 is not spoken"
METADATA = "dynamic metadata is not kept"
RUNTIME = "there are no run-time values; defaults count"
PROVIDER = "certificates come inline, from files or over SDS"
MATCHER_TREE = "matcher trees are evaluated in the generic proxy alone; use the older form"
DEPRECATED = "deprecated in Envoy; use its successor"
CONTENT_BUFFER = "bodies are streamed and never held"
HEALTH_EVENTS = "health is told by metrics and on the admin pages"
BALANCER = "use round robin, least request or random"
FREEBIND = "a listener binds what the system lets it bind"
SOCKET_OPTIONS = "socket options are those of TCP keep-alive"
ECDS = "filters stand in the listener; they are not discovered one by one"
RATE_LIMIT_DESCRIPTORS = "there is one bucket a filter and route, without descriptors"
TRACING = "traces are marked and passed on, not sent"
WEIGHT_HEADER = "the share is drawn for each request"
EVERY_LOCALITY = "localities count by weight and priority alone"

Reasons = dict[str, dict[str, str]]
"""Message → field → reason."""


def all_of(reason: str, *fields: str) -> dict[str, str]:
    """One reason for several fields."""
    return dict.fromkeys(fields, reason)
