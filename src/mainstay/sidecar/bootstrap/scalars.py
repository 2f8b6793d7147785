"""Scalars by the type of their field, with the freedoms that Envoy takes: names of enums in any case, booleans and numbers in
quotes. What is no such scalar is refused by path.
"""

from __future__ import annotations

from typing import Any

from mainstay.sidecar.convert.refuse import Refused

_STRING, _BOOL, _FLOATS = 9, 7, (5, 6)
"""Protobuf's numbers of C++ types."""
WRAPPED = (
    "BoolValue",
    "StringValue",
    "UInt32Value",
    "UInt64Value",
    "Int32Value",
    "Int64Value",
    "DoubleValue",
    "FloatValue",
)


def scalar(value: Any, field: Any, path: str) -> Any:
    """The value as JSON of Protobuf has it."""
    if isinstance(value, list | dict):
        raise Refused(path, "must be a single value")
    if field.enum_type is not None:
        return _enum(value, field.enum_type, path)
    if field.cpp_type == _BOOL:
        return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value
    if field.cpp_type == _STRING:
        if not isinstance(value, str):
            raise Refused(path, f"must be text: write {json_text(value)} in quotes")
        return value
    if field.cpp_type in _FLOATS:
        return value
    return _whole(value, path)


def json_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _whole(value: Any, path: str) -> Any:
    """A whole number, also one that is written as a fraction."""
    if isinstance(value, bool):
        raise Refused(path, "must be a number")
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            raise Refused(path, f"{value!r} is no number") from None
        if number.is_integer() and abs(number) < 1 << 53:
            return int(number) if "." in value or "e" in value.lower() else value
    return value


def _enum(value: Any, kind: Any, path: str) -> Any:
    if not isinstance(value, str):
        return value
    if value in kind.values_by_name:
        return value
    if value.lstrip("-").isdecimal():
        return int(value)
    for name in kind.values_by_name:
        if name.lower() == value.lower():
            return name
    raise Refused(path, f"{value!r} is none of {', '.join(kind.values_by_name)}")
