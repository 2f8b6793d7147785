"""How a kind is defined once: marks on the fields of a frozen struct, and what they mean.

In: ``Part`` subclasses whose fields are ``Annotated[type, "documentation", mark…]``. Out: ``Shape`` values, from which
come the decoder, the canonical JSON, the JSON Schema, the reference page and the table of what is supported.
Invariant: a field that exists in the API exists here, supported or marked ``NotYet``; nothing is ignored silently.

Field types: ``str`` · ``bool`` · ``int`` · ``float`` · ``Duration`` (milliseconds) · ``Literal[…]`` · a ``Part`` ·
``tuple[T, …]`` (list) · ``dict[str, T]`` · ``Anything`` (kept as read). ``T | None = None`` is an optional field.
JSON names are the camel-case form of the field's name, or what ``msgspec.field(name=…)`` says.
"""

from __future__ import annotations

import functools
import re
import types
import typing
from typing import Annotated, Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import msgspec


class Range(msgspec.Struct, frozen=True):
    """Bounds of a number, both included; None is open."""

    minimum: float | None = None
    maximum: float | None = None


class Pattern(msgspec.Struct, frozen=True):
    """A regular expression the whole text must match, and what it says in words."""

    expression: str
    meaning: str


class Length(msgspec.Struct, frozen=True):
    """Bounds of a list's, map's or text's length."""

    minimum: int = 0
    maximum: int | None = None


class Unit(msgspec.Struct, frozen=True):
    """What a number counts, e.g. ``bytes`` or ``percent``."""

    name: str


class Since(msgspec.Struct, frozen=True):
    """The release that first acts on the field."""

    release: str


class NotYet(msgspec.Struct, frozen=True):
    """The field exists in the API, but is refused; the reason says what it waits for."""

    reason: str


class NotYetValue(msgspec.Struct, frozen=True):
    """Values of a choice that exist in the API, but are refused."""

    values: tuple[str, ...]
    reason: str


class _Mark(msgspec.Struct, frozen=True):
    name: str


SECRET = _Mark("secret")
"""The value is shown by no verb, log or dump."""

_SPAN = _Mark("duration")
_ANYTHING = _Mark("anything")

Duration = Annotated[int, _SPAN]
"""Written ``250ms``, ``5s``, ``1m30s``, ``0.5s``; kept in milliseconds."""

Anything = Annotated[Any, _ANYTHING]
"""Any JSON value, kept as a node with positions."""

Port = Annotated[int, Range(1, 65_535)]
Count = Annotated[int, Range(0, 2**31 - 1)]
Labels = dict[str, str]

DURATION_PATTERN = Pattern(
    r"([0-9]{1,9}(\.[0-9]{1,9})?(h|ms|us|ns|m|s))+", "a duration such as 250ms, 5s or 1m30s"
)


class OneOf(msgspec.Struct, frozen=True):
    """Of these fields (by JSON name) exactly one is given; with ``optional`` at most one."""

    names: tuple[str, ...]
    optional: bool = False


