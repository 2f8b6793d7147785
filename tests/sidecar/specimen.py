"""A bootstrap with every message that Mainstay takes, and ways to change each of its fields, one at a time.

Used by `test_support`: what a change does shows whether a field works, is refused, or means nothing here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from mainstay._proto import pool
from mainstay.sidecar.bootstrap import document
from mainstay.sidecar.bootstrap.read import read_message
from mainstay.sidecar.convert.refuse import Refused
from mainstay.sidecar.convert.table import KINDS, convert_message

FILE = Path(__file__).with_name("specimen.yaml")
ANY = "google.protobuf.Any"
WELL_KNOWN = "google.protobuf."
STATIC = {
    "clusters": "envoy.config.cluster.v3.Cluster",
    "listeners": "envoy.config.listener.v3.Listener",
    "secrets": "envoy.extensions.transport_sockets.tls.v3.Secret",
}
ASSIGNMENT = "envoy.config.endpoint.v3.ClusterLoadAssignment"

Step = tuple[str, Any]
"""A field, and index or key in it; `None` for a single one. A message inside an Any is reached through `("@", None)`."""


class Outcome(msgspec.Struct, frozen=True):
    """What conversion makes of a message: its digest, or why it is refused."""

    made: Any
    path: str = ""
    reason: str = ""


class Root(msgspec.Struct, frozen=True):
    """One of the messages that are converted by themselves."""

    name: str
    message: Any
    convert: Callable[[Any], Any]

    def outcome(self, message: Any) -> Outcome:
        try:
            return Outcome(self.convert(message))
        except Refused as refused:
            return Outcome(None, refused.path, refused.reason)


def roots() -> list[Root]:
    """Each static resource, the endpoints of one cluster as they come over EDS, and the bootstrap around them."""
    bootstrap = document.parse(FILE.read_text())
    found = []
    for field, kind in STATIC.items():
        for entry in getattr(bootstrap.static_resources, field):
            found.append(_resource(kind, f"{field} {entry.name}", copy(entry)))
    full = next(each for each in bootstrap.static_resources.clusters if each.name == "full")
    found.append(_resource(ASSIGNMENT, "endpoints full", full.load_assignment))
    frame = copy(bootstrap)
    frame.ClearField("static_resources")
    frame.static_resources.clusters.append(bootstrap.static_resources.clusters[0])
    found.append(Root("bootstrap", frame, _boot))
    return found


def _boot(message: Any) -> Any:
    boot, refusals = read_message(message, Path("/"), "1")
    if refusals:
        raise refusals[0]
    return boot


def _resource(kind: str, name: str, message: Any) -> Root:
    def made(changed: Any) -> Any:
        converted = convert_message(KINDS[kind], changed, lambda path: path.encode())
        again = converted.resource.again.files if converted.resource.again is not None else ()
        return (
            [part.digest for part in converted.parts],
            converted.resource.sources,
            converted.resource.command,
            again,
        )

    return Root(name, message, made)


def instances(message: Any, path: tuple[Step, ...] = ()) -> Iterator[tuple[tuple[Step, ...], Any]]:
    """Every message in it, itself included, with the way to it."""
    name = message.DESCRIPTOR.full_name
    if name == ANY:
        inner = message.type_url.rpartition("/")[2]
        if pool.knows(inner):
            yield from instances(pool.parse(inner, message.value), (*path, ("@", None)))
        return
    if name.startswith(WELL_KNOWN):
        return
    yield path, message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if _is_map(field):
            if field.message_type.fields_by_name["value"].message_type is not None:
                for key in sorted(value):
                    yield from instances(value[key], (*path, (field.name, key)))
        elif is_repeated(field):
            for index, each in enumerate(value):
                yield from instances(each, (*path, (field.name, index)))
        else:
            yield from instances(value, (*path, (field.name, None)))


def changed(root: Any, path: tuple[Step, ...], change: Callable[[Any], None]) -> Any:
    """A copy in which the message at the end of the way was changed."""
    message = copy(root)
    _change(message, path, change)
    return message


def _change(message: Any, path: tuple[Step, ...], change: Callable[[Any], None]) -> None:
    if not path:
        change(message)
        return
    (field, at), rest = path[0], path[1:]
    if field == "@":
        inner = pool.parse(message.type_url.rpartition("/")[2], message.value)
        _change(inner, rest, change)
        message.value = inner.SerializeToString(deterministic=True)
        return
    value = getattr(message, field)
    _change(value if at is None else value[at], rest, change)


def changes(message: Any, field: Any) -> Iterator[Callable[[Any], None]]:
    """Ways to change a field of a message: away if it is there, to another value, or to some value if it is not."""
    name = field.name
    if _has(message, field):
        yield lambda changed: changed.ClearField(name)
    if _is_map(field):
        yield lambda changed: _fill_map(changed, field)
    elif is_repeated(field):
        yield lambda changed: _append(changed, field)
    elif field.message_type is not None:
        yield lambda changed: _fill(changed, field)
    else:
        for value in _others(field, getattr(message, name)):
            yield functools.partial(_set, name=name, value=value)


def _set(message: Any, name: str, value: Any) -> None:
    setattr(message, name, value)


def _fill_map(message: Any, field: Any) -> None:
    value = field.message_type.fields_by_name["value"]
    held = getattr(message, field.name)
    if value.message_type is None:
        held["x"] = next(_others(value, value.default_value))
    else:
        held["x"].SetInParent()


def _append(message: Any, field: Any) -> None:
    held = getattr(message, field.name)
    if field.message_type is not None:
        held.add()
    else:
        held.append(next(_others(field, _SCALARS.get(field.cpp_type, 0))))


def _fill(message: Any, field: Any) -> None:
    inner = getattr(message, field.name)
    kind = field.message_type.full_name
    if kind == "google.protobuf.Duration":
        inner.seconds += 1
    elif kind == "google.protobuf.Struct":
        inner.fields["x"].string_value = "x"
    elif (
        kind.startswith(WELL_KNOWN)
        and kind.endswith("Value")
        and "value" in field.message_type.fields_by_name
    ):
        value = field.message_type.fields_by_name["value"]
        inner.value = list(_others(value, inner.value))[-1]
    else:
        inner.SetInParent()


_SCALARS: dict[int, Any] = {9: "", 7: False, 5: 0.0, 6: 0.0}
"""Empty values by protobuf's numbers of C++ types; the rest are numbers."""


def _others(field: Any, value: Any) -> Iterator[Any]:
    """Other values than this one."""
    if field.enum_type is not None:
        yield from [each.number for each in field.enum_type.values if each.number != value] or [1]
    elif isinstance(value, bool):
        yield not value
    elif isinstance(value, str):
        yield f"{value}x"
    elif isinstance(value, bytes):
        yield value + b"x"
    else:
        yield value + 1
        if value > 1:
            yield 1


def _has(message: Any, field: Any) -> bool:
    return any(each.name == field.name for each, _ in message.ListFields())


def is_repeated(field: Any) -> bool:
    return bool(field.is_repeated)


def _is_map(field: Any) -> bool:
    return bool(
        field.message_type is not None and is_repeated(field) and field.message_type.GetOptions().map_entry
    )


def copy(message: Any) -> Any:
    made = pool.message_class(message.DESCRIPTOR.full_name)()
    made.CopyFrom(message)
    return made
