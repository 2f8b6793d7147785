"""The REST application: routes of all modules behind one gate.

In: handlers. Out: an ASGI application. Invariant: everything passes `Access`; an exception that is no
`RestError` is our bug: logged with its traceback here, at the named boundary "REST request", and answered 500
without its text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mainstay.control.rest.access import Access
from mainstay.control.rest.answers import RestError, answer, refuse
from mainstay.telemetry.log import get_log

log = get_log("rest")


def build_app(
    routes: Sequence[Route], openapi: dict[str, Any], is_ready: Callable[[], bool], credential: str
) -> ASGIApp:
    """The application. `is_ready` answers `/ready`, the one path without credential."""

    async def ready(_request: Request) -> Response:
        return (
            answer({"ready": True})
            if is_ready()
            else refuse(RestError(503, "not every source has been read yet"))
        )

    async def document(_request: Request) -> Response:
        return answer(openapi)

    async def show_rest_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RestError)
        return refuse(error)

    async def show_http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refuse(RestError(error.status_code, f"{request.method} {request.url.path}: {error.detail}"))

    inner = Starlette(
        routes=[Route("/ready", ready), Route("/openapi/v3", document), *routes],
        exception_handlers={RestError: show_rest_error, HTTPException: show_http_error},
    )
    return Access(_Boundary(inner), credential)


class _Boundary:
    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def note(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except RestError:
            raise
        except Exception:  # the named boundary "REST request"
            log.exception("request failed", method=scope.get("method"), path=scope.get("path"))
            if not begun:
                await refuse(RestError(500, "a bug of Mainstay; its log says more"))(scope, receive, send)
