"""Listeners (`envoy.config.listener.v3.Listener`) with their filter chains."""

from __future__ import annotations

from typing import Any, Literal

from mainstay.sidecar import plan
from mainstay.sidecar.convert import generic_proxy, http_manager, tcp_proxy, tls, values
from mainstay.sidecar.convert.access_log import access_logs
from mainstay.sidecar.convert.endpoints import MAINSTAY
from mainstay.sidecar.convert.filters.table import NETWORK, open_config
from mainstay.sidecar.convert.gathered import Gathered
from mainstay.sidecar.convert.listener_filter import listener_filters
from mainstay.sidecar.convert.refuse import Refused, at, check, known, unsupported

_KNOWN = {
    "name",
    "address",
    "stat_prefix",
    "filter_chains",
    "use_original_dst",
    "default_filter_chain",
    "per_connection_buffer_limit_bytes",
    "metadata",
    "listener_filters",
    "listener_filters_timeout",
    "continue_on_listener_filters_timeout",
    "transparent",
    "socket_options",
    "traffic_direction",
    "access_log",
    "bind_to_port",
    # How sockets and workers share the load: one acceptor hands connections to the least loaded worker.
    "reuse_port",
    "enable_reuse_port",
    "connection_balance_config",
    "tcp_backlog_size",
    "max_connections_to_accept_per_socket_event",
    "ignore_global_conn_limit",
    "bypass_overload_manager",
}
_CHAIN = {"filter_chain_match", "filters", "metadata", "transport_socket", "transport_socket_connect_timeout"}
_MATCH = {
    "destination_port",
    "prefix_ranges",
    "server_names",
    "transport_protocol",
    "application_protocols",
    "direct_source_prefix_ranges",
    "source_type",
    "source_prefix_ranges",
    "source_ports",
}
_DIRECTIONS: tuple[Literal["unspecified", "inbound", "outbound"], ...] = (
    "unspecified",
    "inbound",
    "outbound",
)
_SOURCES = ("any", "same_ip_or_loopback", "external")
_KEEPALIVE = (1, 9)
_IDLE, _INTERVAL, _COUNT = (6, 4), (6, 5), (6, 6)
"""Level and name, in Linux' numbers: SO_KEEPALIVE; TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT."""


_LISTENER_FIELDS = known("envoy.config.listener.v3.Listener", _KNOWN)
_FILTER_CHAIN_FIELDS = known("envoy.config.listener.v3.FilterChain", _CHAIN | {"name"})
_FILTER_CHAIN_MATCH_FIELDS = known("envoy.config.listener.v3.FilterChainMatch", _MATCH)
_FILTER_FIELDS = known("envoy.config.listener.v3.Filter", {"name", "typed_config"})


def listener(message: Any, gathered: Gathered) -> plan.Listener:
    check(message, _LISTENER_FIELDS)
    with at("address"):
        address = values.bound_address(message.address)
    chains = []
    for index, entry in enumerate(message.filter_chains):
        with at(f"filter_chains[{index}]"):
            chains.append(_chain(entry, gathered, index))
    default = None
    if message.HasField("default_filter_chain"):
        with at("default_filter_chain"):
            if message.default_filter_chain.HasField("filter_chain_match"):
                raise Refused("filter_chain_match", "has no meaning in the default chain")
            default = _chain(message.default_filter_chain, gathered, len(chains))
    if not chains and default is None and not values.wrapped(message, "use_original_dst", False):
        raise Refused("filter_chains", "needs at least one")
    marks = values.metadata_text(message.metadata, MAINSTAY)
    return plan.Listener(
        name=message.name or name_by_address(address),
        address=address,
        chains=tuple(chains),
        bind=values.wrapped(message, "bind_to_port", True),
        use_original_destination=values.wrapped(message, "use_original_dst", False),
        transparent=values.wrapped(message, "transparent", False),
        direction=_DIRECTIONS[message.traffic_direction],
        listener_filters=listener_filters(message.listener_filters),
        detection_timeout=values.limit(message, "listener_filters_timeout", 15_000),
        continue_on_detection_timeout=message.continue_on_listener_filters_timeout,
        default_chain=default,
        stat_prefix=message.stat_prefix,
        tcp_keepalive=_keepalive(message.socket_options),
        buffer_limit=values.wrapped(message, "per_connection_buffer_limit_bytes"),
        access_logs=access_logs(message.access_log),
        accepts_http1_in_http2=marks.get("h2_tunnel") == "true",
    )


