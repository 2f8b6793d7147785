"""YAML as Envoy reads it, so that one file means the same to both.

In: text. Out: plain values, or the line on which something stands. Scalars without quotes are null, boolean or whole numbers
by Envoy's rules (`y`, `on`, `0x1f`, `0777` included); all else is text, fractions and dates too: what a field's type makes of it
comes later. There are no merge keys. What aliases multiply is bounded. Loaded only to read YAML, and to say where it is wrong.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

from mainstay.sidecar.convert.refuse import Refused

_WORDS = {
    "y": True,
    "yes": True,
    "true": True,
    "on": True,
    "n": False,
    "no": False,
    "false": False,
    "off": False,
}
_BOOL = re.compile(r"y|yes|true|on|n|no|false|off", re.IGNORECASE)
_INT = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_NULL = re.compile(r"~|null|Null|NULL|")
MAX_VALUES = 1_000_000
"""Of a file, counting what an alias stands for each time."""
MAX_NESTING = 250
"""Of mappings and lists; messages may be nested 100 deep."""
_STEP = re.compile(r"\.?([^.\[\]]+)|\[(\d+)\]|\['([^']*)'\]")
_TAG = "tag:yaml.org,2002:"
_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[misc]  # the C loader has no type
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}


def _bool(loader: Any, node: Any) -> bool | str:
    text: str = loader.construct_scalar(node)
    # All small, all capitals, or a capital first, as yaml-cpp has it.
    return _WORDS[text.lower()] if text in (text.lower(), text.upper(), text.capitalize()) else text


def _int(loader: Any, node: Any) -> int | str:
    text: str = loader.construct_scalar(node)
    digits = text.lstrip("+-")
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") and digits != "0" else 10
    value = int(text, base)
    # Larger ones may be text in JSON of Protobuf, and keep their digits so.
    return value if -(1 << 31) <= value < 1 << 31 else str(value)


for _name, _pattern in (("bool", _BOOL), ("int", _INT), ("null", _NULL)):
    _Loader.add_implicit_resolver(
        _TAG + _name, re.compile(rf"^(?:{_pattern.pattern})$", _pattern.flags), None
    )
_Loader.add_constructor(f"{_TAG}bool", _bool)
_Loader.add_constructor(f"{_TAG}int", _int)


def load(text: str) -> Any:
    """The values; raises `Refused`, by line."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node, {})
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.context, error.problem) if part)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise Refused("", f"{place}{words}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise Refused("", " ".join(str(error).split())) from None


def _count(node: Any, known: dict[int, int], depth: int = 0) -> int:
    """How many values a node is; `known` has those that were counted, 0 for one that is being counted."""
    counted = known.get(id(node))
    if counted == 0:
        raise Refused("", f"{_place(node)}: an alias stands inside what it stands for")
    if counted is not None:
        return counted
    if depth > MAX_NESTING:
        raise Refused("", f"{_place(node)}: is nested deeper than {MAX_NESTING}")
    known[id(node)] = 0
    total = 1
    for child in _children(node):
        total += _count(child, known, depth + 1)
    if total > MAX_VALUES:
        raise Refused("", f"{_place(node)}: more than {MAX_VALUES:,} values, counting aliases each time")
    known[id(node)] = total
    return total


def _children(node: Any) -> list[Any]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _place(node: Any) -> str:
    return f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}"


class Lines:
    """On which line of a text something stands. JSON is YAML enough for it."""

    def __init__(self, text: str) -> None:
        try:
            self._root = yaml.compose(text, Loader=_Loader)
        except (yaml.YAMLError, ValueError):
            self._root = None

    def find(self, path: str) -> int | None:
        """The line of what stands at a path such as `static_resources.clusters[0].name`, or at as much of it as there is."""
        node, line = self._root, None
        for step in _STEP.finditer(path.partition(": ")[0]):
            name, index, key = step.groups()
            if index is not None and isinstance(node, yaml.SequenceNode) and int(index) < len(node.value):
                node = node.value[int(index)]
                line = node.start_mark.line + 1
            elif index is None and isinstance(node, yaml.MappingNode):
                found = _find(node, name or key)
                if found is None:
                    break
                line, node = found[0].start_mark.line + 1, found[1]
            elif index != "0":
                # One entry may stand for itself, without its list.
                break
        return line


def _find(node: Any, name: str) -> tuple[Any, Any] | None:
    """The pair of a mapping, under the field's name or the one that JSON has for it."""
    names = (name, re.sub("_([a-z])", lambda letter: letter[1].upper(), name))
    return next((pair for pair in node.value if pair[0].value in names), None)
