"""HTTP towards servers: `envoy.extensions.upstreams.http.v3.HttpProtocolOptions`, and the older fields of clusters themselves."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.filters.table import open_config
from mainstay.sidecar.convert.refuse import Known, Refused, at, check, known, unsupported
from mainstay.sidecar.convert.remembered import remembered

MAX_WINDOW = 16 << 20
"""Bytes: larger HTTP/2 windows are cut to it, so that a peer cannot make us hold more."""
HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_SERVER_HTTP1_FIELDS = Known({"enable_trailers"})
_HTTP_PROTOCOL_OPTIONS_FIELDS = known(
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    {
        "common_http_protocol_options",
        "explicit_http_config",
        "use_downstream_protocol_config",
        "auto_config",
        "upstream_http_protocol_options",
    },
)
_COMMON_OPTIONS_FIELDS = known(
    "envoy.config.core.v3.HttpProtocolOptions",
    {
        "idle_timeout",
        "max_connection_duration",
        "max_stream_duration",
        "max_requests_per_connection",
        "max_headers_count",
    },
)


class HttpOptions(NamedTuple):
    """Options of HTTP, and what they say of TLS: the server's name is the request's host, and the certificate must have it."""

    options: plan.UpstreamHttp
    auto_sni: bool = False
    auto_san: bool = False


def upstream_http(message: Any) -> HttpOptions:
    """Of a cluster."""
    options = message.typed_extension_protocol_options
    for name in options:
        if name != HTTP_OPTIONS:
            unsupported(f"typed_extension_protocol_options[{name!r}]")
    if HTTP_OPTIONS in options:
        return _http_options(options[HTTP_OPTIONS])
    # The deprecated fields of the cluster itself.
    protocol: Any = "http1"
    http2 = plan.Http2Options()
    if message.HasField("http2_protocol_options"):
        protocol, http2 = "http2", http2_options(message.http2_protocol_options)
    _check_http1(message)
    most = values.wrapped(message, "max_requests_per_connection") or None
    return _follow(message, _common(message.common_http_protocol_options, protocol, http2, most))


@remembered
def _http_options(message: Any) -> HttpOptions:
    with at(f"typed_extension_protocol_options[{HTTP_OPTIONS!r}]"):
        kind, found = open_config(message, "")
        if kind != HTTP_OPTIONS:
            raise Refused("", f"is a {kind}")
        check(found, _HTTP_PROTOCOL_OPTIONS_FIELDS)
        protocol: Any = "http1"
        http2 = plan.Http2Options()
        match found.WhichOneof("upstream_protocol_options"):
            case "explicit_http_config":
                _check_http1(found.explicit_http_config)
                if found.explicit_http_config.HasField("http2_protocol_options"):
                    protocol = "http2"
                    http2 = http2_options(found.explicit_http_config.http2_protocol_options)
            case "use_downstream_protocol_config":
                _check_http1(found.use_downstream_protocol_config)
                protocol = "downstream"
                http2 = http2_options(found.use_downstream_protocol_config.http2_protocol_options)
            case "auto_config":
                _check_http1(found.auto_config)
                protocol, http2 = "auto", http2_options(found.auto_config.http2_protocol_options)
        return _follow(found, _common(found.common_http_protocol_options, protocol, http2, None))


def _common(common: Any, protocol: Any, http2: plan.Http2Options, most: int | None) -> plan.UpstreamHttp:
    with at("common_http_protocol_options"):
        check(common, _COMMON_OPTIONS_FIELDS)
    return plan.UpstreamHttp(
        protocol=protocol,
        http2=http2,
        idle_timeout=values.limit(common, "idle_timeout", 3_600_000),
        max_connection_duration=values.limit(common, "max_connection_duration", None),
        max_stream_duration=values.limit(common, "max_stream_duration", None),
        max_requests_per_connection=values.wrapped(common, "max_requests_per_connection") or most,
        max_response_headers=values.wrapped(common, "max_headers_count", 100),
    )


def _check_http1(message: Any) -> None:
    """HTTP/1 towards a server has no options yet; that it is spoken can be said, and that trailers pass, which they do."""
    with at("http_protocol_options"):
        check(
            message.http_protocol_options,
            _SERVER_HTTP1_FIELDS,
            "is not supported: HTTP/1 towards a server has no options yet",
        )


def _follow(message: Any, options: plan.UpstreamHttp) -> HttpOptions:
    found = message.upstream_http_protocol_options
    return HttpOptions(options, found.auto_sni, found.auto_san_validation)


def with_names(socket: plan.UpstreamTls | None, http: HttpOptions) -> plan.UpstreamTls | None:
    """The cluster's TLS with what its HTTP options say of names."""
    if socket is None or not (http.auto_sni or http.auto_san):
        return socket
    return msgspec.structs.replace(
        socket,
        auto_server_name=http.auto_sni,
        auto_san_validation=http.auto_san or socket.auto_san_validation,
    )


def http2_options(message: Any) -> plan.Http2Options:
    """`envoy.config.core.v3.Http2ProtocolOptions`; windows are cut to `MAX_WINDOW`."""
    keepalive = message.connection_keepalive if message.HasField("connection_keepalive") else None
    return plan.Http2Options(
        values.wrapped(message, "max_concurrent_streams", 1_024),
        min(MAX_WINDOW, values.wrapped(message, "initial_stream_window_size", 262_144)),
        min(MAX_WINDOW, values.wrapped(message, "initial_connection_window_size", 1_048_576)),
        values.limit(keepalive, "interval", None) if keepalive is not None else None,
        values.limit(keepalive, "timeout", None) if keepalive is not None else None,
    )
