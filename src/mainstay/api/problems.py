"""Makes problems of this room, so that a code and its severity always agree with the table.

In: code, reason, remedy, place. Out: ``Problem``. Raises KeyError for a code that the table lacks, which is our bug.
"""

from __future__ import annotations

from mainstay.api.codes import CODES
from mainstay.model.problem import Problem


def make_problem(
    code: str,
    reason: str,
    remedy: str,
    subject: str = "",
    file: str = "",
    line: int = 0,
    column: int = 0,
    path: str = "",
) -> Problem:
    """Return a problem of the severity its code has; ``subject`` is ``Kind/namespace/name``."""
    return Problem(
        code, CODES[code].severity, subject, reason, remedy, file=file, line=line, column=column, path=path
    )


def shorten(text: str, limit: int = 80) -> str:
    """Return text fit for a message: one line, quoted, cut at ``limit`` characters."""
    shown = text if len(text) <= limit else text[: limit - 1] + "…"
    return repr(shown)
