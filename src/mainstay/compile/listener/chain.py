"""What listeners of all kinds share: listener filters, chains, addresses.

In: parts. Out: fields of Listener and FilterChain, and the resource.
"""

from collections.abc import Iterable
from typing import Literal

from mainstay.compile.cluster import socket_address
from mainstay.compile.resource import Fields, Ref, Resource, duration, extension, make_resource, struct
from mainstay.model.mesh import Mesh
from mainstay.model.problem import Problem

PLAIN_HTTP_ALPNS = ("http/1.1", "h2c")
"""What the HTTP inspector reports for HTTP in clear text."""

Direction = Literal["INBOUND", "OUTBOUND"]


def listener(
    name: str,
    address: str,
    port: int,
    direction: Direction,
    chains: list[Fields],
    refs: Iterable[Ref],
    problems: Iterable[Problem] = (),
    **further: object,
) -> Resource:
    """Make a listener resource; ``further`` are more fields of the message."""
    fields: Fields = {
        "name": name,
        "address": socket_address(address, port),
        "traffic_direction": direction,
        "filter_chains": chains,
        **further,
    }
    return make_resource("listener", name, fields, refs, problems)


TUNNEL_METADATA = "mainstay.dev"
"""Namespace of the marks about HTTP/1 inside HTTP/2: on endpoints able to take it, on listeners that shall."""


def tunnel_mark() -> Fields:
    """Return the mark of a listener that shall take HTTP/1 inside HTTP/2 from authenticated mesh peers."""
    return {"metadata": {"filter_metadata": {TUNNEL_METADATA: struct({"h2_tunnel": True})}}}


def chain(
    name: str, filters: list[Fields], match: Fields | None = None, transport: Fields | None = None
) -> Fields:
    """Return a filter chain."""
    fields: Fields = {"name": name, "filters": filters}
    if match:
        fields["filter_chain_match"] = match
    if transport is not None:
        fields["transport_socket"] = transport
    return fields


def inspection(mesh: Mesh, inspectors: list[Fields]) -> Fields:
    """Return listener filters with their time limit: a client that says nothing within it speaks a server-first
    protocol and goes to the chain for byte streams."""
    if not inspectors:
        return {}
    return {
        "listener_filters": inspectors,
        "listener_filters_timeout": duration(mesh.detection_timeout),
        "continue_on_listener_filters_timeout": True,
    }


def original_destination() -> Fields:
    """Return the listener filter that restores where an intercepted connection was going."""
    return extension(
        "envoy.filters.listener.original_dst", "envoy.extensions.filters.listener.original_dst.v3.OriginalDst"
    )


def tls_inspector(except_ports: Iterable[int] = ()) -> Fields:
    """Return the TLS inspector, switched off for some destination ports."""
    return _inspector("tls_inspector", "TlsInspector", except_ports)


def http_inspector(except_ports: Iterable[int] = ()) -> Fields:
    """Return the HTTP inspector, switched off for some destination ports."""
    return _inspector("http_inspector", "HttpInspector", except_ports)


def _inspector(name: str, message: str, except_ports: Iterable[int]) -> Fields:
    fields = extension(
        f"envoy.filters.listener.{name}", f"envoy.extensions.filters.listener.{name}.v3.{message}"
    )
    return {**fields, **switched_off(except_ports)}


def switched_off(except_ports: Iterable[int]) -> Fields:
    """Return the field of a listener filter that says for which destination ports it does nothing."""
    ranges = [{"destination_port_range": {"start": port, "end": port + 1}} for port in sorted(except_ports)]
    if not ranges:
        return {}
    return {"filter_disabled": ranges[0] if len(ranges) == 1 else {"or_match": {"rules": ranges}}}


def prefix_range(cidr: str) -> Fields:
    """Return a CidrRange of an address or CIDR."""
    address, _, length = cidr.partition("/")
    full = 128 if ":" in address else 32
    return {"address_prefix": address, "prefix_len": {"value": int(length) if length else full}}
