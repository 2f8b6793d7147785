"""The pages of the metrics port: `/metrics`, `/ready`, `/debug/…`; loopback only, without credential, telling no secrets.

In: what the control plane measures. Out: an ASGI application. Invariant: the debugging pages bound what they cost (`seconds`),
and answer only to a loopback Host, so that a web page cannot reach them. Built by `main`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from mainstay.control.debug import MAX_PROFILE_S, measure_collections, sample_stacks
from mainstay.control.rest.access import LOOPBACK_HOSTS
from mainstay.graph import Graph

PROFILE_S = 5.0


def build_pages(render: Callable[[], bytes], graph: Graph, waiting: Callable[[], str]) -> ASGIApp:
    """`render()` gives Prometheus' text; `waiting()` says why nothing is pushed yet."""

    async def metrics(_request: Request) -> Response:
        return Response(render(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def ready(_request: Request) -> Response:
        reason = waiting()
        return PlainTextResponse(f"{reason or 'ready'}\n", 503 if reason else 200)

    async def profile(request: Request) -> Response:
        try:
            seconds = float(request.query_params.get("seconds", PROFILE_S))
        except ValueError:
            return PlainTextResponse("seconds takes a number\n", 400)
        if not 0 < seconds <= MAX_PROFILE_S:
            return PlainTextResponse(f"seconds: more than 0, at most {MAX_PROFILE_S}\n", 400)
        return PlainTextResponse(await asyncio.to_thread(sample_stacks, seconds))

    async def memory(_request: Request) -> Response:
        return JSONResponse(measure_collections(graph))

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            Route("/ready", ready),
            Route("/debug/profile", _loopback(profile)),
            Route("/debug/memory", _loopback(memory)),
        ]
    )


def _loopback(handler: Callable[[Request], object]) -> Callable[[Request], object]:
    async def guarded(request: Request) -> Response:
        host = request.headers.get("host", "").rpartition(":")[0] or request.headers.get("host", "")
        if host.lower() not in LOOPBACK_HOSTS:
            return PlainTextResponse("the Host is not this machine's loopback name\n", 403)
        return await handler(request)  # type: ignore[misc,no-any-return]

    return guarded
