"""Turns a document into a typed object, or into every problem it has.

In: a ``Document`` and the ``Kind`` it claims to be. Out: ``Object`` or problems. Invariants: one walk finds all problems;
unknown fields, fields not supported yet and values out of range are refused by path; nothing is guessed from what
a scalar looks like, the field decides. Called by ``load`` and the REST API.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Iterable
from typing import Any, Final

from mainstay.api.define import Field, Part, Shape, Type, parse_duration, shape_of
from mainstay.api.document import Document
from mainstay.api.kind import Kind
from mainstay.api.node import (
    Mapping,
    Node,
    Path,
    Scalar,
    Sequence,
    parse_number,
    parse_truth,
    parse_whole,
    show_path,
)
from mainstay.api.object import Metadata, Object
from mainstay.api.problems import make_problem, shorten
from mainstay.model.problem import Problem

ENVELOPE = ("apiVersion", "kind", "metadata", "spec", "status")
"""Fields of every object. ``status`` is the server's and is not read."""

_FAILED: Final = object()


def decode(document: Document, kind: Kind, namespace: str = "default") -> Object | list[Problem]:
    """Decode a document; ``namespace`` is for objects that name none.

    A document that ``read`` already found fault with gives only problems, never an object.
    """
    decoder = _Decoder(document)
    entries = {entry.key: entry for entry in document.root.entries}
    metadata = _FAILED
    if "metadata" in entries:
        metadata = decoder.part(entries["metadata"].value, Metadata, ("metadata",))
    else:
        decoder.report("MS1010", (), "metadata is missing", "Add metadata with a name")
    if kind.inline:
        around = tuple(name for name in ENVELOPE if name != "spec")
        body = tuple(entry for entry in document.root.entries if entry.key not in around)
        root = Mapping(body, document.root.line, document.root.column)
        spec = decoder.part(root, kind.struct, (), also=around)
    else:
        for entry in document.root.entries:
            if entry.key not in ENVELOPE:
                decoder.unknown((entry.key,), ENVELOPE)
        empty = Mapping((), document.root.line, document.root.column)
        node = entries["spec"].value if "spec" in entries else empty
        if isinstance(node, Scalar) and node.is_null:
            node = empty
        spec = decoder.part(node, kind.struct, ("spec",))
    named = getattr(metadata, "namespace", None)
    chosen = (named or namespace) if kind.namespaced else ""
    if decoder.problems or not document.whole or not isinstance(metadata, Metadata):
        return decoder.problems
    return Object(kind, chosen, metadata, spec, document)


