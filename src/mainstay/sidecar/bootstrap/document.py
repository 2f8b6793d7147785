"""A bootstrap's text to its message: YAML or JSON, with unknown fields found by path.

In: text. Out: `envoy.config.bootstrap.v3.Bootstrap`. Invariants: a field that the subset does not have is refused by path (or
noted, under `lenient`), never lost; a message of an unknown type becomes a TypedStruct, so that the converter can name it, or
pass it over where it is optional. YAML is loaded only to read YAML.
"""

from __future__ import annotations

import json
import re
from typing import Any

from mainstay._proto import pool
from mainstay.sidecar.bootstrap.scalars import WRAPPED, scalar
from mainstay.sidecar.convert.filters.table import TYPED_STRUCTS
from mainstay.sidecar.convert.refuse import Refused, unsupported
from mainstay.sidecar.support.reasons import REFUSED

BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"
MAX_BYTES = 16 * 1024 * 1024
MAX_DEPTH = 100
_WELL_KNOWN = "google.protobuf."
_TYPED_STRUCT = "type.googleapis.com/xds.type.v3.TypedStruct"


def parse(text: str, name: str = BOOTSTRAP) -> Any:
    """The message of that full name; raises `Refused`."""
    if len(text) > MAX_BYTES:
        raise Refused("", f"has more than {MAX_BYTES:,} characters")
    tree = _load(text)
    if not isinstance(tree, dict):
        raise Refused("", f"must be a mapping, as {name} is")
    descriptor = pool.message_class(name).DESCRIPTOR
    try:
        return pool.from_json(name, _clean(tree, descriptor, "", 0))
    except ValueError as error:
        raise Refused(*_place_of(str(error))) from None


def _load(text: str) -> Any:
    if text.lstrip().startswith("{"):
        try:
            return json.loads(text)
        except RecursionError:
            raise Refused("", f"is nested deeper than {MAX_DEPTH}") from None
        except json.JSONDecodeError as error:
            if '"' in text.lstrip()[1:].lstrip()[:1]:
                raise Refused("", f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    from mainstay.sidecar.bootstrap import yaml_text

    return yaml_text.load(text)


def _clean(value: Any, descriptor: Any, path: str, depth: int) -> Any:
    """The tree without fields that the message does not have; each of them is `unsupported`."""
    if depth > MAX_DEPTH:
        raise Refused(path, f"is nested deeper than {MAX_DEPTH}")
    name = descriptor.full_name
    if name == "google.protobuf.Any":
        return _clean_any(value, path, depth)
    if name.startswith(_WELL_KNOWN):
        wrapped = name.removeprefix(_WELL_KNOWN) in WRAPPED and value is not None
        return scalar(value, descriptor.fields_by_name["value"], path) if wrapped else value
    if not isinstance(value, dict):
        raise Refused(path, f"must be a mapping, as {name} is")
    fields = {field.name: field for field in descriptor.fields}
    fields |= {field.json_name: field for field in descriptor.fields}
    cleaned = {}
    for key, entry in value.items():
        here = f"{path}.{key}" if path else str(key)
        field = fields.get(key)
        if field is None:
            reason = REFUSED.get(name, {}).get(str(key))
            unsupported(
                here, f"is not supported: {reason}" if reason else "is not a field that Mainstay knows"
            )
        elif entry is not None:
            cleaned[key] = _clean_field(entry, field, here, depth + 1)
    return cleaned


def _clean_field(entry: Any, field: Any, path: str, depth: int) -> Any:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        inner = message.fields_by_name["value"]
        if not isinstance(entry, dict):
            raise Refused(path, "must be a mapping")
        return {key: _clean_one(each, inner, f"{path}[{key!r}]", depth) for key, each in entry.items()}
    if not field.is_repeated:
        return _clean_one(entry, field, path, depth)
    # One entry may stand for itself, as in Envoy.
    entries = entry if isinstance(entry, list) else [entry]
    return [_clean_one(each, field, f"{path}[{index}]", depth) for index, each in enumerate(entries)]


def _clean_one(entry: Any, field: Any, path: str, depth: int) -> Any:
    message = field.message_type
    return scalar(entry, field, path) if message is None else _clean(entry, message, path, depth)


def _clean_any(value: Any, path: str, depth: int) -> Any:
    if not isinstance(value, dict) or "@type" not in value:
        raise Refused(path, "needs an @type")
    url = str(value["@type"])
    rest = {key: entry for key, entry in value.items() if key != "@type"}
    name = url.rpartition("/")[2]
    if name in TYPED_STRUCTS:
        return value
    if not pool.knows(name):
        return {"@type": _TYPED_STRUCT, "type_url": url, "value": rest}
    return {"@type": url, **_clean(rest, pool.message_class(name).DESCRIPTOR, path, depth + 1)}


_PARSE_ERROR = re.compile(r"Failed to parse (\S+) field: (.*)\.$", re.DOTALL)


def _place_of(text: str) -> tuple[str, str]:
    """Path and reason from the words of protobuf's parser, which nests them."""
    path = ""
    while (found := _PARSE_ERROR.match(text)) is not None:
        path, text = (f"{path}.{found[1]}" if path else found[1]), found[2]
    return path, text
