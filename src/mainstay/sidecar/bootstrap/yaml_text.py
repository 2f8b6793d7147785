"""YAML as Envoy reads it, so that one file means the same to both.

In: text. Out: plain values. Scalars without quotes are null, boolean or whole numbers by Envoy's rules (`y`, `on`, `0x1f`, `0777`
included); all else is text, fractions and dates too: what a field's type makes of it comes later. There are no merge keys.
Loaded only to read YAML.
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
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        words = ", ".join(part for part in (error.context, error.problem) if part)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        raise Refused("", f"{place}{words}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise Refused("", " ".join(str(error).split())) from None
