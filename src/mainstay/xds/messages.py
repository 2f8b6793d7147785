"""What goes over the wire: discovery requests and responses, both variants, as plain values.

In: bytes of one gRPC message, or values. Out: the other of the two. ValueError says that bytes are no such message. Requests
and received responses go through Protobuf in the private pool; responses to send are put together by hand, so that the bytes
of a resource are shared by everyone who gets it and never parsed again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from mainstay._proto import pool
from mainstay.xds.types import Variant

_DISCOVERY = "envoy.service.discovery.v3."
_WRAPPED_URL = "type.googleapis.com/" + _DISCOVERY + "Resource"

GRPC_INVALID_ARGUMENT = 3


class Node(msgspec.Struct, frozen=True):
    """Who the proxy says it is. `metadata` is plain JSON values; `user_agent` is name and version, joined by `/`."""

    id: str
    cluster: str = ""
    metadata: dict[str, Any] = {}
    user_agent: str = ""
    region: str = ""
    zone: str = ""
    sub_zone: str = ""


class SotwRequest(msgspec.Struct, frozen=True):
    """A request of the state-of-the-world variant. `error` None: no verdict of refusal."""

    url: str
    version: str
    names: tuple[str, ...]
    nonce: str
    error: str | None
    node: Node | None = None


class DeltaRequest(msgspec.Struct, frozen=True):
    """A request of the incremental variant. `held`: versions that the client brings along, by name."""

    url: str
    subscribe: tuple[str, ...]
    unsubscribe: tuple[str, ...]
    held: dict[str, str]
    nonce: str
    error: str | None
    node: Node | None = None


class WireResource(msgspec.Struct, frozen=True):
    """A received resource. `version` is empty in SotW; `body` None is a heartbeat: unchanged."""

    name: str
    version: str
    body: bytes | None


class Response(msgspec.Struct, frozen=True):
    """A received response of either variant; `version` is the whole response's. `fault`: why one of its resources cannot be
    read, in words; such a response is refused, and its stream goes on."""

    url: str
    version: str
    nonce: str
    resources: tuple[WireResource, ...]
    removed: tuple[str, ...] = ()
    fault: str = ""


# --- requests -----------------------------------------------------------------------------------------------------


def encode_sotw_request(
    url: str, version: str, names: Iterable[str], nonce: str, node: bytes = b"", error: str | None = None
) -> bytes:
    """A SotW request; `node` is a serialised `envoy.config.core.v3.Node`, on the stream's first request."""
    message = pool.message_class(_DISCOVERY + "DiscoveryRequest")(
        type_url=url, version_info=version, resource_names=names, response_nonce=nonce
    )
    return _finish_request(message, node, error)


def encode_delta_request(
    url: str,
    subscribe: Iterable[str],
    unsubscribe: Iterable[str],
    held: Mapping[str, str],
    nonce: str,
    node: bytes = b"",
    error: str | None = None,
) -> bytes:
    """A delta request; `held` belongs into the first request of a type on a stream."""
    message = pool.message_class(_DISCOVERY + "DeltaDiscoveryRequest")(
        type_url=url,
        resource_names_subscribe=subscribe,
        resource_names_unsubscribe=unsubscribe,
        initial_resource_versions=held,
        response_nonce=nonce,
    )
    return _finish_request(message, node, error)


def _finish_request(message: Any, node: bytes, error: str | None) -> bytes:
    if node:
        message.node.MergeFromString(node)
    if error is not None:
        message.error_detail.code = GRPC_INVALID_ARGUMENT
        message.error_detail.message = error
    return bytes(message.SerializeToString())


def decode_sotw_request(data: bytes) -> SotwRequest:
    """A SotW request from its bytes."""
    message = pool.parse(_DISCOVERY + "DiscoveryRequest", data)
    return SotwRequest(
        message.type_url,
        message.version_info,
        _names(message.resource_names),
        message.response_nonce,
        _error_of(message),
        _node_of(message),
    )


def decode_delta_request(data: bytes) -> DeltaRequest:
    """A delta request from its bytes."""
    message = pool.parse(_DISCOVERY + "DeltaDiscoveryRequest", data)
    return DeltaRequest(
        message.type_url,
        _names(message.resource_names_subscribe),
        _names(message.resource_names_unsubscribe),
        dict(message.initial_resource_versions),
        message.response_nonce,
        _error_of(message),
        _node_of(message),
    )


def _names(found: Iterable[str]) -> tuple[str, ...]:
    """Names as every stream shares them: thousands of proxies ask for the same."""
    return tuple(map(sys.intern, found))


def _error_of(message: Any) -> str | None:
    if not message.HasField("error_detail"):
        return None
    return message.error_detail.message or f"refused with gRPC code {message.error_detail.code}"


def _node_of(message: Any) -> Node | None:
    if not message.HasField("node"):
        return None
    node = message.node
    locality = node.locality
    return Node(
        node.id,
        node.cluster,
        _plain_struct(node.metadata),
        _user_agent_of(node),
        locality.region,
        locality.zone,
        locality.sub_zone,
    )


def _user_agent_of(node: Any) -> str:
    version = node.user_agent_version
    if not version and node.HasField("user_agent_build_version"):
        number = node.user_agent_build_version.version
        version = f"{number.major_number}.{number.minor_number}.{number.patch}"
    return f"{node.user_agent_name}/{version}" if version else str(node.user_agent_name)


