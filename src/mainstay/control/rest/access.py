"""Who may call the REST API: whoever has the credential, from this machine, by its own name.

In: every request. Out: the request handed on, or a refusal. Invariants: no request passes without the bearer
credential, compared in constant time; a `Host` that is no loopback name is refused, so that a web page cannot
reach the API through a name that resolves to 127.0.0.1; bodies are bounded. The credential is made at first
start and kept in the 0600 context file, which the CLI reads.
"""

from __future__ import annotations

import hmac
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mainstay.control.rest.answers import RestError, refuse
from mainstay.settings import OperatorError
from mainstay.telemetry.log import get_log

log = get_log("rest")

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "[::1]"})
MAX_BODY_BYTES = 16 * 1024 * 1024
CREDENTIAL_BYTES = 32
OPEN_PATHS = frozenset({"/ready"})
"""Paths that need no credential: they tell nothing but a word."""


class Access:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, credential: str) -> None:
        self._app = app
        self._expected = f"Bearer {credential}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        refusal = self._refusal(request)
        if refusal is not None:
            log.warning(
                "request refused", status=refusal.status_code, method=request.method, path=request.url.path
            )
            await refusal(scope, receive, send)
            return
        try:
            await self._app(scope, _bounded(receive), send)
        except RestError as error:
            await refuse(error)(scope, receive, send)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        name = host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]
        if name.lower() not in LOOPBACK_HOSTS:
            return refuse(RestError(403, f"the Host {host!r} is not this machine's loopback name"))
        if request.url.path in OPEN_PATHS:
            return None
        given = request.headers.get("authorization", "").encode("utf-8", "replace")
        if not hmac.compare_digest(given, self._expected):
            return refuse(RestError(401, "send the credential of the context file as bearer token"))
        return None


def _bounded(receive: Receive) -> Receive:
    seen = 0

    async def read() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > MAX_BODY_BYTES:
            raise RestError(413, f"the body is larger than {MAX_BODY_BYTES} bytes")
        return message

    return read


def write_context(path: Path, server: str) -> str:
    """Writes the context file for a server's URL and returns its credential: the one that is there already,
    or a new one. The file is replaced whole and never readable by others."""
    path = path.expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        credential = _known_credential(path) or secrets.token_urlsafe(CREDENTIAL_BYTES)
        content = msgspec.json.encode({"server": server, "credential": credential})
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except OSError as error:
        raise OperatorError(
            f"cannot write the context file {path}: {error.strerror}. Name another with --api-context"
        ) from None
    return credential


def _known_credential(path: Path) -> str | None:
    try:
        if path.stat().st_mode & 0o077:
            log.warning("context file was readable by others: its credential is replaced", path=path)
            return None
        known: Any = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError):
        return None
    credential = known.get("credential") if isinstance(known, dict) else None
    return credential if isinstance(credential, str) and len(credential) >= CREDENTIAL_BYTES else None
