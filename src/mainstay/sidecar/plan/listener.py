"""Listeners, filter chains, TCP proxy (`envoy.config.listener.v3.Listener`)."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.sidecar.plan.access_log import AccessLog
from mainstay.sidecar.plan.address import Address, AddressRange, TcpKeepalive
from mainstay.sidecar.plan.extension import NetworkFilter
from mainstay.sidecar.plan.http import HttpConnectionManager
from mainstay.sidecar.plan.protocol import RpcCodec
from mainstay.sidecar.plan.tls import DownstreamTls


class OriginalDestinationFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="original_destination"):
    pass


class TlsInspector(msgspec.Struct, frozen=True, tag_field="kind", tag="tls_inspector"):
    disabled_ports: tuple[tuple[int, int], ...] = ()


class HttpInspector(msgspec.Struct, frozen=True, tag_field="kind", tag="http_inspector"):
    disabled_ports: tuple[tuple[int, int], ...] = ()


class ProtocolInspector(msgspec.Struct, frozen=True, tag_field="kind", tag="protocol_inspector"):
    disabled_ports: tuple[tuple[int, int], ...] = ()
    protocols: tuple[RpcCodec, ...] = ()


ListenerFilter = OriginalDestinationFilter | TlsInspector | HttpInspector | ProtocolInspector


class ChainMatch(msgspec.Struct, frozen=True):
    destination_port: int | None = None
    destination_ranges: tuple[AddressRange, ...] = ()
    server_names: tuple[str, ...] = ()
    transport_protocol: str = ""
    application_protocols: tuple[str, ...] = ()
    direct_source_ranges: tuple[AddressRange, ...] = ()
    source_type: str = "any"
    source_ranges: tuple[AddressRange, ...] = ()
    source_ports: tuple[int, ...] = ()


class TcpTarget(msgspec.Struct, frozen=True):
    cluster: str
    weight: int = 1


class TcpProxy(msgspec.Struct, frozen=True):
    stat_prefix: str
    targets: tuple[TcpTarget, ...]
    idle_timeout: int | None = 3_600_000
    max_connection_duration: int | None = None
    max_connect_attempts: int = 1
    access_logs: tuple[AccessLog, ...] = ()


class HttpTerminal(msgspec.Struct, frozen=True, tag_field="kind", tag="http"):
    manager: HttpConnectionManager


class TcpTerminal(msgspec.Struct, frozen=True, tag_field="kind", tag="tcp"):
    proxy: TcpProxy


class FilterChain(msgspec.Struct, frozen=True):
    name: str
    terminal: HttpTerminal | TcpTerminal
    matches: ChainMatch = ChainMatch()
    tls: DownstreamTls | None = None
    handshake_timeout: int | None = None
    network_filters: tuple[NetworkFilter, ...] = ()


class Listener(msgspec.Struct, frozen=True):
    name: str
    address: Address
    chains: tuple[FilterChain, ...]
    bind: bool = True
    use_original_destination: bool = False
    transparent: bool = False
    direction: Literal["unspecified", "inbound", "outbound"] = "unspecified"
    listener_filters: tuple[ListenerFilter, ...] = ()
    detection_timeout: int | None = 15_000
    continue_on_detection_timeout: bool = False
    default_chain: FilterChain | None = None
    stat_prefix: str = ""
    connection_limit: int | None = None
    tcp_keepalive: TcpKeepalive | None = None
    buffer_limit: int | None = None
    access_logs: tuple[AccessLog, ...] = ()
    accepts_http1_in_http2: bool = False
