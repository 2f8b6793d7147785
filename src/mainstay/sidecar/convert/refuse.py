"""Refusals by path, and the guard that finds fields nobody reads.

In: messages. Out: `Refused`. Invariant: `path` is the field path inside the resource, as in `filter_chains[0].filters[1]`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any


class Refused(Exception):  # noqa: N818 (an outcome, not an error of ours)
    """A resource that cannot be taken. `path` is empty for the whole of it."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.path = path
        self.reason = reason

    def within(self, prefix: str) -> Refused:
        """The same refusal, seen from one level up."""
        joined = prefix + (self.path if self.path.startswith("[") or not self.path else f".{self.path}")
        return Refused(joined, self.reason)


class _Ignored(list[str]):
    """What was passed over, by path. `place`: the fields that conversion is inside of."""

    def __init__(self) -> None:
        super().__init__()
        self.place: list[str] = []


_ignored: ContextVar[_Ignored | None] = ContextVar("ignored", default=None)


@contextmanager
def lenient() -> Iterator[list[str]]:
    """Within it, unsupported fields are listed instead of refused (`--lenient`)."""
    found = _Ignored()
    token = _ignored.set(found)
    try:
        yield found
    finally:
        _ignored.reset(token)


def lenient_if(wanted: bool) -> AbstractContextManager[list[str]]:
    """`lenient`, or nothing."""
    return lenient() if wanted else nullcontext([])


class at:  # noqa: N801 (reads as a preposition)
    """Refusals inside get `path` in front. A class, for conversions enter it hundreds of times a resource."""

    __slots__ = ("_path",)

    def __init__(self, path: str) -> None:
        self._path = path

    def __enter__(self) -> None:
        ignored = _ignored.get()
        if ignored is not None:
            ignored.place.append(self._path)

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        ignored = _ignored.get()
        if ignored is not None:
            ignored.place.pop()
        if isinstance(error, Refused):
            raise error.within(self._path) from None


_known: dict[str, frozenset[str]] = {}


def known(message: str, fields: Collection[str]) -> frozenset[str]:
    """Declares which fields of a message are taken, by its full name; the support table is made of these declarations."""
    found = frozenset(fields)
    _known[message] = _known.get(message, frozenset()) | found
    return found


def known_fields() -> Mapping[str, frozenset[str]]:
    """Message → fields that some converter takes."""
    return _known


def check(message: Any, known: Collection[str], reason: str = "is not supported") -> None:
    """Refuses the first field that is set and not in `known`. Fields at their default count as not set."""
    for field, _ in message.ListFields():
        if field.name not in known:
            unsupported(field.name, reason)


def _within(place: list[str], refused: Refused) -> Refused:
    for prefix in reversed(place):
        refused = refused.within(prefix)
    return refused


def unsupported(path: str, reason: str = "is not supported") -> None:
    """Refuses, or notes under `lenient`."""
    ignored = _ignored.get()
    if ignored is None:
        raise Refused(path, reason)
    ignored.append(str(_within(ignored.place, Refused(path, reason))))
