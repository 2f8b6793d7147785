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
from mainstay.sidecar.convert import cluster, endpoints, generic_route, listener, route, tls
from mainstay.sidecar.convert.exec_check import ExecCheck
from mainstay.sidecar.convert.gathered import Gathered, ReadFile, no_files
from mainstay.sidecar.convert.references import Kind, Reference, kind_of, name_of, needs_of
from mainstay.sidecar.convert.refuse import Refused
from mainstay.sidecar.convert.source import Source

TYPE_URL = "type.googleapis.com/"


class Row(msgspec.Struct, frozen=True):
    """`message`: full name. `convert`: message and what is gathered beside it → plan struct."""

    kind: Kind
    message: str
    name_field: str
    convert: Callable[[Any, Gathered], plan.Resource]


KINDS: Mapping[str, Row] = {
    row.message: row
    for row in (
        Row(
            "secret",
            "envoy.extensions.transport_sockets.tls.v3.Secret",
            "name",
            lambda message, gathered: tls.secret(message, gathered.read_file),
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
        Row(
            "generic_route",
            generic_route.CONFIGURATION,
            "name",
            lambda message, _: generic_route.generic_route_table(message),
        ),
        Row("listener", "envoy.config.listener.v3.Listener", "name", listener.listener),
    )
}
"""By the message's full name, in the order in which a delta is applied."""


class Again(msgspec.Struct, frozen=True):
    """How to convert a resource anew when one of its files has changed: its message, and the files."""

    message: str
    body: bytes
    files: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Again({self.message}, {self.files})"


class Encoded(msgspec.Struct, frozen=True):
    """A plan struct as the engine takes it. `digest` is that of the body; `needs` what must be there before it serves;
    `sources` whence that comes, where it is not ADS; `again` is set if files were read; `command` if a probe is one; `patience`
    how long what it needs is waited for, in milliseconds (`None`: for ever), where that is not the default; `inbound`: a
    listener through which the workload is reached."""

    kind: Kind
    name: str
    digest: str
    body: bytes
    needs: frozenset[Reference] = frozenset()
    sources: tuple[tuple[Reference, Source], ...] = ()
    again: Again | None = None
    command: ExecCheck | None = None
    patience: tuple[tuple[Reference, int | None], ...] = ()
    inbound: bool = False

    def __repr__(self) -> str:
        return f"Encoded({self.kind} {self.name} {self.digest})"


class Converted(msgspec.Struct, frozen=True):
    """One resource, and the secrets and endpoints it held inline."""

    resource: Encoded
    inline: tuple[Encoded, ...] = ()

    @property
    def parts(self) -> tuple[Encoded, ...]:
        """All of it, what is needed first."""
        return (*self.inline, self.resource)


def encode(
    resource: plan.Resource,
    gathered: Gathered | None = None,
    again: Again | None = None,
    kind: Kind | None = None,
) -> Encoded:
    """`kind`: where the struct alone does not tell."""
    body = plan.encode(resource)
    return Encoded(
        kind if kind is not None else kind_of(resource),
        name_of(resource),
        digest_of_bytes(body).hex(),
        body,
        needs_of(resource),
        tuple(gathered.sources.items()) if gathered is not None else (),
        again,
        gathered.command if gathered is not None else None,
        tuple(gathered.patience.items()) if gathered is not None else (),
        isinstance(resource, plan.Listener) and resource.direction == "inbound",
    )


def convert_message(row: Row, message: Any, read_file: ReadFile = no_files) -> Converted:
    """Converts a message of the row's type; raises `Refused`."""
    gathered = Gathered(f"{row.kind}:{getattr(message, row.name_field)}", read_file)
    resource = row.convert(message, gathered)
    again = None
    if gathered.files:
        body = bytes(message.SerializeToString(deterministic=True))
        again = Again(row.message, body, tuple(gathered.files))
    inline: list[plan.Resource] = [*gathered.secrets, *gathered.endpoints]
    return Converted(encode(resource, gathered, again, row.kind), tuple(encode(each) for each in inline))


def convert(message_name: str, body: bytes, read_file: ReadFile = no_files) -> Converted:
    """Converts the bytes of a resource; raises `Refused`, also for bytes that are no such message."""
    row = KINDS.get(message_name)
    if row is None:
        raise Refused("", f"{message_name or 'a resource without a type'} is not a kind that Mainstay takes")
    try:
        message = pool.parse(message_name, body)
    except ValueError as error:
        raise Refused("", str(error)) from None
    return convert_message(row, message, read_file)
