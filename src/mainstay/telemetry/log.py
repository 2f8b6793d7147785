"""Our own programs' log: one line a message, for people and for machines.

In: a level, a constant message, fields. Out: `time level room message key=value …`, or one JSON object, on
stderr. Invariants: a message is one line whatever its fields hold; the same message of a room is written at
most `BURST` times in `WINDOW_S`, and the next one says how many were left out. Secrets are never given to it:
types that hold them print `…`. Every room uses `get_log(room)`; each program calls `configure` once.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, Literal, TextIO

BURST = 20
WINDOW_S = 1.0
MAX_FIELD_CHARACTERS = 2_000
"""A longer field is cut, and says so by ending in `…`."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_ROOT = "mainstay"


class Log:
    """The log of one room."""

    __slots__ = ("_logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger

    def debug(self, message: str, **fields: Any) -> None:
        self._write(logging.DEBUG, message, fields)

    def info(self, message: str, **fields: Any) -> None:
        self._write(logging.INFO, message, fields)

    def warning(self, message: str, **fields: Any) -> None:
        self._write(logging.WARNING, message, fields)

    def error(self, message: str, **fields: Any) -> None:
        self._write(logging.ERROR, message, fields)

    def exception(self, message: str, **fields: Any) -> None:
        """An error with the traceback of the exception being handled: for bugs of ours, at a named
        boundary."""
        if self._logger.isEnabledFor(logging.ERROR):
            self._logger.error(message, extra={"fields": fields}, exc_info=True)

    def _write(self, level: int, message: str, fields: dict[str, Any]) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, message, extra={"fields": fields})


def get_log(room: str) -> Log:
    """The log of a room: `graph`, `xds`, `sources.files` …"""
    return Log(logging.getLogger(f"{_ROOT}.{room}"))


def configure(
    level: str = "info",
    levels: Mapping[str, str] | None = None,
    form: Literal["text", "json"] = "text",
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.time,
) -> None:
    """Sends all rooms' messages to `stream` (stderr). `levels` are exceptions by room, such as `{"xds":
    "debug"}`. Raises ValueError for an unknown level."""
    root = logging.getLogger(_ROOT)
    handler = logging.StreamHandler(stream if stream is not None else sys.stderr)
    handler.setFormatter(_Json() if form == "json" else _Text())
    handler.addFilter(_RateLimit(clock))
    root.handlers[:] = [handler]
    root.propagate = False
    root.setLevel(_level(level))
    for room, room_level in (levels or {}).items():
        logging.getLogger(f"{_ROOT}.{room}").setLevel(_level(room_level))


def _level(name: str) -> int:
    if name not in LEVELS:
        raise ValueError(f"{name!r} is no log level; use one of {', '.join(LEVELS)}")
    return LEVELS[name]


class _RateLimit(logging.Filter):
    """Counts by room and message, which are constants of the program: bounded by it, never by its users."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, str], list[float]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        now = self._clock()
        window = self._windows.setdefault((record.name, str(record.msg)), [now, 0])
        if not 0 <= now - window[0] < WINDOW_S:
            left_out = int(window[1]) - BURST
            if left_out > 0:
                record.fields = {**getattr(record, "fields", {}), "left_out": left_out}
            window[0], window[1] = now, 0
        window[1] += 1
        return window[1] <= BURST


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        parts = [_time(record), record.levelname.lower(), _room(record), record.getMessage()]
        parts.extend(f"{name}={_quote(_cut(value))}" for name, value in _fields(record).items())
        line = " ".join(parts)
        return line + "\n" + self.formatException(record.exc_info) if record.exc_info else line


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "room": _room(record),
        }
        told["message"] = record.getMessage()
        for name, value in _fields(record).items():
            told[name] = value if isinstance(value, (int, float, bool, type(None))) else _cut(value)
        if record.exc_info:
            told["traceback"] = self.formatException(record.exc_info)
        return json.dumps(told, ensure_ascii=False)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = getattr(record, "fields", {})
    return fields


def _time(record: logging.LogRecord) -> str:
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{whole}.{int(record.msecs):03d}Z"


def _room(record: logging.LogRecord) -> str:
    return record.name.removeprefix(_ROOT + ".")


def _cut(value: Any) -> str:
    text = str(value)
    return text if len(text) <= MAX_FIELD_CHARACTERS else text[:MAX_FIELD_CHARACTERS] + "…"


def _quote(text: str) -> str:
    """As it is if it reads as one word, else as a JSON string, which also keeps line breaks out."""
    plain = text.isprintable() and not any(sign in text for sign in ' "=') and text
    return text if plain else json.dumps(text, ensure_ascii=False)
