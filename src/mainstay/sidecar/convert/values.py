"""Small values: durations, wrappers, fractions, strings to match, addresses, header changes."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import plain  # noqa: F401  its declarations
from mainstay.sidecar.convert.refuse import Refused, at, check, known, unsupported

MAX_DURATION_MS = 1 << 40
_DENOMINATORS = (100, 10_000, 1_000_000)


_SOCKET_ADDRESS_FIELDS = known(
    "envoy.config.core.v3.SocketAddress",
    {"protocol", "address", "port_value", "ipv4_compat", "resolver_name"},
)
_PIPE_FIELDS = known("envoy.config.core.v3.Pipe", {"path"})


def milliseconds(message: Any, field: str, default: int | None = None) -> int | None:
    """A Duration field in ms, at least 1 if it is above zero; `default` if unset. Negative ones are refused."""
    if not message.HasField(field):
        return default
    duration = getattr(message, field)
    value: int = duration.seconds * 1_000 + duration.nanos // 1_000_000
    if duration.seconds < 0 or duration.nanos < 0 or value > MAX_DURATION_MS:
        raise Refused(field, "must be a duration from 0 to 34 years")
    return max(value, 1) if duration.nanos and not value else value


def limit(message: Any, field: str, default: int | None) -> int | None:
    """A Duration field that 0 switches off: `None` then."""
    value = milliseconds(message, field, default)
    return value or None


def wrapped(message: Any, field: str, default: Any = None) -> Any:
    """The value of a wrapper field (`google.protobuf.UInt32Value` and the like), or `default`."""
    return getattr(message, field).value if message.HasField(field) else default


def fraction(message: Any) -> plan.Fraction:
    """`envoy.type.v3.FractionalPercent`."""
    return plan.Fraction(message.numerator, _DENOMINATORS[message.denominator])


def percentage(message: Any, field: str, default: float) -> float:
    """The number in a `envoy.type.v3.Percent` field, 0 to 100; `default` if unset."""
    if not message.HasField(field):
        return default
    value = float(getattr(message, field).value)
    if not 0 <= value <= 100:  # also for what is no number
        raise Refused(field, "must be from 0 to 100")
    return value


def runtime_fraction(message: Any) -> plan.Fraction:
    """`RuntimeFractionalPercent`: runtime keys have no meaning here, their default counts."""
    return fraction(message.default_value)


_IPV4 = re.compile(
    r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(?:\.(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)){3}", re.ASCII
)


def address(message: Any, path: str = "") -> plan.Address:
    """`envoy.config.core.v3.Address`. `path`: where it stands."""
    kind = message.WhichOneof("address")
    try:
        if kind == "socket_address":
            return socket_address(message.socket_address)
        if kind == "pipe":
            check(message.pipe, _PIPE_FIELDS)
            if not message.pipe.path or len(message.pipe.path) > 107:
                raise Refused("path", "must have 1 to 107 bytes")
            return plan.Pipe(message.pipe.path)
        if kind is not None:
            raise Refused("", "is not supported; use socket_address or pipe")
    except Refused as refused:
        found = refused.within(kind)
        raise (found.within(path) if path else found) from None
    raise Refused(path, "an address is required")


def socket_address(message: Any) -> plan.Address:
    """`envoy.config.core.v3.SocketAddress`."""
    check(message, _SOCKET_ADDRESS_FIELDS)
    text, port = message.address, message.port_value
    if message.protocol != 0:
        raise Refused("protocol", "only TCP is supported")
    if not 0 <= port <= 65_535:
        raise Refused("port_value", "must be from 0 to 65535")
    if _IPV4.fullmatch(text):
        # Nearly all are; the general way costs more than all the rest of an endpoint.
        return plan.Socket(text, port)
    try:
        return plan.Socket(str(ipaddress.ip_address(text)), port)
    except ValueError:
        if not text:
            raise Refused("address", "is required") from None
        return plan.NamedAddress(text, port)


def bound_address(message: Any) -> plan.Address:
    """An address to bind: no names."""
    found = address(message)
    if isinstance(found, plan.NamedAddress):
        raise Refused("socket_address.address", f"{found.host!r} is not an IP address")
    return found


def address_range(message: Any) -> plan.AddressRange:
    """`envoy.config.core.v3.CidrRange`."""
    try:
        ip = ipaddress.ip_address(message.address_prefix)
    except ValueError:
        raise Refused("address_prefix", f"{message.address_prefix!r} is not an IP address") from None
    prefix = wrapped(message, "prefix_len", 0)
    if prefix > ip.max_prefixlen:
        raise Refused("prefix_len", f"is above {ip.max_prefixlen}")
    return plan.AddressRange(str(ip), prefix)


def string_match(message: Any) -> plan.StringMatch:
    """`envoy.type.matcher.v3.StringMatcher`."""
    kind = message.WhichOneof("match_pattern")
    tests: dict[str, type[plan.ExactText | plan.PrefixText | plan.SuffixText | plan.ContainsText]] = {
        "exact": plan.ExactText,
        "prefix": plan.PrefixText,
        "suffix": plan.SuffixText,
        "contains": plan.ContainsText,
    }
    if kind == "safe_regex":
        return plan.StringMatch(plan.RegexText(message.safe_regex.regex))
    if kind not in tests:
        raise Refused(kind or "match_pattern", "is not supported" if kind else "is required")
    return plan.StringMatch(tests[kind](getattr(message, kind)), message.ignore_case)


def header_match(message: Any) -> plan.HeaderMatch:
    """`envoy.config.route.v3.HeaderMatcher`, its deprecated forms included. Nothing set means presence."""
    kind = message.WhichOneof("header_match_specifier")
    test: plan.PresentTest | plan.TextTest | plan.RangeTest
    match kind:
        case None:
            test = plan.PresentTest(True)
        case "present_match":
            test = plan.PresentTest(message.present_match)
        case "string_match":
            with at("string_match"):
                test = plan.TextTest(string_match(message.string_match))
        case "range_match":
            test = plan.RangeTest(message.range_match.start, message.range_match.end)
        case "exact_match":
            test = plan.TextTest(plan.StringMatch(plan.ExactText(message.exact_match)))
        case "prefix_match":
            test = plan.TextTest(plan.StringMatch(plan.PrefixText(message.prefix_match)))
        case "suffix_match":
            test = plan.TextTest(plan.StringMatch(plan.SuffixText(message.suffix_match)))
        case "contains_match":
            test = plan.TextTest(plan.StringMatch(plan.ContainsText(message.contains_match)))
        case "safe_regex_match":
            test = plan.TextTest(plan.StringMatch(plan.RegexText(message.safe_regex_match.regex)))
        case other:
            raise Refused(other, "is not supported")
    if not message.name:
        raise Refused("name", "is required")
    return plan.HeaderMatch(
        message.name.lower(), test, message.invert_match, message.treat_missing_header_as_empty
    )


_ACTIONS: tuple[plan.HeaderChangeKind, ...] = (
    "append_if_exists_or_add",
    "add_if_absent",
    "overwrite_if_exists_or_add",
    "overwrite_if_exists",
)


def header_change(message: Any) -> plan.HeaderChange:
    """`envoy.config.core.v3.HeaderValueOption`; the deprecated `append` counts only where `append_action` is at its default."""
    action = _ACTIONS[message.append_action]
    if message.HasField("append"):
        action = "append_if_exists_or_add" if message.append.value else "overwrite_if_exists_or_add"
    if message.header.raw_value:
        unsupported("header.raw_value")
    if not message.header.key:
        raise Refused("header.key", "is required")
    return plan.HeaderChange(
        message.header.key.lower(), message.header.value, action, message.keep_empty_value
    )


def header_changes(messages: Any) -> tuple[plan.HeaderChange, ...]:
    changes = []
    for index, message in enumerate(messages):
        with at(f"[{index}]"):
            changes.append(header_change(message))
    return tuple(changes)


def route_headers(message: Any) -> plan.RouteHeaders:
    """The four header fields that route configurations, virtual hosts, routes and weighted clusters share."""
    with at("request_headers_to_add"):
        request = header_changes(message.request_headers_to_add)
    with at("response_headers_to_add"):
        response = header_changes(message.response_headers_to_add)
    return plan.RouteHeaders(
        request,
        response,
        tuple(name.lower() for name in message.request_headers_to_remove),
        tuple(name.lower() for name in message.response_headers_to_remove),
    )


ROUTE_HEADERS = frozenset(
    {
        "request_headers_to_add",
        "request_headers_to_remove",
        "response_headers_to_add",
        "response_headers_to_remove",
    }
)


def tcp_keepalive(message: Any) -> plan.TcpKeepalive:
    """`envoy.config.core.v3.TcpKeepalive`."""
    return plan.TcpKeepalive(
        wrapped(message, "keepalive_probes"),
        wrapped(message, "keepalive_time"),
        wrapped(message, "keepalive_interval"),
    )


def metadata_text(metadata: Any, namespace: str) -> dict[str, str]:
    """Text, numbers and booleans of one namespace of filter metadata, as text."""
    if namespace not in metadata.filter_metadata:
        return {}
    found = {}
    for name, value in metadata.filter_metadata[namespace].fields.items():
        match value.WhichOneof("kind"):
            case "string_value":
                found[name] = value.string_value
            case "bool_value":
                found[name] = "true" if value.bool_value else "false"
            case "number_value":
                found[name] = f"{value.number_value:g}"
    return found
