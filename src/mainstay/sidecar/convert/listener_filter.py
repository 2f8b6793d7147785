"""Listener filters: original destination, TLS inspector, HTTP inspector, inspector of described protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert.described import INSPECTOR, inspected, struct_of
from mainstay.sidecar.convert.filters.table import open_config, type_of
from mainstay.sidecar.convert.refuse import Refused, at, check, known

_LISTENER = "envoy.extensions.filters.listener"
Ports = tuple[tuple[int, int], ...]


_ORIGINAL_DST_FIELDS = known("envoy.extensions.filters.listener.original_dst.v3.OriginalDst", ())
_TLS_INSPECTOR_FIELDS = known(
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    {"initial_read_buffer_size", "max_client_hello_size"},
)
_HTTP_INSPECTOR_FIELDS = known("envoy.extensions.filters.listener.http_inspector.v3.HttpInspector", ())
_LISTENER_FILTER_FIELDS = known(
    "envoy.config.listener.v3.ListenerFilter", {"name", "typed_config", "filter_disabled"}
)


def _original_destination(message: Any, disabled: Ports) -> plan.ListenerFilter:
    check(message, _ORIGINAL_DST_FIELDS)
    if disabled:
        raise Refused("filter_disabled", "is not supported for the original destination")
    return plan.OriginalDestinationFilter()


def _tls_inspector(message: Any, disabled: Ports) -> plan.ListenerFilter:
    # How much is read at first and at most concerns Envoy's buffers; ours holds any ClientHello there may be.
    check(message, _TLS_INSPECTOR_FIELDS)
    return plan.TlsInspector(disabled)


def _http_inspector(message: Any, disabled: Ports) -> plan.ListenerFilter:
    check(message, _HTTP_INSPECTOR_FIELDS)
    return plan.HttpInspector(disabled)


FILTERS: Mapping[str, Callable[[Any, Ports], plan.ListenerFilter]] = {
    f"{_LISTENER}.original_dst.v3.OriginalDst": _original_destination,
    f"{_LISTENER}.tls_inspector.v3.TlsInspector": _tls_inspector,
    f"{_LISTENER}.http_inspector.v3.HttpInspector": _http_inspector,
}


def listener_filters(messages: Any) -> tuple[plan.ListenerFilter, ...]:
    found: list[plan.ListenerFilter] = []
    for index, message in enumerate(messages):
        with at(f"listener_filters[{index}]"):
            check(message, _LISTENER_FILTER_FIELDS)
            disabled: Ports = ()
            if message.HasField("filter_disabled"):
                with at("filter_disabled"):
                    disabled = _port_ranges(message.filter_disabled)
            if type_of(message.typed_config) == INSPECTOR:
                with at("typed_config"):
                    protocols = inspected(struct_of(message.typed_config))
                    found.append(plan.ProtocolInspector(disabled, protocols))
                continue
            kind, config = open_config(message.typed_config)
            with at("typed_config"):
                if kind not in FILTERS:
                    raise Refused("", f"{kind} is not supported")
                found.append(FILTERS[kind](config, disabled))
    return tuple(found)


def _port_ranges(message: Any) -> Ports:
    """A range, or several joined by `or_match`."""
    match message.WhichOneof("rule"):
        case "destination_port_range":
            found = message.destination_port_range
            if not 0 <= found.start < found.end <= 65_536:
                raise Refused("destination_port_range", "must be start < end within 0 to 65536")
            return ((found.start, found.end),)
        case "or_match":
            ranges: list[tuple[int, int]] = []
            for index, rule in enumerate(message.or_match.rules):
                with at(f"or_match.rules[{index}]"):
                    if rule.WhichOneof("rule") != "destination_port_range":
                        raise Refused("", "only destination_port_range is supported here")
                    ranges.extend(_port_ranges(rule))
            return tuple(ranges)
        case other:
            raise Refused(other or "rule", "is not supported" if other else "is required")
