"""What a document is made of before anyone knows its kind: scalars, sequences and mappings with their positions.

In: built by ``document`` (YAML) and ``json_document``. Out: read by ``decode`` and asked for positions by whoever reports
a problem. Invariant: scalars keep their text; what it means is decided by the field that receives it, so ``on`` or
``0123`` is text where text is wanted. Lines and columns count from 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

Path = tuple[str | int, ...]
"""Field names and list positions from the root of an object, e.g. ``("spec", "http", 0)``."""

Style = Literal["plain", "quoted", "json"]
"""``plain``: unquoted YAML, may become text, number or truth value · ``quoted``: text · ``json``: a bare JSON number,
``true``, ``false`` or ``null``, which is never text."""

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


class Scalar(msgspec.Struct, frozen=True, gc=False):
    """One value without parts."""

    text: str
    style: Style
    line: int
    column: int

    @property
    def is_null(self) -> bool:
        """Tell whether it stands for "not given"."""
        return self.style != "quoted" and self.text in _NULLS


class Sequence(msgspec.Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]
    line: int
    column: int


class Entry(msgspec.Struct, frozen=True):
    """A key of a mapping, where it stands, and its value."""

    key: str
    line: int
    column: int
    value: Node


class Mapping(msgspec.Struct, frozen=True):
    """Keys and values in the author's order; keys are unique."""

    entries: tuple[Entry, ...]
    line: int
    column: int

    def find(self, key: str) -> Entry | None:
        """Return the entry of this key, or None."""
        return next((entry for entry in self.entries if entry.key == key), None)


Node = Scalar | Sequence | Mapping


def show_path(path: Path) -> str:
    """Render ``spec.http[0].match``; names that are not plain words are put in brackets and quotes."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        elif step.replace("_", "a").replace("-", "a").isalnum():
            shown += f".{step}" if shown else step
        else:
            shown += f'["{step}"]'
    return shown


def locate(root: Node, path: Path) -> tuple[int, int]:
    """Return line and column of the deepest part of ``path`` that exists (the key's position for a mapping's value)."""
    node: Node = root
    position = (root.line, root.column)
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str):
            entry = node.find(step)
            if entry is None:
                break
            node, position = entry.value, (entry.line, entry.column)
        elif isinstance(node, Sequence) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            position = (node.line, node.column)
        else:
            break
    return position


def find(root: Node, path: Path) -> Node | None:
    """Return the node at ``path``, or None."""
    node: Node = root
    for step in path:
        if isinstance(node, Mapping) and isinstance(step, str):
            entry = node.find(step)
            if entry is None:
                return None
            node = entry.value
        elif isinstance(node, Sequence) and isinstance(step, int) and 0 <= step < len(node.items):
            node = node.items[step]
        else:
            return None
    return node


def plain_value(node: Node) -> Any:
    """Return the node as JSON values, for fields that take anything; plain scalars by YAML 1.2's core rules."""
    match node:
        case Mapping():
            return {entry.key: plain_value(entry.value) for entry in node.entries}
        case Sequence():
            return [plain_value(item) for item in node.items]
        case Scalar():
            return _plain_scalar(node)


def _plain_scalar(scalar: Scalar) -> Any:
    if scalar.style == "quoted":
        return scalar.text
    if scalar.is_null:
        return None
    if (truth := parse_truth(scalar.text)) is not None:
        return truth
    if (whole := parse_whole(scalar.text)) is not None:
        return whole
    if (number := parse_number(scalar.text)) is not None:
        return number
    return scalar.text


def parse_truth(text: str) -> bool | None:
    """Read a truth value by YAML 1.2 (``true`` and ``false`` in its three spellings), else None."""
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    return None


_MAX_DIGITS = 20
"""Longer whole numbers exceed every field; Python refuses to read those of thousands of digits."""


def parse_whole(text: str) -> int | None:
    """Read a decimal whole number, also as JSON may write it (``1e3``, ``2.0``), else None."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    if digits.isascii() and digits.isdigit():
        return int(text) if len(digits) <= _MAX_DIGITS else None
    number = parse_number(text)
    if number is not None and number.is_integer() and abs(number) < 2**53:
        return int(number)
    return None


def parse_number(text: str) -> float | None:
    """Read a decimal number, else None; neither infinite nor undefined ones, and no underscores."""
    if not text.isascii() or "_" in text or text[:1].isspace() or text[-1:].isspace():
        return None
    if not any(character.isdigit() for character in text):
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if abs(number) != float("inf") else None


def walk(node: Node) -> Iterator[Node]:
    """Yield the node and every node below it."""
    waiting = [node]
    while waiting:
        current = waiting.pop()
        yield current
        if isinstance(current, Mapping):
            waiting.extend(entry.value for entry in current.entries)
        elif isinstance(current, Sequence):
            waiting.extend(current.items)
