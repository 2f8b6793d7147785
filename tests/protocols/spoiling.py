"""Descriptions that were sound until something was done to them, and JSON Schema as far as ours goes."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import yaml
from hypothesis import strategies as st

from mainstay.protocols.read import shipped_texts

NUMBERS = [-(2**31), -128, -1, *range(9), 15, 16, 64, 127, 128, 255, 256, 65_535, 65_536, 2**32, 2**63]
TEXTS = [*shipped_texts().values(), (Path(__file__).parent / "volt.yaml").read_text()]
DOCUMENTS = [yaml.safe_load(text) for text in TEXTS]


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: the dict or list, and the key."""
    pairs = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in pairs:
        yield node, key
        yield from places(value)


@st.composite
def spoilt(draw: st.DrawFn) -> Any:
    """A description in which one to three things are missing, there twice, or another."""
    document = copy.deepcopy(draw(st.sampled_from(DOCUMENTS)))
    chance: Random = draw(st.randoms(use_true_random=False))
    spec = document["spec"]
    names = sorted({value for node, key in places(spec) if isinstance(value := node[key], str)})
    for _ in range(draw(st.integers(1, 3))):
        node, key = chance.choice(list(places(spec)))
        match chance.randrange(6), node[key]:
            case 0, _:
                del node[key]
            case 1, value if isinstance(node, list):
                node.insert(chance.randrange(len(node) + 1), copy.deepcopy(value))
            case 2, _ if isinstance(node, dict):
                node[chance.choice(names)] = chance.choice([1, "x", [], {}])
            case 3, _:
                node[key] = chance.choice([1, "x", [], {}, ["x"], {"x": 1}, True])
            case _, bool(value):
                node[key] = not value
            case _, int():
                node[key] = chance.choice(NUMBERS)
            case _, str():
                node[key] = chance.choice(names)
    return document


_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "number": (int, float),
}


def faults(schema: dict[str, Any], value: Any) -> list[str]:
    """What a validator of JSON Schema would say."""
    found: list[str] = []
    wanted = schema.get("type")
    if wanted and (
        not isinstance(value, _TYPES[wanted]) or (isinstance(value, bool) and wanted != "boolean")
    ):
        return [f"{value!r} is no {wanted}"]
    if "const" in schema and value != schema["const"]:
        found.append(f"{value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{value!r} is none of {schema['enum']}")
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        found.append(f"{value!r} does not fit {schema['pattern']}")
    size = value if isinstance(value, int | float) else len(value)
    limits = {
        "imum": isinstance(value, int | float),
        "Length": isinstance(value, str),
        "Items": isinstance(value, list),
        "Properties": isinstance(value, dict),
    }
    for what, applies in limits.items():
        if applies and not schema.get(f"min{what}", size) <= size <= schema.get(f"max{what}", size):
            found.append(f"{size} is out of range")
    for each in schema.get("allOf", ()):
        found += faults(each, value)
    if "oneOf" in schema and sum(not faults(each, value) for each in schema["oneOf"]) != 1:
        found.append("not one of several")
    if isinstance(value, list) and "items" in schema:
        found += [fault for each in value for fault in faults(schema["items"], each)]
    if isinstance(value, dict):
        found += [f"{name} is missing" for name in schema.get("required", ()) if name not in value]
        for name, each in value.items():
            other = schema.get("additionalProperties", True)
            below = schema.get("properties", {}).get(name, other)
            if below is False:
                found.append(f"{name} is unknown")
            elif isinstance(below, dict):
                found += faults(below, each)
    return found
