"""Resources: the output of every compile step, serialised once.

In: nested plain values that mirror the Protobuf JSON of a message (enums by name, ``Any`` made by ``pack``). Out:
``Resource`` with deterministic bytes and a digest of them as version. The only module of this room that touches
Protobuf, always in the private pool of ``_proto``; a misspelt field raises at once, so goldens find it.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from mainstay._proto import pool
from mainstay.model.digest import digest_of_bytes
from mainstay.model.problem import Problem

Kind = Literal["listener", "route", "generic_route", "cluster", "endpoint", "secret"]
"""Short names of the xDS types; ``endpoint`` is a ClusterLoadAssignment, ``generic_route`` the routes of RPC, a ``secret`` is
only ever referred to."""

Fields = dict[str, Any]
"""Fields of one message, by their Protobuf names."""

MESSAGES: dict[Kind, str] = {
    "listener": "envoy.config.listener.v3.Listener",
    "route": "envoy.config.route.v3.RouteConfiguration",
    "generic_route": "envoy.extensions.filters.network.generic_proxy.v3.RouteConfiguration",
    "cluster": "envoy.config.cluster.v3.Cluster",
    "endpoint": "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "secret": "envoy.extensions.transport_sockets.tls.v3.Secret",
}
"""Kind → full name of its message; the type URL is ``type.googleapis.com/`` and that name."""


class Ref(msgspec.Struct, frozen=True, gc=False, order=True):
    """Another resource this one needs: a proxy may take it only after that one."""

    kind: Kind
    name: str


class Resource(msgspec.Struct, frozen=True, gc=False):
    """One xDS resource.

    ``version`` is the 12-byte digest of ``body`` (serialised message, without the ``Any`` around it). ``refers`` is
    sorted. ``problems`` are faults found on the way that did not keep the resource from being made.
    """

    kind: Kind
    name: str
    version: bytes
    body: bytes
    refers: tuple[Ref, ...] = ()
    problems: tuple[Problem, ...] = ()


def make_resource(
    kind: Kind, name: str, fields: Fields, refers: Iterable[Ref] = (), problems: Iterable[Problem] = ()
) -> Resource:
    """Serialise a resource; raises ValueError or TypeError where ``fields`` do not fit the message (our bug)."""
    return resource_of_bytes(kind, name, serialise(MESSAGES[kind], fields), refers, problems)


def resource_of_bytes(
    kind: Kind, name: str, body: bytes, refers: Iterable[Ref] = (), problems: Iterable[Problem] = ()
) -> Resource:
    """Make a resource of its serialised message."""
    return Resource(kind, name, digest_of_bytes(body), body, tuple(sorted(set(refers))), tuple(problems))


def serialise(message: str, fields: Fields) -> bytes:
    """Return the deterministic bytes of a message given by full name and fields."""
    return bytes(pool.message_class(message)(**fields).SerializeToString(deterministic=True))


def length_delimited(field: int, body: bytes) -> bytes:
    """Return a submessage, text or bytes as one field (numbers below 16) of the message around it.

    Serialised messages may be joined (Protobuf encoding, "length-delimited records"): large repeated fields are put
    together from pieces that were serialised once.
    """
    tag = bytes((field << 3 | 2,))
    length = len(body)
    if length < 0x80:
        return tag + bytes((length,)) + body
    octets = bytearray(tag)
    while length >= 0x80:
        octets.append(length & 0x7F | 0x80)
        length >>= 7
    octets.append(length)
    return bytes(octets) + body


def pack(message: str, fields: Fields | None = None) -> Fields:
    """Return a ``google.protobuf.Any`` holding the message."""
    return {"type_url": f"type.googleapis.com/{message}", "value": serialise(message, fields or {})}


def extension(name: str, message: str, fields: Fields | None = None) -> Fields:
    """Return a named extension as filters, transport sockets and loggers are configured: name and typed_config."""
    return {"name": name, "typed_config": pack(message, fields)}


def duration(milliseconds: int) -> Fields:
    """Return a ``google.protobuf.Duration``."""
    return {"seconds": milliseconds // 1000, "nanos": milliseconds % 1000 * 1_000_000}


def struct(values: Mapping[str, Any]) -> Any:
    """Return a ``google.protobuf.Struct`` of text, numbers, booleans, lists and mappings.

    A message, not fields: some releases of protobuf take a mapping given for a Struct as its content, others as its fields.
    """
    return pool.message_class("google.protobuf.Struct")(
        fields={name: _value(value) for name, value in values.items()}
    )


def _value(value: Any) -> Any:
    make = pool.message_class("google.protobuf.Value")
    match value:
        case bool():
            return make(bool_value=value)
        case str():
            return make(string_value=value)
        case int() | float():
            return make(number_value=value)
        case dict():
            return make(struct_value=struct(value))
        case list() | tuple():
            entries = pool.message_class("google.protobuf.ListValue")(
                values=[_value(entry) for entry in value]
            )
            return make(list_value=entries)
        case _:
            raise TypeError(f"no Struct value for {type(value).__name__}")
