"""How a program's settings are declared: one frozen struct, each field with its mark.

In: a struct class whose fields are `Annotated[type, Setting(...)]`, or nested structs for sections. Out: the
list of its fields, each with the flag, environment variable and file key that set it. Invariant: the three
names follow from the field's path alone (`drain.min` is `--drain-min`, `MAINSTAY_DRAIN_MIN` and `drain: {min:
…}`). Used by `load`, `document` and the programs' own files; imports nothing that a sidecar may not load.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

ENVIRONMENT_PREFIX = "MAINSTAY_"


class OperatorError(Exception):
    """Ends a program in words for its operator: what happened, to what, what to check. `code` is its exit
    code (1 failed, 2 usage, 3 refused with problems, 4 unreachable)."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


class Setting(msgspec.Struct, frozen=True):
    """The mark of a field. `minimum` and `maximum` are inclusive and in the field's unit."""

    doc: str
    unit: str = ""
    """`ms` makes the field a duration: plain numbers are ms, and `250ms`, `5s`, `1m30s`, `24h` are
    understood."""
    minimum: float | None = None
    maximum: float | None = None
    metavar: str = ""
    default_text: str = ""
    """What the documentation says instead of a default that depends on the machine."""


class Field(msgspec.Struct, frozen=True):
    """One setting of a program. Names that Python keeps for itself end in `_`, which no user sees."""

    path: tuple[str, ...]
    setting: Setting
    type: Any
    """One of str, int, float, bool, Path."""
    choices: tuple[str, ...]
    many: bool
    """A list: comma-separated in flags (which may repeat) and in the environment, a sequence in the file."""
    optional: bool
    default: Any

    @property
    def key(self) -> str:
        return ".".join(name.rstrip("_") for name in self.path)

    @property
    def flag(self) -> str:
        return "--" + "-".join(name.rstrip("_") for name in self.path).replace("_", "-")

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + "_".join(name.rstrip("_") for name in self.path).upper()

    @property
    def metavar(self) -> str:
        """What stands for the value in help: `PORT`, `DURATION`, `a|b`."""
        if self.setting.metavar:
            return self.setting.metavar
        if self.choices:
            return "|".join(self.choices)
        if self.setting.unit == "ms":
            return "DURATION"
        names = {str: "TEXT", int: "NUMBER", float: "NUMBER", bool: "true|false", Path: "PATH"}
        return names[self.type] + (",…" if self.many else "")

    @property
    def shown_default(self) -> str:
        return self.setting.default_text or show_value(self, self.default) or "none"


def list_fields(program: type[msgspec.Struct], section: tuple[str, ...] = ()) -> Iterator[Field]:
    """All fields of a settings struct, sections included, in the order of their declaration."""
    hints = get_type_hints(program, include_extras=True)
    for declared in msgspec.structs.fields(program):
        hint = hints[declared.name]
        path = (*section, declared.name)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            yield from list_fields(hint, path)
            continue
        if get_origin(hint) is not Annotated:
            raise TypeError(f"{program.__name__}.{declared.name} has no Setting mark")
        inner, setting = get_args(hint)[:2]
        default = declared.default
        if default is msgspec.NODEFAULT:
            if declared.default_factory is msgspec.NODEFAULT:
                raise TypeError(f"{program.__name__}.{declared.name} has no default")
            default = declared.default_factory()
        plain, optional = _without_none(inner)
        many = get_origin(plain) is tuple
        if many:
            plain = get_args(plain)[0]
        choices: tuple[str, ...] = ()
        if get_origin(plain) is Literal:
            choices, plain = get_args(plain), str
        yield Field(path, setting, plain, choices, many, optional, default)


def show_value(field: Field, value: Any) -> str:
    """A value as one would write it."""
    if value is None:
        return "none"
    if field.many:
        return ",".join(str(each) for each in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if field.setting.unit == "ms":
        return show_duration(value)
    return str(value)


def show_duration(ms: int) -> str:
    """`90000` as `1m30s`, `250` as `250ms`."""
    if ms == 0:
        return "0s"
    parts = []
    for size, name in ((3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")):
        count, ms = divmod(ms, size)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts)


def _without_none(hint: Any) -> tuple[Any, bool]:
    if get_origin(hint) in (Union, types.UnionType):
        rest = [each for each in get_args(hint) if each is not type(None)]
        if len(rest) == 1:
            return rest[0], True
    return hint, False
