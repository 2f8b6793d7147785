"""HTTP of a listener: the connection manager, and the options of each protocol, which clusters have too."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.sidecar.plan.access_log import AccessLog
from mainstay.sidecar.plan.address import AddressRange
from mainstay.sidecar.plan.extension import HttpFilter
from mainstay.sidecar.plan.protocol import RpcCodec
from mainstay.sidecar.plan.route import RouteTable


class Http1Options(msgspec.Struct, frozen=True):
    accept_http_10: bool = False
    absolute_url: bool = True
    enable_trailers: bool = False
    max_headers: int = 100


class Http2Options(msgspec.Struct, frozen=True):
    max_concurrent_streams: int = 1_024
    stream_window: int = 262_144
    connection_window: int = 1_048_576
    keepalive_interval: int | None = None
    keepalive_timeout: int | None = None


class NamedRoutes(msgspec.Struct, frozen=True, tag_field="kind", tag="named"):
    name: str


class GenericRoutes(msgspec.Struct, frozen=True, tag_field="kind", tag="generic"):
    name: str


class InlineRoutes(msgspec.Struct, frozen=True, tag_field="kind", tag="inline"):
    table: RouteTable


class ClientCertificate(msgspec.Struct, frozen=True):
    subject: bool = False
    cert: bool = False
    chain: bool = False
    dns: bool = False
    uri: bool = False


class HttpConnectionManager(msgspec.Struct, frozen=True):
    stat_prefix: str
    routes: NamedRoutes | GenericRoutes | InlineRoutes
    protocol: Literal["auto", "http1", "http2", "rpc"] = "auto"
    filters: tuple[HttpFilter, ...] = ()
    access_logs: tuple[AccessLog, ...] = ()
    use_remote_address: bool = False
    xff_trusted_hops: int = 0
    skip_xff_append: bool = False
    internal_ranges: tuple[AddressRange, ...] = ()
    internal_unix_sockets: bool = False
    via: str = ""
    server_name: str | None = "envoy"
    server_name_if_absent: bool = False
    normalize_path: bool = False
    merge_slashes: bool = False
    escaped_slashes: Literal["keep", "reject", "unescape_and_forward", "unescape_and_redirect"] = "keep"
    strip_any_host_port: bool = False
    strip_matching_host_port: bool = False
    strip_trailing_host_dot: bool = False
    underscores: Literal["keep", "reject", "drop"] = "keep"
    forward_client_certificate: Literal[
        "sanitize", "forward_only", "append_forward", "sanitize_set", "always_forward_only"
    ] = "sanitize"
    client_certificate_details: ClientCertificate = ClientCertificate()
    request_timeout: int | None = None
    request_headers_timeout: int | None = 10_000
    stream_idle_timeout: int | None = 300_000
    idle_timeout: int | None = 3_600_000
    max_connection_duration: int | None = None
    max_stream_duration: int | None = None
    drain_timeout: int = 5_000
    max_requests_per_connection: int | None = None
    max_request_headers_bytes: int = 61_440
    max_request_headers: int = 100
    http1: Http1Options = Http1Options()
    http2: Http2Options = Http2Options()
    upgrades: tuple[str, ...] = ()
    generate_request_id: bool = True
    preserve_external_request_id: bool = False
    always_set_request_id_in_response: bool = False
    add_user_agent: bool = False
    proxy_100_continue: bool = False
    tracing: float | None = None
    stream_error_on_invalid_http: bool = False
    rpc: tuple[RpcCodec, ...] = ()
