"""The HTTP connection manager (`…http_connection_manager.v3.HttpConnectionManager`).

Unset fields get Envoy's defaults: the same file must behave alike in both.
"""

from __future__ import annotations

from typing import Any, Literal

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.access_log import access_logs
from mainstay.sidecar.convert.filters.chain import Router, filters_before
from mainstay.sidecar.convert.filters.table import ROUTER
from mainstay.sidecar.convert.gathered import Gathered
from mainstay.sidecar.convert.refuse import Refused, at, check, known, unsupported
from mainstay.sidecar.convert.route import route_table
from mainstay.sidecar.convert.source import config_source, patience
from mainstay.sidecar.convert.upstream_http import http2_options

TYPE = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_KNOWN = {
    "codec_type",
    "stat_prefix",
    "rds",
    "route_config",
    "http_filters",
    "add_user_agent",
    "tracing",
    "common_http_protocol_options",
    "http_protocol_options",
    "http2_protocol_options",
    "server_name",
    "server_header_transformation",
    "max_request_headers_kb",
    "stream_idle_timeout",
    "request_timeout",
    "request_headers_timeout",
    "drain_timeout",
    "access_log",
    "use_remote_address",
    "xff_num_trusted_hops",
    "skip_xff_append",
    "internal_address_config",
    "via",
    "generate_request_id",
    "preserve_external_request_id",
    "always_set_request_id_in_response",
    "forward_client_cert_details",
    "set_current_client_cert_details",
    "proxy_100_continue",
    "upgrade_configs",
    "normalize_path",
    "merge_slashes",
    "path_with_escaped_slashes_action",
    "strip_matching_host_port",
    "strip_any_host_port",
    "strip_trailing_host_dot",
    "stream_error_on_invalid_http_message",
}
_CODECS: tuple[Literal["auto", "http1", "http2"], ...] = ("auto", "http1", "http2")
_SLASHES: tuple[Literal["keep", "reject", "unescape_and_forward", "unescape_and_redirect"], ...] = (
    "keep",
    "keep",
    "reject",
    "unescape_and_redirect",
    "unescape_and_forward",
)
_CLIENT_CERTIFICATE: tuple[
    Literal["sanitize", "forward_only", "append_forward", "sanitize_set", "always_forward_only"], ...
] = ("sanitize", "forward_only", "append_forward", "sanitize_set", "always_forward_only")
_UNDERSCORES: tuple[Literal["keep", "reject", "drop"], ...] = ("keep", "reject", "drop")
_PASS_THROUGH, _IF_ABSENT = 2, 1
MAX_HEADER_KB = 8_192


_MANAGER_FIELDS = known(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", _KNOWN
)
_HTTP_PROTOCOL_OPTIONS_FIELDS = known(
    "envoy.config.core.v3.HttpProtocolOptions",
    {
        "idle_timeout",
        "max_connection_duration",
        "max_headers_count",
        "max_stream_duration",
        "max_requests_per_connection",
        "headers_with_underscores_action",
    },
)
_HTTP1_PROTOCOL_OPTIONS_FIELDS = known(
    "envoy.config.core.v3.Http1ProtocolOptions",
    {"allow_absolute_url", "accept_http_10", "enable_trailers", "use_balsa_parser"},
)
_TRACING_FIELDS = known(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.Tracing",
    {"random_sampling", "overall_sampling"},
)
_HTTP_FILTER_FIELDS = known(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
    {"name", "typed_config", "is_optional", "disabled"},
)
_UPGRADE_FIELDS = known(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.UpgradeConfig",
    {"upgrade_type", "enabled"},
)
_INTERNAL_FIELDS = known(
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager.InternalAddressConfig",
    {"unix_sockets", "cidr_ranges"},
)
_RDS_FIELDS = known(
    "envoy.extensions.filters.network.http_connection_manager.v3.Rds", {"config_source", "route_config_name"}
)
# Statistics by virtual cluster are not made, switched on or off.
_ROUTER = Router(ROUTER, known("envoy.extensions.filters.http.router.v3.Router", {"dynamic_stats"}))


