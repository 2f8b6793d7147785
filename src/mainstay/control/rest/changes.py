"""`/v1/apply`, `/v1/delete`, `/v1/kinds`: many objects at once, as authors' files hold them.

In: files with their names and text, or names of objects. Out: what became of each object. Invariant: all or
nothing; every problem of every file is told at once, with file, line, column and path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mainstay.control.admission import Admission, Admitted, RefusedWrite, Wish
from mainstay.control.dialect import Written, list_kinds, read_objects
from mainstay.control.objects import ObjectId
from mainstay.control.rest.answers import RestError, answer
from mainstay.model.problem import Problem
from mainstay.store import StoreError, StoreFullError

WHO = "credential"
"""Who the audit says wrote: there is one credential; roles come with more of them."""


SHORT_NAMES = {
    "VirtualService": ("vs",),
    "DestinationRule": ("dr",),
    "ServiceEntry": ("se",),
    "WorkloadEntry": ("we",),
    "WorkloadGroup": ("wg",),
    "Gateway": ("gw",),
    "PeerAuthentication": ("pa",),
    "AuthorizationPolicy": ("ap",),
    "Service": ("svc",),
}
"""Names that users of kubectl know from Istio's CRDs."""


class File(msgspec.Struct, frozen=True):
    name: str
    text: str


class ApplyBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    files: tuple[File, ...]
    namespace: str = "default"


class Named(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kind: str
    group: str
    name: str
    namespace: str = ""


class DeleteBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    files: tuple[File, ...] = ()
    objects: tuple[Named, ...] = ()
    namespace: str = "default"
    force: bool = False


async def decode_body(request: Request, kind: type[Any]) -> Any:
    """The body as a struct; raises `RestError` with the path of what is wrong."""
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise RestError(400, f"the body does not fit: {error}") from None


def is_dry_run(request: Request) -> bool:
    """Kubernetes' `dryRun=All`; anything else but nothing is refused."""
    asked = request.query_params.getlist("dryRun")
    if asked not in ([], ["All"]):
        raise RestError(400, "dryRun takes only the value All")
    return bool(asked)


async def perform(admission: Admission, wish: Wish) -> Admitted:
    """Performs a wish; what refuses it becomes a `RestError`."""
    try:
        return await admission.perform(wish)
    except RefusedWrite as refused:
        raise RestError(refused.status, refused.detail, refused.problems) from None
    except StoreFullError as error:
        raise RestError(507, str(error)) from None
    except StoreError as error:
        raise RestError(503, str(error)) from None
    except ValueError as error:
        raise RestError(413, str(error)) from None


def read_all(files: tuple[File, ...], namespace: str) -> list[Written]:
    """All objects of all files; raises `RestError` with every problem."""
    found: list[Written] = []
    problems: list[Problem] = []
    for file in files:
        written, wrong = read_objects(file.text, file.name, namespace)
        found.extend(written)
        problems.extend(wrong)
    if problems:
        raise RestError(422, "nothing was changed", problems)
    return found


def change_routes(admission: Admission, why_it_stays: Callable[[ObjectId], Awaitable[str]]) -> list[Route]:
    """The routes of this module. `why_it_stays`: an object that nobody wrote, empty for any other."""

    async def apply(request: Request) -> Response:
        body: ApplyBody = await decode_body(request, ApplyBody)
        wish = Wish(writes=tuple(read_all(body.files, body.namespace)), dry_run=is_dry_run(request), who=WHO)
        return _show(await perform(admission, wish))

    async def delete(request: Request) -> Response:
        body: DeleteBody = await decode_body(request, DeleteBody)
        ids = [written.id for written in read_all(body.files, body.namespace)]
        whole_mesh = {(kind.group, kind.name) for kind in list_kinds() if not kind.namespaced}
        named = [
            ObjectId(
                each.group,
                each.kind,
                "" if (each.group, each.kind) in whole_mesh else each.namespace or body.namespace,
                each.name,
            )
            for each in body.objects
        ]
        for each in named:
            if why := await why_it_stays(each):
                raise RestError(409, why)
        wish = Wish(
            deletes=tuple(dict.fromkeys([*ids, *named])),
            must_exist=frozenset(named),
            force=body.force,
            dry_run=is_dry_run(request),
            who=WHO,
        )
        return _show(await perform(admission, wish))

    async def kinds(_request: Request) -> Response:
        listed = [
            {
                "kind": kind.name,
                "plural": kind.plural,
                "group": kind.group,
                "version": kind.versions[0],
                "namespaced": kind.namespaced,
                "shortNames": SHORT_NAMES.get(kind.name, ()),
            }
            for kind in list_kinds()
        ]
        return answer({"kinds": listed})

    return [
        Route("/v1/apply", apply, methods=["POST"]),
        Route("/v1/delete", delete, methods=["POST"]),
        Route("/v1/kinds", kinds, methods=["GET"]),
    ]


def _show(admitted: Admitted) -> Response:
    results = [
        {"object": str(result.id), "outcome": result.outcome, "resourceVersion": str(result.revision)}
        for result in admitted.results
    ]
    return answer(
        {"results": results, "problems": admitted.warnings, "resourceVersion": str(admitted.revision)}
    )
