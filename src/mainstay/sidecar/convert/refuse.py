"""Refusals by path, and the guard that finds fields nobody reads.

In: messages. Out: `Refused`. Invariant: `path` is the field path inside the resource, as in `filter_chains[0].filters[1]`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, NamedTuple


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
_plain: dict[str, Known] = {}
_FEW = 6
"""So many fields are asked for one by one; listing what is set makes an object of each value."""


class _Left(NamedTuple):
    """What a declaration leaves to look at of a type of messages. `others`: fields that are not taken, and whether they know
    that they are set; `None` if they are many. `inside`: fields that hold plain messages, whether many, and what is taken."""

    others: tuple[tuple[str, bool], ...] | None
    inside: tuple[tuple[str, bool, Known], ...]


class Known(frozenset[str]):
    """Fields that are taken, and what that leaves of a message."""

    def __init__(self, _: Collection[str] = ()) -> None:
        self._left: dict[type, _Left] = {}

    def left(self, message: Any) -> _Left:
        kind = type(message)
        try:
            return self._left[kind]
        except KeyError:
            fields = sorted(message.DESCRIPTOR.fields, key=lambda field: field.number)
            others = tuple(
                (field.name, bool(field.has_presence)) for field in fields if field.name not in self
            )
            inside = tuple(
                (field.name, bool(field.is_repeated), _plain[field.message_type.full_name])
                for field in fields
                if field.name in self
                and field.message_type is not None
                and field.message_type.full_name in _plain
            )
            self._left[kind] = found = _Left(others if len(others) <= _FEW else None, inside)
            return found


def known(message: str, fields: Collection[str]) -> Known:
    """Declares which fields of a message are taken, by its full name; the support table is made of these declarations. Its
    converter passes them to `check`."""
    found = Known(fields)
    _known[message] = _known.get(message, frozenset()) | found
    return found


def plain(message: str, fields: Collection[str]) -> None:
    """The same for a message that no converter checks by itself: `check` of the message around it looks into it."""
    _plain[message] = known(message, fields)


def known_fields() -> Mapping[str, frozenset[str]]:
    """Message → fields that some converter takes."""
    return _known


def check(message: Any, known: Known, reason: str = "") -> None:
    """Refuses the first field that is set and not in `known`, also of plain messages inside. Fields at their default count as
    not set."""
    others, inside = known.left(message)
    if others is None:
        for field, _ in message.ListFields():
            if field.name not in known:
                unsupported(field.name, reason or why_refused(message, field.name))
    else:
        for name, knows_presence in others:
            if message.HasField(name) if knows_presence else getattr(message, name):
                unsupported(name, reason or why_refused(message, name))
    for name, is_repeated, taken in inside:
        if is_repeated:
            for index, each in enumerate(getattr(message, name)):
                with at(f"{name}[{index}]"):
                    check(each, taken)
        elif message.HasField(name):
            with at(name):
                check(getattr(message, name), taken)


def why_refused(message: Any, field: str) -> str:
    """Words for a field that is not taken; the reasons are loaded only where there is something to refuse."""
    from mainstay.sidecar.support.reasons import REFUSED

    reason = REFUSED.get(message.DESCRIPTOR.full_name, {}).get(field)
    return f"is not supported: {reason}" if reason else "is not supported"


def _within(place: list[str], refused: Refused) -> Refused:
    for prefix in reversed(place):
        refused = refused.within(prefix)
    return refused


def is_lenient() -> bool:
    """Whether what is not supported is noted instead of refused."""
    return _ignored.get() is not None


def unsupported(path: str, reason: str = "is not supported") -> None:
    """Refuses, or notes under `lenient`."""
    ignored = _ignored.get()
    if ignored is None:
        raise Refused(path, reason)
    ignored.append(str(_within(ignored.place, Refused(path, reason))))
