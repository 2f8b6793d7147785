"""Limits of what an author may write, and the refusal that ends the reading of one document.

In: used by both notations. Out: constants, each named in the problem it causes. Invariant: no text can cost more than
these allow.
"""

from __future__ import annotations

MAX_BYTES = 1 << 20
"""UTF-8 bytes of one object."""

MAX_DEPTH = 64
"""Levels of mappings and lists in one object."""

MAX_NODES = 100_000
"""Values of one object, an alias counting as all it stands for: nine levels of nine aliases would be a billion."""


class Unreadable(Exception):  # noqa: N818  it reports the author's mistake, not ours
    """Ends the reading of one document; ``line`` and ``column`` count from 1."""

    def __init__(self, code: str, reason: str, remedy: str, line: int, column: int) -> None:
        super().__init__(reason)
        self.code, self.reason, self.remedy, self.line, self.column = code, reason, remedy, line, column


def too_deep(line: int, column: int) -> Unreadable:
    """Return the refusal of a value nested deeper than any kind is."""
    reason = f"values are nested more than {MAX_DEPTH} deep"
    return Unreadable("MS1004", reason, "Flatten the object", line, column)


def too_many(line: int, column: int) -> Unreadable:
    """Return the refusal of an object of too many values."""
    reason = f"the object has more than {MAX_NODES:,} values, counting aliases each time"
    return Unreadable("MS1005", reason, "Split it into several objects", line, column)
