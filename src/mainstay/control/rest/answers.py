"""How the REST API says things: JSON, and problem+json (RFC 9457) with the list of problems.

In: values, problems, exceptions of the rooms below. Out: responses. Invariant: no error leaves without a
title, a detail in words and a status; a bug of ours becomes 500 without its text (the log has it).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from starlette.responses import Response

from mainstay.model.problem import Problem

_encode = msgspec.json.Encoder(order="deterministic").encode

TITLES = {
    400: "Bad request",
    401: "No valid credential",
    403: "Forbidden",
    404: "Not found",
    405: "Method not allowed",
    409: "Conflict",
    410: "Gone",
    412: "Precondition failed",
    413: "Too large",
    415: "Unsupported media type",
    422: "Refused",
    500: "Internal error",
    503: "Not ready",
    504: "Not in time",
    507: "Out of space",
}


class RestError(Exception):
    """Ends a request. `problems` are shown one by one by the CLI."""

    def __init__(self, status: int, detail: str, problems: Iterable[Problem] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.problems = tuple(problems)


def answer(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON of plain values and msgspec structs."""
    return Response(_encode(value), status, headers, media_type="application/json")


def refuse(error: RestError) -> Response:
    """problem+json."""
    said: dict[str, Any] = {
        "type": "about:blank",
        "title": TITLES.get(error.status, "Error"),
        "status": error.status,
        "detail": error.detail,
    }
    if error.problems:
        said["problems"] = error.problems
    headers = {"WWW-Authenticate": "Bearer"} if error.status == 401 else None
    return Response(_encode(said), error.status, headers, media_type="application/problem+json")