def http_manager(message: Any, gathered: Gathered) -> plan.HttpConnectionManager:
    check(message, _MANAGER_FIELDS)
    if message.codec_type >= len(_CODECS):
        raise Refused("codec_type", "HTTP/3 is not supported")
    common = message.common_http_protocol_options
    with at("common_http_protocol_options"):
        check(common, _HTTP_PROTOCOL_OPTIONS_FIELDS)
    most_kb = values.wrapped(message, "max_request_headers_kb", 60)
    if not 1 <= most_kb <= MAX_HEADER_KB:
        raise Refused("max_request_headers_kb", f"must be from 1 to {MAX_HEADER_KB}")
    server = message.server_header_transformation
    most_headers = values.wrapped(common, "max_headers_count", 100)
    with at("http2_protocol_options"):
        http2 = http2_options(message.http2_protocol_options)
    return plan.HttpConnectionManager(
        stat_prefix=message.stat_prefix,
        routes=_routes(message, gathered),
        protocol=_CODECS[message.codec_type],
        filters=filters_before(_ROUTER, message.http_filters, "http_filters", _HTTP_FILTER_FIELDS),
        access_logs=access_logs(message.access_log),
        use_remote_address=values.wrapped(message, "use_remote_address", False),
        xff_trusted_hops=message.xff_num_trusted_hops,
        skip_xff_append=message.skip_xff_append,
        internal_ranges=_internal_ranges(message.internal_address_config),
        internal_unix_sockets=message.internal_address_config.unix_sockets,
        via=message.via,
        server_name=None if server == _PASS_THROUGH else message.server_name or "envoy",
        server_name_if_absent=server == _IF_ABSENT,
        normalize_path=values.wrapped(message, "normalize_path", False),
        merge_slashes=message.merge_slashes,
        escaped_slashes=_SLASHES[message.path_with_escaped_slashes_action],
        strip_any_host_port=message.strip_any_host_port,
        strip_matching_host_port=message.strip_matching_host_port,
        strip_trailing_host_dot=message.strip_trailing_host_dot,
        underscores=_UNDERSCORES[common.headers_with_underscores_action],
        forward_client_certificate=_CLIENT_CERTIFICATE[message.forward_client_cert_details],
        client_certificate_details=_client_certificate(message),
        request_timeout=values.limit(message, "request_timeout", None),
        request_headers_timeout=values.limit(message, "request_headers_timeout", None),
        stream_idle_timeout=values.limit(message, "stream_idle_timeout", 300_000),
        idle_timeout=values.limit(common, "idle_timeout", 3_600_000),
        max_connection_duration=values.limit(common, "max_connection_duration", None),
        max_stream_duration=values.limit(common, "max_stream_duration", None),
        drain_timeout=values.milliseconds(message, "drain_timeout", 5_000) or 0,
        max_requests_per_connection=values.wrapped(common, "max_requests_per_connection") or None,
        max_request_headers_bytes=most_kb * 1_024,
        max_request_headers=most_headers,
        http1=_http1(message, most_headers),
        http2=http2,
        upgrades=_upgrades(message.upgrade_configs),
        generate_request_id=values.wrapped(message, "generate_request_id", True),
        preserve_external_request_id=message.preserve_external_request_id,
        always_set_request_id_in_response=message.always_set_request_id_in_response,
        add_user_agent=values.wrapped(message, "add_user_agent", False),
        proxy_100_continue=message.proxy_100_continue,
        tracing=tracing(message),
        stream_error_on_invalid_http=values.wrapped(message, "stream_error_on_invalid_http_message", False),
    )


def _internal_ranges(message: Any) -> tuple[plan.AddressRange, ...]:
    """Nobody is internal who is not named, as in Envoy since 1.33."""
    with at("internal_address_config"):
        check(message, _INTERNAL_FIELDS)
        found = []
        for index, entry in enumerate(message.cidr_ranges):
            with at(f"cidr_ranges[{index}]"):
                found.append(values.address_range(entry))
    return tuple(found)


def _routes(message: Any, gathered: Gathered) -> plan.NamedRoutes | plan.InlineRoutes:
    match message.WhichOneof("route_specifier"):
        case "rds":
            with at("rds"):
                check(message.rds, _RDS_FIELDS)
                if not message.rds.route_config_name:
                    raise Refused("route_config_name", "is required")
                with at("config_source"):
                    source = config_source(message.rds.config_source)
                waits = patience(message.rds.config_source)
                gathered.name("route", message.rds.route_config_name, source, waits)
                return plan.NamedRoutes(message.rds.route_config_name)
        case "route_config":
            with at("route_config"):
                return plan.InlineRoutes(route_table(message.route_config))
        case other:
            raise Refused(other or "route_specifier", "is not supported" if other else "is required")


def _http1(message: Any, most_headers: int) -> plan.Http1Options:
    options = message.http_protocol_options
    with at("http_protocol_options"):
        # Which parser Envoy uses is its own affair.
        check(options, _HTTP1_PROTOCOL_OPTIONS_FIELDS)
    return plan.Http1Options(
        options.accept_http_10,
        values.wrapped(options, "allow_absolute_url", True),
        options.enable_trailers,
        most_headers,
    )


def _client_certificate(message: Any) -> plan.ClientCertificate:
    details = message.set_current_client_cert_details
    subject = values.wrapped(details, "subject", False)
    return plan.ClientCertificate(subject, details.cert, details.chain, details.dns, details.uri)


def _upgrades(messages: Any) -> tuple[str, ...]:
    found = []
    for index, message in enumerate(messages):
        with at(f"upgrade_configs[{index}]"):
            check(message, _UPGRADE_FIELDS)
            name = message.upgrade_type.lower()
            if name in ("connect", "connect-udp"):
                unsupported("upgrade_type", f"{message.upgrade_type} is not supported yet")
                continue
            if values.wrapped(message, "enabled", True):
                found.append(name)
    return tuple(found)


def tracing(message: Any) -> float | None:
    """The share (0 to 1) of traces that begin here and are sampled."""
    if not message.HasField("tracing"):
        return None
    with at("tracing"):
        check(message.tracing, _TRACING_FIELDS)
        random = values.percentage(message.tracing, "random_sampling", 100.0)
        return min(random, values.percentage(message.tracing, "overall_sampling", 100.0)) / 100
