"""The one table of resource kinds: type of the message → converter.

In: bytes of a resource as xDS carries it. Out: `Converted`: plan structs in MessagePack, secrets that stood inline first, with
what they need; or `Refused`. Invariant: equal bytes and files give equal digests. A new kind is a file and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from mainstay._proto import pool
from mainstay.model.digest import digest_of_bytes
from mainstay.sidecar import plan
from mainstay.sidecar.convert import cluster, endpoints, listener, route, tls
from mainstay.sidecar.convert.references import Kind, Reference, kind_of, name_of, needs_of
from mainstay.sidecar.convert.refuse import Refused

TYPE_URL = "type.googleapis.com/"


class Row(msgspec.Struct, frozen=True):
    """`message`: full name. `convert`: message and collector of inline secrets → plan struct."""

    kind: Kind
    message: str
    name_field: str
    convert: Callable[[Any, tls.Inline], plan.Resource]


KINDS: Mapping[str, Row] = {
    row.message: row
    for row in (
        Row(
            "secret",
            "envoy.extensions.transport_sockets.tls.v3.Secret",
            "name",
            lambda message, inline: tls.secret(message, inline.read_file),
        ),
        Row(
            "endpoints",
            "envoy.config.endpoint.v3.ClusterLoadAssignment",
            "cluster_name",
            lambda message, _: endpoints.endpoints(message),
        ),
        Row("cluster", "envoy.config.cluster.v3.Cluster", "name", cluster.cluster),
        Row(
            "route",
            "envoy.config.route.v3.RouteConfiguration",
            "name",
            lambda message, _: route.route_table(message),
        ),
        Row("listener", "envoy.config.listener.v3.Listener", "name", listener.listener),
    )
}
"""By the message's full name, in the order in which a delta is applied."""


class Encoded(msgspec.Struct, frozen=True):
    """A plan struct as the engine takes it. `digest` is that of the body; `needs` what must be there before it serves."""

    kind: Kind
    name: str
    digest: str
    body: bytes
    needs: frozenset[Reference] = frozenset()

    def __repr__(self) -> str:
        return f"Encoded({self.kind} {self.name} {self.digest})"


class Converted(msgspec.Struct, frozen=True):
    """One resource, and the secrets it held inline."""

    resource: Encoded
    inline: tuple[Encoded, ...] = ()


def encode(resource: plan.Resource) -> Encoded:
    body = plan.encode(resource)
    return Encoded(
        kind_of(resource), name_of(resource), digest_of_bytes(body).hex(), body, needs_of(resource)
    )


def convert_message(row: Row, message: Any, read_file: tls.ReadFile = tls.no_files) -> Converted:
    """Converts a message of the row's type; raises `Refused`."""
    inline = tls.Inline(f"{row.kind}:{getattr(message, row.name_field)}", read_file)
    resource = row.convert(message, inline)
    return Converted(encode(resource), tuple(encode(secret) for secret in inline.secrets))


def convert(message_name: str, body: bytes, read_file: tls.ReadFile = tls.no_files) -> Converted:
    """Converts the bytes of a resource; raises `Refused`, also for bytes that are no such message."""
    row = KINDS.get(message_name)
    if row is None:
        raise Refused("", f"{message_name or 'a resource without a type'} is not a kind that Mainstay takes")
    try:
        message = pool.parse(message_name, body)
    except ValueError as error:
        raise Refused("", str(error)) from None
    return convert_message(row, message, read_file)