class Part(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Base of every struct that an author writes; ``exclusive`` fields exclude each other."""

    exclusive: ClassVar[tuple[OneOf, ...]] = ()


Base = Literal["text", "truth", "whole", "number", "duration", "choice", "list", "map", "part", "anything"]


class Type(msgspec.Struct, frozen=True):
    """What a value may be. ``item`` is the type of list items and map values, ``part`` the struct of a nested object."""

    base: Base
    choices: tuple[str, ...] = ()
    item: Type | None = None
    part: type[Part] | None = None
    range: Range = Range()
    pattern: Pattern | None = None
    length: Length = Length()
    refused: tuple[NotYetValue, ...] = ()


class Field(msgspec.Struct, frozen=True):
    """One field: attribute name, JSON name, type, documentation and marks. ``default`` is what the struct holds when the
    author says nothing."""

    name: str
    key: str
    type: Type
    text: str
    required: bool
    default: Any = None
    unit: str = ""
    since: str = ""
    secret: bool = False
    not_yet: str = ""


class Shape(msgspec.Struct, frozen=True):
    """All fields of a struct by JSON name, in the order of definition."""

    part: type[Part]
    fields: dict[str, Field]
    rules: tuple[OneOf, ...]


@functools.cache
def shape_of(part: type[Part]) -> Shape:
    """Return the shape of a struct; raises TypeError for a field type that this module does not know."""
    hints = get_type_hints(part, include_extras=True)
    fields = {}
    for info in msgspec.structs.fields(part):
        field = _field_of(info, hints[info.name])
        fields[field.key] = field
    return Shape(part, fields, part.exclusive)


def _field_of(info: msgspec.structs.FieldInfo, hint: Any) -> Field:
    marks = _marks_of(hint)
    texts = [mark for mark in marks if isinstance(mark, str)]
    default = info.default
    if default is msgspec.NODEFAULT and info.default_factory is not msgspec.NODEFAULT:
        default = info.default_factory()
    return Field(
        name=info.name,
        key=info.encode_name,
        type=_type_of(hint),
        text=texts[0] if texts else "",
        required=info.required,
        default=None if default is msgspec.NODEFAULT else default,
        unit=next((mark.name for mark in marks if isinstance(mark, Unit)), ""),
        since=next((mark.release for mark in marks if isinstance(mark, Since)), ""),
        secret=SECRET in marks,
        not_yet=next((mark.reason for mark in marks if isinstance(mark, NotYet)), ""),
    )


def _marks_of(hint: Any) -> tuple[Any, ...]:
    """Return the marks of a hint, also of the one inside ``T | None``: a field's own before those of the type that it narrows."""
    if get_origin(hint) is Annotated:
        return (*reversed(hint.__metadata__), *_marks_of(get_args(hint)[0]))
    if get_origin(hint) in (Union, types.UnionType):
        inner = [argument for argument in get_args(hint) if argument is not type(None)]
        return _marks_of(inner[0]) if len(inner) == 1 else ()
    return ()


def _type_of(hint: Any) -> Type:
    marks = _marks_of(hint)
    bare = _strip(hint)
    found = _base_of(bare, marks)
    return msgspec.structs.replace(
        found,
        range=next((mark for mark in marks if isinstance(mark, Range)), found.range),
        pattern=next((mark for mark in marks if isinstance(mark, Pattern)), found.pattern),
        length=next((mark for mark in marks if isinstance(mark, Length)), found.length),
        refused=tuple(mark for mark in reversed(marks) if isinstance(mark, NotYetValue)),
    )


def _strip(hint: Any) -> Any:
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif get_origin(hint) in (Union, types.UnionType):
            inner = [argument for argument in get_args(hint) if argument is not type(None)]
            if len(inner) != 1:
                return hint
            hint = inner[0]
        else:
            return hint


def _base_of(bare: Any, marks: tuple[Any, ...]) -> Type:
    if _ANYTHING in marks:
        return Type("anything")
    if _SPAN in marks:
        return Type("duration", pattern=DURATION_PATTERN)
    origin = get_origin(bare)
    if origin is Literal:
        return Type("choice", choices=tuple(get_args(bare)))
    if origin is tuple:
        return Type("list", item=_type_of(get_args(bare)[0]))
    if origin is dict:
        return Type("map", item=_type_of(get_args(bare)[1]))
    if isinstance(bare, type) and issubclass(bare, Part):
        return Type("part", part=bare)
    bases: dict[Any, Base] = {str: "text", bool: "truth", int: "whole", float: "number"}
    if bare in bases:
        return Type(bases[bare])
    raise TypeError(f"{bare!r} is not a field type")


_UNITS = {"h": 3_600_000_000_000, "m": 60_000_000_000, "s": 10**9, "ms": 10**6, "us": 1_000, "ns": 1}
_TERM = re.compile(r"([0-9]+)(?:\.([0-9]+))?(h|ms|us|ns|m|s)")
_WHOLE_DURATION = re.compile(DURATION_PATTERN.expression)
MAX_DURATION = 1_000 * 3_600 * 24 * 3_650
"""Ten years, in milliseconds; the engine's timers hold more."""


def parse_duration(text: str) -> int | None:
    """Return milliseconds, rounded up so that a short time is never none; None for other texts or above ten years."""
    if len(text) > 64 or not _WHOLE_DURATION.fullmatch(text):
        return None
    nanoseconds = 0
    for whole, fraction, unit in _TERM.findall(text):
        nanoseconds += int(whole) * _UNITS[unit]
        nanoseconds += int(fraction or "0") * _UNITS[unit] // 10 ** len(fraction)
    milliseconds = -(-nanoseconds // 10**6)
    return milliseconds if milliseconds <= MAX_DURATION else None


def show_duration(milliseconds: int) -> str:
    """Return the shortest text that ``parse_duration`` reads as these milliseconds."""
    if milliseconds % 1_000:
        return f"{milliseconds}ms"
    return f"{milliseconds // 1_000}s"


def parts_below(part: type[Part]) -> typing.Iterator[type[Part]]:
    """Yield the struct and every struct reachable from it, each once, in order of definition."""
    seen: set[type[Part]] = set()
    waiting = [part]
    while waiting:
        current = waiting.pop(0)
        if current in seen:
            continue
        seen.add(current)
        yield current
        for field in shape_of(current).fields.values():
            inner: Type | None = field.type
            while inner and inner.item:
                inner = inner.item
            if inner and inner.part:
                waiting.append(inner.part)
