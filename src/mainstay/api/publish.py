"""Publishes the kinds: JSON Schema (2020-12, which OpenAPI 3.1 embeds) and the reference page, from the same definitions that
the decoder reads.

In: kinds. Out: dictionaries and Markdown. Invariants: what the decoder refuses by shape the schema refuses too, and the other way
round, as far as JSON Schema can say it; fields that are not supported yet are absent from a schema and listed in the page.
Called by the REST API's OpenAPI document, `mainstay up --print-schema` and `tools/generate_docs.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from mainstay.api.codes import CODES
from mainstay.api.define import Field, Part, Shape, Type, parts_below, shape_of, show_duration
from mainstay.api.kind import Kind
from mainstay.api.object import Metadata

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(kind: Kind) -> dict[str, Any]:
    """Return the JSON Schema of an object of a kind, self-contained, so that it can stand anywhere."""
    body = _part_schema(kind.struct)
    properties: dict[str, Any] = {
        "apiVersion": {"enum": [f"{kind.group}/{version}" for version in kind.versions]},
        "kind": {"const": kind.name},
        "metadata": _part_schema(Metadata),
        "status": {"description": "Set by the server; not read."},
    }
    required = ["apiVersion", "kind", "metadata"]
    if kind.inline:
        properties |= body["properties"]
        required += body.get("required", [])
    else:
        properties["spec"] = body
        if body.get("required") or body.get("allOf"):
            required.append("spec")
    return {
        "title": kind.name,
        "description": kind.documentation,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


def schema_document(kind: Kind) -> dict[str, Any]:
    """Return the schema as a document of its own, for editors."""
    return {"$schema": DIALECT, **schema_of(kind)}


def _part_schema(part: type[Part]) -> dict[str, Any]:
    shape = shape_of(part)
    schema: dict[str, Any] = {
        "type": "object",
        "description": _documentation(part),
        "properties": {key: _field_schema(field) for key, field in shape.fields.items() if not field.not_yet},
        "additionalProperties": False,
    }
    if required := [key for key, field in shape.fields.items() if field.required]:
        schema["required"] = required
    if rules := list(_rule_schemas(shape)):
        schema["allOf"] = rules
    return schema


def _rule_schemas(shape: Shape) -> Iterator[dict[str, Any]]:
    """One of some fields, or at most one: JSON Schema says it by which of them are required."""
    for rule in shape.rules:
        names = [name for name in rule.names if not shape.fields[name].not_yet]
        options: list[dict[str, Any]] = [{"required": [name]} for name in names]
        if rule.optional:
            options.append({"not": {"anyOf": [{"required": [name]} for name in names]}})
        yield {"oneOf": options}


def _field_schema(field: Field) -> dict[str, Any]:
    schema = _type_schema(field.type)
    text = field.text
    if field.unit:
        text += f" In {field.unit}."
    if text:
        schema["description"] = text
    if field.secret:
        schema["writeOnly"] = True
    if _has_default(field):
        schema["default"] = _show_default(field)
    return schema


def _has_default(field: Field) -> bool:
    return (
        field.type.base in ("text", "truth", "whole", "number", "duration", "choice")
        and field.default is not None
    )


def _show_default(field: Field) -> Any:
    return show_duration(field.default) if field.type.base == "duration" else field.default


def _type_schema(kind: Type) -> dict[str, Any]:
    match kind.base:
        case "part":
            assert kind.part is not None
            return _part_schema(kind.part)
        case "list":
            assert kind.item is not None
            return {"type": "array", "items": _type_schema(kind.item), **_length(kind, "Items")}
        case "map":
            assert kind.item is not None
            return {
                "type": "object",
                "additionalProperties": _type_schema(kind.item),
                **_length(kind, "Properties"),
            }
        case "text":
            pattern = {"pattern": f"^(?:{kind.pattern.expression})$"} if kind.pattern else {}
            return {"type": "string", **pattern, **_length(kind, "Length")}
        case "duration":
            assert kind.pattern is not None
            return {"type": "string", "pattern": f"^(?:{kind.pattern.expression})$"}
        case "choice":
            refused = {value for mark in kind.refused for value in mark.values}
            return {"type": "string", "enum": [choice for choice in kind.choices if choice not in refused]}
        case "truth":
            return {"type": "boolean"}
        case "whole" | "number":
            low, high = kind.range.minimum, kind.range.maximum
            bounds = {
                name: value for name, value in (("minimum", low), ("maximum", high)) if value is not None
            }
            return {"type": "integer" if kind.base == "whole" else "number", **bounds}
        case "anything":
            return {}


def _length(kind: Type, what: str) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    if kind.length.minimum:
        bounds[f"min{what}"] = kind.length.minimum
    if kind.length.maximum is not None:
        bounds[f"max{what}"] = kind.length.maximum
    return bounds


def _documentation(part: type[Part]) -> str:
    return " ".join((part.__doc__ or "").split())


def reference_page(kinds: Iterable[Kind]) -> str:
    """Return the reference of all kinds in Markdown: a table of fields for each object, and what is not supported yet."""
    lines = [
        "# Kinds",
        "",
        "Generated by `make docs` from `src/mainstay/api/`. Fields are given as they are written in YAML; a field that is",
        "neither required nor given a default may be left out. What is marked *not yet* is part of the API but refused, with",
        "file, line and path; nothing is ignored silently.",
        "",
    ]
    every = list(kinds)
    lines += ["| kind | apiVersion | |", "|---|---|---|"]
    for kind in every:
        versions = " · ".join(f"`{kind.group}/{version}`" for version in kind.versions)
        lines.append(f"| [{kind.name}](#{kind.name.lower()}) | {versions} | {_cell(kind.documentation)} |")
    for kind in every:
        lines += ["", f"## {kind.name}", "", _documentation(kind.struct)]
        if kind.inline:
            lines += ["", "Its fields stand beside `metadata`, without `spec`."]
        for part in parts_below(kind.struct):
            if part is not kind.struct:
                lines += ["", f"### {kind.name}: {part.__name__}", "", _documentation(part)]
            lines += ["", *_fields_table(shape_of(part))]
    return "\n".join(lines) + "\n"


def _fields_table(shape: Shape) -> Iterator[str]:
    yield "| field | type | default | |"
    yield "|---|---|---|---|"
    for key, field in shape.fields.items():
        if field.not_yet:
            yield f"| `{key}` | | | *not yet:* {_cell(field.not_yet)} |"
            continue
        default = "required" if field.required else _default_cell(field)
        notes = [field.text, *(f"*not yet:* {', '.join(m.values)} ({m.reason})." for m in field.type.refused)]
        if field.type.pattern and field.type.base == "text":
            notes.append(f"Written as {field.type.pattern.meaning}.")
        yield f"| `{key}` | {_cell(_type_name(field.type))} | {default} | {_cell(' '.join(notes))} |"
    for rule in shape.rules:
        count = "At most one" if rule.optional else "Exactly one"
        yield f"| | | | {count} of {', '.join(f'`{name}`' for name in rule.names)}. |"


def _default_cell(field: Field) -> str:
    if not _has_default(field) or field.default == "":
        return ""
    shown = _show_default(field)
    if isinstance(shown, str) and not shown.isprintable():
        shown = json.dumps(shown)
    return f"`{shown}`"


def _type_name(kind: Type) -> str:
    low, high = kind.range.minimum, kind.range.maximum
    match kind.base:
        case "part":
            assert kind.part is not None
            return kind.part.__name__
        case "list":
            assert kind.item is not None
            return f"list of {_type_name(kind.item)}"
        case "map":
            assert kind.item is not None
            return f"map of {_type_name(kind.item)}"
        case "choice":
            refused = {value for mark in kind.refused for value in mark.values}
            return " \\| ".join(choice for choice in kind.choices if choice not in refused)
        case "whole" | "number":
            name = "whole number" if kind.base == "whole" else "number"
            if low is None and high is None:
                return name
            return f"{name} {low if low is not None else ''}…{high if high is not None else ''}"
        case "truth":
            return "true or false"
        case "anything":
            return "any value"
    return kind.base


def _cell(text: str) -> str:
    return text.replace("\\|", "|").replace("|", "\\|").replace("\n", " ")


def problems_page() -> str:
    """Return the reference of all problem codes in Markdown."""
    lines = [
        "# Problems",
        "",
        "Generated by `make docs` from `src/mainstay/api/codes.py`. A code is never used for something else later. Codes that",
        "begin with `IST` are Istio's, with Istio's meaning: `MS1…` shape, `MS2…` references, `MS3…` sources, `MS4…` compile and",
        "capability, `MS5…` refused by a proxy.",
        "",
        "| code | severity | | |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| `{code.code}` | {code.severity} | {_cell(code.title)} | {_cell(code.text)} |"
        for code in CODES.values()
    ]
    return "\n".join(lines) + "\n"