class _Decoder:
    """One walk over one document."""

    def __init__(self, document: Document) -> None:
        self._document = document
        self._label = document.label
        self.problems: list[Problem] = []

    def report(self, code: str, path: Path, reason: str, remedy: str) -> object:
        self.problems.append(self._document.problem(code, path, reason, remedy))
        return _FAILED

    def _at(self, code: str, node: Node, path: Path, reason: str, remedy: str) -> object:
        place = self._document.file, node.line, node.column, show_path(path)
        self.problems.append(make_problem(code, reason, remedy, self._label, *place))
        return _FAILED

    def unknown(self, path: Path, known: Iterable[str]) -> None:
        name = str(path[-1])
        self.report("MS1008", path, f"there is no field {name!r}", _suggest(name, known))

    def part(self, node: Node, part: type[Part], path: Path, also: tuple[str, ...] = ()) -> Any:
        """Decode a nested object; ``also`` are names that a suggestion may offer beside its own."""
        if not isinstance(node, Mapping):
            return self._wrong(node, path, "an object with named fields")
        shape = shape_of(part)
        values: dict[str, Any] = {}
        failed = False
        given: set[str] = set()
        for entry in node.entries:
            field = shape.fields.get(entry.key)
            here = (*path, entry.key)
            if field is None:
                self.unknown(here, (*shape.fields, *also))
                failed = True
            elif isinstance(entry.value, Scalar) and entry.value.is_null:
                continue
            elif field.not_yet:
                self.report("MS1009", here, f"{entry.key} is not supported yet: {field.not_yet}", "Remove it")
                failed = True
            else:
                given.add(entry.key)
                value = self.value(entry.value, field.type, here)
                if value is _FAILED:
                    failed = True
                else:
                    values[field.name] = value
        if not self._complete(node, shape, given, path) or failed:
            return _FAILED
        return part(**values)

    def _complete(self, node: Node, shape: Shape, given: set[str], path: Path) -> bool:
        before = len(self.problems)
        for field in shape.fields.values():
            if field.required and field.key not in given:
                self._at("MS1010", node, path, f"{field.key} is missing", _say_missing(field))
        for rule in shape.rules:
            found = [name for name in rule.names if name in given]
            names = ", ".join(rule.names)
            if len(found) > 1:
                reason = f"{' and '.join(found)} exclude each other"
                self.report("MS1013", (*path, found[1]), reason, f"Keep one of {names}")
            elif not found and not rule.optional:
                self._at("MS1013", node, path, f"one of {names} is needed", f"Add one of {names}")
        return len(self.problems) == before

    def value(self, node: Node, kind: Type, path: Path) -> Any:
        """Decode any value; ``_FAILED`` after reporting why not."""
        match kind.base:
            case "part":
                assert kind.part is not None
                return self.part(node, kind.part, path)
            case "list":
                return self._list(node, kind, path)
            case "map":
                return self._map(node, kind, path)
            case "anything":
                return node
        if not isinstance(node, Scalar):
            return self._wrong(node, path, _WANTED[kind.base])
        match kind.base:
            case "text":
                return self._text(node, kind, path)
            case "choice":
                return self._choice(node, kind, path)
            case "duration":
                return self._duration(node, path)
            case "truth":
                truth = parse_truth(node.text) if node.style != "quoted" else None
                return self._wrong(node, path, _WANTED["truth"]) if truth is None else truth
        return self._number(node, kind, path)

    def _list(self, node: Node, kind: Type, path: Path) -> Any:
        if not isinstance(node, Sequence):
            return self._wrong(node, path, "a list")
        assert kind.item is not None
        self._check_length(node, kind, len(node.items), path, "entries")
        items = [self._item(item, kind.item, (*path, index)) for index, item in enumerate(node.items)]
        return _FAILED if any(item is _FAILED for item in items) else tuple(items)

    def _map(self, node: Node, kind: Type, path: Path) -> Any:
        if not isinstance(node, Mapping):
            return self._wrong(node, path, "a mapping of names to values")
        assert kind.item is not None
        self._check_length(node, kind, len(node.entries), path, "entries")
        values = {entry.key: self._item(entry.value, kind.item, (*path, entry.key)) for entry in node.entries}
        return _FAILED if any(value is _FAILED for value in values.values()) else values

    def _item(self, node: Node, kind: Type, path: Path) -> Any:
        # `exact:` left empty in a list or map is an oversight, not "absent": there is nothing to fall back on.
        if isinstance(node, Scalar) and node.is_null and kind.base != "anything":
            return self._wrong(node, path, _WANTED[kind.base])
        return self.value(node, kind, path)

    def _check_length(self, node: Node, kind: Type, length: int, path: Path, what: str) -> None:
        low, high = kind.length.minimum, kind.length.maximum
        if length < low:
            self._at("MS1012", node, path, f"at least {low} {what} are needed", f"Give {low} or more")
        elif high is not None and length > high:
            self._at("MS1012", node, path, f"{length} {what} are more than {high}", f"Give at most {high}")

    def _text(self, node: Scalar, kind: Type, path: Path) -> Any:
        if node.style == "json":
            return self._wrong(node, path, "text in quotes")
        self._check_length(node, kind, len(node.text), path, "characters")
        if kind.pattern and not compiled(kind.pattern.expression).fullmatch(node.text):
            reason = f"{shorten(node.text)} is not allowed here"
            return self._at("MS1012", node, path, reason, f"Write {kind.pattern.meaning}")
        return node.text

    def _choice(self, node: Scalar, kind: Type, path: Path) -> Any:
        if node.style == "json":
            return self._wrong(node, path, "text in quotes")
        if node.text not in kind.choices:
            reason = f"{shorten(node.text)} is none of the choices"
            return self._at("MS1012", node, path, reason, _suggest(node.text, kind.choices))
        for refused in kind.refused:
            if node.text in refused.values:
                reason = f"{node.text} is not supported yet: {refused.reason}"
                rest = [choice for choice in kind.choices if not _is_refused(choice, kind)]
                return self._at("MS1009", node, path, reason, f"Use one of {', '.join(rest)}")
        return node.text

    def _duration(self, node: Scalar, path: Path) -> Any:
        milliseconds = parse_duration(node.text) if node.style != "json" else None
        if milliseconds is None:
            remedy = "Write a number and a unit, such as 250ms, 5s or 1m30s; ten years are the limit"
            return self._at("MS1011", node, path, f"{shorten(node.text)} is not a duration", remedy)
        return milliseconds

    def _number(self, node: Scalar, kind: Type, path: Path) -> Any:
        parse = parse_whole if kind.base == "whole" else parse_number
        number = parse(node.text) if node.style != "quoted" else None
        if number is None:
            return self._wrong(node, path, _WANTED[kind.base])
        low, high = kind.range.minimum, kind.range.maximum
        if (low is not None and number < low) or (high is not None and number > high):
            reason = f"{shorten(node.text, 24)} is out of range"
            return self._at("MS1012", node, path, reason, f"Give a number {_show_range(low, high)}")
        return number

    def _wrong(self, node: Node, path: Path, wanted: str) -> object:
        return self._at(
            "MS1011", node, path, f"{_describe(node)} stands where {wanted} is wanted", f"Write {wanted}"
        )


_WANTED = {
    "text": "text",
    "choice": "text",
    "truth": "true or false",
    "whole": "a whole number without quotes",
    "number": "a number without quotes",
    "duration": "a duration such as 250ms, 5s or 1m30s",
    "part": "an object with named fields",
    "list": "a list",
    "map": "a mapping of names to values",
}


@functools.cache
def compiled(expression: str) -> re.Pattern[str]:
    """Compile a pattern of ours once."""
    return re.compile(expression)


def _is_refused(choice: str, kind: Type) -> bool:
    return any(choice in refused.values for refused in kind.refused)


def _suggest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    lowered = {candidate.lower(): candidate for candidate in names}
    near = difflib.get_close_matches(name[:64].lower(), list(lowered), n=1, cutoff=0.6)
    if near:
        return f"Did you mean {lowered[near[0]]}?"
    return f"Use one of {', '.join(names)}" if names else "Remove it"


def _say_missing(field: Field) -> str:
    text = field.text.rstrip(".")
    return f"Add {field.key}: {text[:1].lower()}{text[1:]}" if text else f"Add {field.key}"


def _describe(node: Node) -> str:
    match node:
        case Mapping():
            return "a mapping"
        case Sequence():
            return "a list"
        case Scalar(style="quoted"):
            return f"the text {shorten(node.text, 40)}"
        case Scalar():
            return "nothing" if node.is_null else shorten(node.text, 40)


def _show_range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"up to {high:g}"
    return f"from {low:g} to {high:.15g}" if high is not None else f"of at least {low:g}"
