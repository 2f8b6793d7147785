"""One value, from text or from a settings file, to its field's type.

In: a field and what was written. Out: the value, or ValueError with the reason in words. Invariant: never
guesses; what is out of range or of another type is refused. Called by `load`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mainstay.settings.define import Field, show_value

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


def read_value(field: Field, written: Any) -> Any:
    """`written` is text (flag, environment) or what YAML made of a file's value. Raises ValueError."""
    if written is None or (field.optional and written == "none"):
        if field.optional:
            return None
        raise ValueError("a value is needed")
    if field.many:
        parts = written.split(",") if isinstance(written, str) else written
        if not isinstance(parts, list):
            raise ValueError(f"expected a list, got {written!r}")
        return tuple(
            _read_one(field, part.strip() if isinstance(part, str) else part) for part in parts if part
        )
    return _read_one(field, written)


def _read_one(field: Field, written: Any) -> Any:
    if isinstance(written, (dict, list)):
        raise ValueError(f"expected {field.metavar}, got a {'map' if isinstance(written, dict) else 'list'}")
    if field.choices:
        if written not in field.choices:
            raise ValueError(f"{written!r} is none of {', '.join(field.choices)}")
        return written
    if field.type is bool:
        return _read_bool(written)
    if field.type is Path:
        return Path(str(written)).expanduser()
    if field.type is str:
        return str(written)
    number = read_duration(written) if field.setting.unit == "ms" else _read_number(field, written)
    low, high = field.setting.minimum, field.setting.maximum
    if (low is not None and number < low) or (high is not None and number > high):
        least = "" if low is None else f" at least {show_value(field, low)}"
        most = "" if high is None else f" at most {show_value(field, high)}"
        raise ValueError(f"{written} is out of range:{least}{' and' if least and most else ''}{most}")
    return number


def _read_bool(written: Any) -> bool:
    if isinstance(written, bool):
        return written
    text = str(written).lower()
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    raise ValueError(f"{written!r} is neither true nor false")


def _read_number(field: Field, written: Any) -> float | int:
    if isinstance(written, bool):
        raise ValueError(f"expected a number, got {written!r}")
    try:
        return int(written) if field.type is int else float(written)
    except (TypeError, ValueError):
        raise ValueError(f"{written!r} is not a {'whole ' if field.type is int else ''}number") from None


def read_duration(written: Any) -> int:
    """`1m30s`, `250ms`, `5s`, `24h` or a plain number of ms, as ms."""
    if isinstance(written, int) and not isinstance(written, bool):
        return written
    text = str(written)
    if text.isascii() and text.isdigit():
        return int(text)
    found = _DURATION.fullmatch(text)
    if not found or not any(found.groups()):
        raise ValueError(f"{text!r} is no duration; write 250ms, 5s, 1m30s or 24h")
    hours, minutes, seconds, ms = found.groups()
    return (
        int(hours or 0) * 3_600_000
        + int(minutes or 0) * 60_000
        + round(float(seconds or 0) * 1_000)
        + int(ms or 0)
    )
