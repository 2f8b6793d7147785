"""Writes a decoded object as canonical JSON values: what the store keeps and the REST API answers.

In: an ``Object``. Out: dictionaries and lists. Invariants: only fields that differ from their default are written, in the
order of definition, so equal objects have equal texts; decoding the result gives an equal object; secret fields are
masked unless the caller is the store.
"""

from __future__ import annotations

from typing import Any

from mainstay.api.define import Part, Type, shape_of, show_duration
from mainstay.api.node import plain_value
from mainstay.api.object import Object

MASK = "…"
"""Stands for a secret value in whatever is shown."""


def encode(thing: Object, *, reveal_secrets: bool = False) -> dict[str, Any]:
    """Return the object as JSON values; only the store may ask for ``reveal_secrets``."""
    body = encode_part(thing.spec, reveal_secrets=reveal_secrets)
    metadata = encode_part(thing.metadata, reveal_secrets=reveal_secrets)
    if thing.kind.namespaced:
        metadata["namespace"] = thing.namespace
    written: dict[str, Any] = {
        "apiVersion": thing.kind.api_version,
        "kind": thing.kind.name,
        "metadata": metadata,
    }
    return {**written, **body} if thing.kind.inline else {**written, "spec": body}


def encode_part(part: Part, *, reveal_secrets: bool = False) -> dict[str, Any]:
    """Return a nested object as JSON values."""
    written: dict[str, Any] = {}
    for field in shape_of(type(part)).fields.values():
        value = getattr(part, field.name)
        if value == field.default and not field.required:
            continue
        written[field.key] = _encode_value(value, field.type, reveal_secrets)
        if field.secret and not reveal_secrets:
            written[field.key] = dict.fromkeys(value, MASK) if isinstance(value, dict) else MASK
    return written


def _encode_value(value: Any, kind: Type, reveal_secrets: bool) -> Any:
    match kind.base:
        case "part":
            return encode_part(value, reveal_secrets=reveal_secrets)
        case "list":
            assert kind.item is not None
            return [_encode_value(item, kind.item, reveal_secrets) for item in value]
        case "map":
            assert kind.item is not None
            return {name: _encode_value(item, kind.item, reveal_secrets) for name, item in value.items()}
        case "duration":
            return show_duration(value)
        case "anything":
            return plain_value(value)
    return value
