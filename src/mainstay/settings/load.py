"""From arguments, environment and file to a program's settings, each value with where it came from.

In: the struct class, the arguments after the verb, the environment. Out: `Loaded`, or `OperatorError` with
code 2. Invariant: flag over environment over file over default; a key nobody declared is refused with the
nearest name. Each program's `main` calls it once; nothing else reads flags or the environment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from mainstay.settings.define import ENVIRONMENT_PREFIX, Field, OperatorError, list_fields, show_value
from mainstay.settings.read import read_value

S = TypeVar("S", bound=msgspec.Struct)

CONFIG_FLAG = "--config"
CONFIG_VARIABLE = ENVIRONMENT_PREFIX + "CONFIG"
USAGE = 2


class Loaded(msgspec.Struct, Generic[S], frozen=True):
    """Settings of one program. `origins` has for each key `default`, `--flag`, the variable, or
    `file:line`."""

    settings: S
    origins: dict[str, str]
    positional: tuple[str, ...] = ()


class HelpAsked(Exception):  # noqa: N818 (an outcome, not an error)
    """The user wants to read: print `text` on stdout, exit 0."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def load(
    program: type[S],
    verb: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    positional: int = 0,
) -> Loaded[S]:
    """Reads settings; `positional` is how many arguments without a flag the verb takes. Raises
    `OperatorError` (usage), `HelpAsked` for `--help` and `--print-settings`."""
    fields = list(list_fields(program))
    flags, rest, asked = _parse_flags(fields, verb, arguments)
    if "--help" in asked:
        raise HelpAsked(show_help(verb, program, fields))
    if len(rest) > positional:
        raise OperatorError(f"mainstay {verb}: unexpected argument {rest[positional]!r}; see --help", USAGE)
    values: dict[tuple[str, ...], Any] = {}
    origins = {field.key: "default" for field in fields}
    config = flags.pop(CONFIG_FLAG, None) or environment.get(CONFIG_VARIABLE)
    if config:
        for field, written, line in _read_file(Path(config), fields, verb):
            _take(values, origins, field, written, f"{config}:{line}", verb)
    for field in fields:
        if field.variable in environment:
            _take(values, origins, field, environment[field.variable], field.variable, verb)
    for field in fields:
        if field.flag in flags:
            _take(values, origins, field, flags[field.flag], field.flag, verb)
    loaded = Loaded(_build(program, values), origins, tuple(rest))
    if "--print-settings" in asked:
        raise HelpAsked(show_settings(loaded))
    return loaded


def show_settings(loaded: Loaded[Any]) -> str:
    """Every key with value and origin, one a line."""
    lines = []
    for field in list_fields(type(loaded.settings)):
        value: Any = loaded.settings
        for name in field.path:
            value = getattr(value, name)
        lines.append(f"{field.key} = {show_value(field, value)}  # {loaded.origins[field.key]}")
    return "\n".join(lines)


def show_help(verb: str, program: type[msgspec.Struct], fields: Sequence[Field]) -> str:
    """`--help` of a program whose flags are its settings."""
    import inspect  # it takes 0.7 MiB, and only who asks for help pays for it

    about = inspect.cleandoc(program.__doc__ or "")
    lines = [f"Usage: mainstay {verb} [OPTIONS]", "", about, "", "Options:"]
    for field in fields:
        heading = f"  {field.flag}" + ("" if field.type is bool else f" {field.metavar}")
        lines.append(heading)
        lines.append(f"      {field.setting.doc} [{field.variable}; default {field.shown_default}]")
    lines.append(f"  {CONFIG_FLAG} PATH")
    lines.append(f"      YAML file with any of these settings. [{CONFIG_VARIABLE}]")
    lines.append(
        "  --print-settings\n      Print every setting with its value and where it came from, then exit."
    )
    lines.append("  --help\n      Print this, then exit.")
    return "\n".join(lines)


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for a mistyped name, or nothing."""
    # Only mistakes pay for it.
    import difflib

    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]}?" if found else ""


def _parse_flags(
    fields: Sequence[Field], verb: str, arguments: Sequence[str]
) -> tuple[dict[str, Any], list[str], set[str]]:
    known = {field.flag: field for field in fields}
    found: dict[str, Any] = {}
    rest: list[str] = []
    asked: set[str] = set()
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            rest.extend(waiting)
            break
        if argument in ("-h", "--help", "--print-settings"):
            asked.add("--help" if argument == "-h" else argument)
            continue
        if not argument.startswith("-") or argument == "-":
            rest.append(argument)
            continue
        flag, equals, written = argument.partition("=")
        positive = "--" + flag.removeprefix("--no-")
        field = known.get(flag)
        if field is None and flag.startswith("--no-") and positive in known and known[positive].type is bool:
            found[positive] = "false"
            continue
        if field is None and flag != CONFIG_FLAG:
            hint = nearest(flag, [*known, CONFIG_FLAG, "--help", "--print-settings"])
            raise OperatorError(f"mainstay {verb}: unknown option {flag}{hint or '; see --help'}", USAGE)
        if not equals:
            if field is not None and field.type is bool:
                written = "true"
            elif not waiting:
                metavar = field.metavar if field else "PATH"
                raise OperatorError(f"mainstay {verb}: option {flag} needs a value ({metavar})", USAGE)
            else:
                written = waiting.pop(0)
        if field is not None and field.many and flag in found:
            written = f"{found[flag]},{written}"
        found[flag] = written
    return found, rest, asked


def _read_file(path: Path, fields: Sequence[Field], verb: str) -> list[tuple[Field, Any, int]]:
    import yaml  # only a program that is given a settings file pays for it

    try:
        root = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader)
        constructor = yaml.SafeLoader("")
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise OperatorError(
            f"mainstay {verb}: cannot read the settings file {path}: {error}", USAGE
        ) from None
    known = {field.key: field for field in fields}
    found: list[tuple[Field, Any, int]] = []

    def walk(node: yaml.Node, section: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            place = f"{path}:{node.start_mark.line + 1}"
            raise OperatorError(
                f"{place}: expected a map of settings" + (f" under {section}" if section else ""), USAGE
            )
        for key_node, value in node.value:
            name = str(key_node.value)
            key = f"{section}.{name}" if section else name
            line = key_node.start_mark.line + 1
            if key in known:
                found.append((known[key], constructor.construct_object(value, deep=True), line))
            elif any(each.startswith(key + ".") for each in known):
                walk(value, key)
            else:
                raise OperatorError(f"{path}:{line}: unknown setting {key}{nearest(key, known)}", USAGE)

    if root is not None:
        walk(root, "")
    return found


def _take(
    values: dict[tuple[str, ...], Any],
    origins: dict[str, str],
    field: Field,
    written: Any,
    origin: str,
    verb: str,
) -> None:
    try:
        values[field.path] = read_value(field, written)
    except ValueError as error:
        named = "" if origin in (field.flag, field.variable) else f" {field.key}:"
        raise OperatorError(f"mainstay {verb}: {origin}:{named} {error}", USAGE) from None
    origins[field.key] = origin


def _build(program: type[S], values: Mapping[tuple[str, ...], Any], section: tuple[str, ...] = ()) -> S:
    made: dict[str, Any] = {}
    for declared in msgspec.structs.fields(program):
        path = (*section, declared.name)
        if isinstance(declared.type, type) and issubclass(declared.type, msgspec.Struct):
            made[declared.name] = _build(declared.type, values, path)
        elif path in values:
            made[declared.name] = values[path]
    return program(**made)