def name_by_address(address: plan.Address) -> str:
    """What a listener without a name is called: `10.0.0.1_8080`, or the path of its socket."""
    match address:
        case plan.Pipe(path):
            return path
        case plan.Socket(host, port) | plan.NamedAddress(host, port):
            return f"{host}_{port}"


def _chain(message: Any, gathered: Gathered, index: int) -> plan.FilterChain:
    check(message, _FILTER_CHAIN_FIELDS)
    with at("filter_chain_match"):
        matches = _match(message.filter_chain_match)
    socket = None
    if message.HasField("transport_socket"):
        with at("transport_socket"):
            socket = tls.downstream(message.transport_socket, gathered)
    network, terminal = _filters(message.filters, gathered)
    handshake = values.limit(message, "transport_socket_connect_timeout", None)
    return plan.FilterChain(message.name or f"chain-{index}", terminal, matches, socket, handshake, network)


def _match(message: Any) -> plan.ChainMatch:
    check(message, _FILTER_CHAIN_MATCH_FIELDS)
    port = values.wrapped(message, "destination_port")
    if port is not None and not 1 <= port <= 65_535:
        raise Refused("destination_port", "must be from 1 to 65535")
    if message.transport_protocol not in ("", "tls", "raw_buffer"):
        raise Refused("transport_protocol", f"{message.transport_protocol!r} is none of tls, raw_buffer")
    return plan.ChainMatch(
        port,
        _ranges(message, "prefix_ranges"),
        tuple(name.lower() for name in message.server_names),
        message.transport_protocol,
        tuple(message.application_protocols),
        _ranges(message, "direct_source_prefix_ranges"),
        _SOURCES[message.source_type],
        _ranges(message, "source_prefix_ranges"),
        tuple(message.source_ports),
    )


def _ranges(message: Any, field: str) -> tuple[plan.AddressRange, ...]:
    found = []
    for index, entry in enumerate(getattr(message, field)):
        with at(f"{field}[{index}]"):
            found.append(values.address_range(entry))
    return tuple(found)


def _filters(
    messages: Any, gathered: Gathered
) -> tuple[tuple[plan.NetworkFilter, ...], plan.HttpTerminal | plan.TcpTerminal]:
    """Network filters, and what ends the chain."""
    network: list[plan.NetworkFilter] = []
    terminal: plan.HttpTerminal | plan.TcpTerminal | None = None
    for index, message in enumerate(messages):
        with at(f"filters[{index}]"):
            if terminal is not None:
                raise Refused("", "stands behind the filter that ends the chain")
            check(message, _FILTER_FIELDS)
            kind, config = open_config(message.typed_config)
            with at("typed_config"):
                if kind == http_manager.TYPE:
                    terminal = plan.HttpTerminal(http_manager.http_manager(config, gathered))
                elif kind == generic_proxy.TYPE:
                    terminal = plan.HttpTerminal(generic_proxy.generic_proxy(config, gathered))
                elif kind == tcp_proxy.TYPE:
                    terminal = plan.TcpTerminal(tcp_proxy.tcp_proxy(config))
                elif kind in NETWORK:
                    network.append(plan.NetworkFilter(message.name, NETWORK[kind](config)))
                else:
                    unsupported("", f"{kind} is not supported")
    if terminal is None:
        raise Refused(
            "filters", "the last one must be an HTTP connection manager, a generic proxy or a TCP proxy"
        )
    return tuple(network), terminal


def _keepalive(messages: Any) -> plan.TcpKeepalive | None:
    """Istio asks for keep-alive of accepted connections by socket options; others are refused."""
    found: dict[tuple[int, int], int] = {}
    asked = False
    for index, option in enumerate(messages):
        with at(f"socket_options[{index}]"):
            if option.WhichOneof("value") != "int_value":
                unsupported("", "only the options of TCP keep-alive are supported")
                continue
            name = (option.level, option.name)
            if name == _KEEPALIVE:
                asked = option.int_value != 0
            elif name in (_IDLE, _INTERVAL, _COUNT):
                found[name] = option.int_value
            else:
                unsupported("", "only the options of TCP keep-alive are supported")
    if not asked and not found:
        return None
    return plan.TcpKeepalive(found.get(_COUNT), found.get(_IDLE), found.get(_INTERVAL))