def _plain_struct(message: Any) -> dict[str, Any]:
    return {key: _plain_value(value) for key, value in message.fields.items()}


def _plain_value(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "struct_value":
            return _plain_struct(value.struct_value)
        case "list_value":
            return [_plain_value(entry) for entry in value.list_value.values]
        case "null_value" | None:
            return None
        case kind:
            return getattr(value, kind)


def encode_node(node: Node) -> bytes:
    """The serialised `envoy.config.core.v3.Node`, for the client's constructor."""
    name, _, version = node.user_agent.partition("/")
    message = pool.message_class("envoy.config.core.v3.Node")(
        id=node.id, cluster=node.cluster, user_agent_name=name, user_agent_version=version
    )
    if node.region or node.zone or node.sub_zone:
        message.locality.region = node.region
        message.locality.zone = node.zone
        message.locality.sub_zone = node.sub_zone
    for key, value in node.metadata.items():
        _fill_value(message.metadata.fields[key], value)
    return bytes(message.SerializeToString(deterministic=True))


def _fill_value(message: Any, value: Any) -> None:
    match value:
        case bool():
            message.bool_value = value
        case str():
            message.string_value = value
        case int() | float():
            message.number_value = value
        case None:
            message.null_value = 0
        case Mapping():
            message.struct_value.SetInParent()
            for key, entry in value.items():
                _fill_value(message.struct_value.fields[key], entry)
        case list() | tuple():
            message.list_value.SetInParent()
            for entry in value:
                _fill_value(message.list_value.values.add(), entry)
        case _:
            raise TypeError(f"no value of node metadata can be {type(value).__name__}")


# --- responses ----------------------------------------------------------------------------------------------------


def decode_response(variant: Variant, data: bytes) -> Response:
    """A response from its bytes; ValueError if they are none."""
    is_delta = variant == "delta"
    message = pool.parse(_DISCOVERY + ("DeltaDiscoveryResponse" if is_delta else "DiscoveryResponse"), data)
    read = _wire_resource if is_delta else _sotw_resource
    resources: list[WireResource] = []
    fault = ""
    for entry in message.resources:
        try:
            resources.append(read(message.type_url, entry))
        except ValueError as error:
            fault = fault or f"resource {len(resources) + 1} cannot be read: {error}"
    return Response(
        message.type_url,
        message.system_version_info if is_delta else message.version_info,
        message.nonce,
        tuple(resources),
        tuple(message.removed_resources) if is_delta else (),
        fault,
    )


def _sotw_resource(url: str, wrapped: Any) -> WireResource:
    if wrapped.type_url == _WRAPPED_URL:
        return _wire_resource(url, pool.parse(_DISCOVERY + "Resource", wrapped.value))
    body = _body_of(url, wrapped)
    return WireResource(name_of_body(body), "", body)


def _wire_resource(url: str, message: Any) -> WireResource:
    body = _body_of(url, message.resource) if message.HasField("resource") else None
    return WireResource(message.name, message.version, body)


def _body_of(url: str, wrapped: Any) -> bytes:
    if wrapped.type_url != url:
        raise ValueError(f"a response of {url} holds a resource of type {wrapped.type_url!r}")
    return bytes(wrapped.value)


def name_of_body(body: bytes) -> str:
    """The text in field 1 of a serialised message: every type's name. Empty if there is none."""
    at, name = 0, b""
    while at < len(body):
        tag, at = _varint(body, at)
        match tag & 7:
            case 0:
                _, at = _varint(body, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(body, at)
                if tag >> 3 == 1:
                    name = body[at : at + size]
                at += size
            case 5:
                at += 4
            case other:
                raise ValueError(f"malformed resource: wire type {other}")
    if at != len(body):
        raise ValueError("malformed resource: it ends too early")
    return name.decode()


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("malformed resource: a number does not end")


# --- responses to send, put together from shared bytes --------------------------------------------------------------


def field(number: int, body: bytes) -> bytes:
    """One length-delimited field (numbers below 16)."""
    return bytes((number << 3 | 2,)) + _size(len(body)) + body


def _size(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def any_of(url: str, body: bytes) -> bytes:
    """A serialised `google.protobuf.Any`."""
    return field(1, url.encode()) + field(2, body)


def sotw_entry(url: str, body: bytes) -> bytes:
    """One resource as it stands in a SotW response."""
    return field(2, any_of(url, body))


def delta_entry(url: str, name: str, version: str, body: bytes) -> bytes:
    """One resource as it stands in a delta response."""
    return field(
        2,
        field(1, version.encode()) + field(2, any_of(url, body)) + field(3, name.encode()),
    )


def encode_sotw_response(url: str, version: str, nonce: str, entries: Iterable[bytes]) -> bytes:
    """A SotW response of entries made by `sotw_entry`."""
    return b"".join((field(1, version.encode()), *entries, field(4, url.encode()), field(5, nonce.encode())))


def encode_delta_response(
    url: str, version: str, nonce: str, entries: Iterable[bytes], removed: Iterable[str]
) -> bytes:
    """A delta response of entries made by `delta_entry`, and of names that are gone."""
    return b"".join(
        (
            field(1, version.encode()),
            *entries,
            field(4, url.encode()),
            field(5, nonce.encode()),
            *(field(6, name.encode()) for name in removed),
        )
    )
