"""All of the REST API over one control plane: the list of its modules."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import Route
from starlette.types import ASGIApp

from mainstay.api.kinds import KINDS
from mainstay.control.plane import Plane
from mainstay.control.rest.app import build_app
from mainstay.control.rest.changes import change_routes
from mainstay.control.rest.objects import ObjectRoutes
from mainstay.control.rest.openapi import build_openapi
from mainstay.control.rest.operator import OperatorRoutes
from mainstay.settings.version import program_version


def build_rest(plane: Plane, credential: str, further: Sequence[Route] = ()) -> ASGIApp:
    """The application; `further` are routes of rooms that a plane does not have (tokens)."""
    version = program_version()
    objects = ObjectRoutes(plane.store, plane.admission, plane.status_of, plane.in_files, plane.unwritten)
    operator = OperatorRoutes(
        plane.proxies,
        plane.graph,
        plane.intake,
        plane.problems,
        plane.waiting,
        version,
        plane.show_workload,
    )
    routes = [
        *change_routes(plane.admission, objects.why_it_stays),
        *objects.routes(),
        *operator.routes(),
        *further,
    ]
    stored = [kind for kind in KINDS if kind.stored]
    return build_app(routes, build_openapi(stored, version), lambda: not plane.waiting(), credential)
