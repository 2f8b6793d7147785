"""Calls to the REST API, for verbs.

In: method, path, body. Out: what the server said as JSON, or `OperatorError` with the exit code of its kind:
4 cannot be reached, 3 refused with problems (`Refused`), 1 anything else. Every verb is a call that anyone
could make.
"""

from __future__ import annotations

import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from mainstay.cli.context import read_context
from mainstay.settings import OperatorError

TIMEOUT_S = 30.0
REFUSED = 3
UNREACHABLE = 4


class RefusedError(OperatorError):
    """The server refused, with the list of problems (each a dict with `code`, `file`, `line`, `path`,
    `reason` …)."""

    def __init__(self, text: str, problems: list[dict[str, Any]]) -> None:
        super().__init__(text, REFUSED)
        self.problems = problems


class Client:
    """One control plane. The context file is read when it is asked: what is wrong with arguments and files is told before."""

    def __init__(self, context: Path) -> None:
        self._context = context

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Sends one request and returns the decoded JSON (None for an empty answer)."""
        context = read_context(self._context)
        parts = urlsplit(context.server)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        sent = {
            "Authorization": f"Bearer {context.credential}",
            "Accept": "application/json",
            **(headers or {}),
        }
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        given = {name: value for name, value in (query or {}).items() if value}
        try:
            connection.request(method, path + ("?" + urlencode(given) if given else ""), data, sent)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise OperatorError(
                f"cannot reach the control plane at {context.server}: {error}. "
                "Is `mainstay serve` running? After a restart on another port the context file is written anew",
                UNREACHABLE,
            ) from None
        finally:
            connection.close()
        try:
            decoded = json.loads(answer) if answer else None
        except ValueError:
            raise OperatorError(
                f"{context.server} answered {response.status} without JSON; is it a Mainstay control plane?"
            ) from None
        if response.status < 400:
            return decoded
        problem = decoded if isinstance(decoded, dict) else {}
        text = str(
            problem.get("detail") or problem.get("title") or f"the control plane answered {response.status}"
        )
        if problem.get("problems"):
            raise RefusedError(text, problem["problems"])
        raise OperatorError(text)
