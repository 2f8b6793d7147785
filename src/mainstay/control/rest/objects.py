"""`/apis/GROUP/VERSION/namespaces/NAMESPACE/PLURAL/NAME`: objects in Kubernetes' shapes, over the store. Those of kinds without
namespaces are at `/apis/GROUP/VERSION/PLURAL/NAME`.

In: GET (also `watch`), POST, PUT, PATCH, DELETE. Out: objects, lists in pages, a stream of newline JSON.
Invariants: a revision given in `If-Match` or `metadata.resourceVersion` must still hold; a watch misses
nothing after its revision, or answers 410; sealed values are never shown.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from mainstay.api.encode import encode
from mainstay.api.kind import Kind
from mainstay.api.object import Object
from mainstay.control.admission import Admission, Result, Wish
from mainstay.control.built_in import SOURCE as BUILT_IN
from mainstay.control.dialect import Written, find_kind, read_objects
from mainstay.control.objects import PREFIX, ObjectId, Record, decode_record, id_of_store_key, show_object
from mainstay.control.registered import SOURCE as REGISTERED
from mainstay.control.rest.answers import RestError, answer
from mainstay.control.rest.changes import WHO, is_dry_run, perform
from mainstay.store import Compacted, Entry, Event, Store

_WHY_IT_STAYS = {
    REGISTERED: "registered itself; it goes when its sidecar stops",
    BUILT_IN: "comes with Mainstay; apply another of that name to put it in its place",
}

MAX_LIMIT = 1_000
WATCH_POLL_S = 30.0
"""A watch that hears nothing sends a bookmark this often, so that dead connections are noticed."""


class ObjectRoutes:
    """The handlers. `status_of` tells what is known of an object; `in_files` are those of the directory, which count before
    the store's and are shown in their place, without a revision; `unwritten(kind)` are those of a kind that nobody wrote, in the
    shape of objects: workloads that registered themselves, protocols that come with Mainstay. What is written under the same name
    is shown instead. Secrets are masked in records already."""

    def __init__(
        self,
        store: Store,
        admission: Admission,
        status_of: Callable[[ObjectId], dict[str, Any]],
        in_files: Callable[[], Mapping[ObjectId, Object]] = dict,
        unwritten: Callable[[str], Mapping[ObjectId, dict[str, Any]]] = lambda _kind: {},
    ) -> None:
        self._store = store
        self._admission = admission
        self._status_of = status_of
        self._in_files = in_files
        self._unwritten = unwritten

    def routes(self) -> list[Route]:
        """The routes of this module."""
        base = "/apis/{group}/{version}"
        found = []
        for collection in (f"{base}/{{plural}}", f"{base}/namespaces/{{namespace}}/{{plural}}"):
            found += [
                Route(collection, self.list, methods=["GET"]),
                Route(collection, self.create, methods=["POST"]),
                Route(f"{collection}/{{name}}", self.read, methods=["GET"]),
                Route(f"{collection}/{{name}}", self.replace, methods=["PUT"]),
                Route(f"{collection}/{{name}}", self.patch, methods=["PATCH"]),
                Route(f"{collection}/{{name}}", self.delete, methods=["DELETE"]),
            ]
        return found

    async def list(self, request: Request) -> Response:
        kind = _kind_of(request)
        prefix = f"{PREFIX}{kind.group}/{kind.name}/"
        if namespace := request.path_params.get("namespace", ""):
            _namespace_of(request, kind)
            prefix += f"{namespace}/"
        if request.query_params.get("watch") in ("1", "true"):
            return await self._watch(request, prefix)
        limit = _number(request, "limit", MAX_LIMIT) or MAX_LIMIT
        start = _decode_continue(request.query_params.get("continue", ""), prefix)
        page = await asyncio.to_thread(self._store.scan, prefix, start, min(limit, MAX_LIMIT))
        metadata = {"resourceVersion": str(page.revision)}
        if page.next_key is not None:
            metadata["continue"] = base64.urlsafe_b64encode(page.next_key.encode()).decode()
        files = self._in_files()
        items = [self._show(entry) for entry in page.entries if id_of_store_key(entry.key) not in files]
        if page.next_key is None:
            items += [
                self._show_file(each, files[each])
                for each in sorted(files)
                if each.store_key.startswith(prefix)
            ]
            items += await asyncio.to_thread(self._list_unwritten, kind.name, prefix)
        return answer(
            {
                "apiVersion": kind.api_version,
                "kind": f"{kind.name}List",
                "metadata": metadata,
                "items": items,
            }
        )

    async def read(self, request: Request) -> Response:
        each = _id_of(request)
        written = self._in_files().get(each)
        if written is not None:
            return answer(self._show_file(each, written))
        entry = await asyncio.to_thread(self._store.get, each.store_key)
        if entry is None and (unwritten := self._unwritten(each.kind).get(each)) is not None:
            return answer(unwritten)
        if entry is None:
            raise RestError(404, f"there is no {each}")
        return answer(self._show(entry), headers={"ETag": f'"{entry.revision}"'})

    async def create(self, request: Request) -> Response:
        written = await self._written(request, await request.body())
        return await self._write(request, written, {written.id: 0})

    async def replace(self, request: Request) -> Response:
        written = await self._written(request, await request.body())
        return await self._write(
            request, written, _expected(request, written.id, written.object.metadata.resource_version)
        )

    async def patch(self, request: Request) -> Response:
        each = _id_of(request)
        media = request.headers.get("content-type", "").partition(";")[0].strip()
        if media != "application/merge-patch+json":
            raise RestError(415, "send a JSON merge patch as application/merge-patch+json")
        entry = await asyncio.to_thread(self._store.get, each.store_key)
        if entry is None:
            why = await self.why_it_stays(each)
            raise RestError(409 if why else 404, why or f"there is no {each}")
        record = decode_record(entry.value)
        try:
            merged = merge_patch(record.object, msgspec.json.decode(await request.body()))
            text = json.dumps(merged).encode()
        except (msgspec.MsgspecError, RecursionError) as error:
            raise RestError(400, f"the body is no JSON: {error}") from None
        written = await self._written(request, text)
        expected = _expected(request, each, written.object.metadata.resource_version) or {
            each: entry.revision
        }
        return await self._write(request, written, expected)

    def _list_unwritten(self, kind: str, prefix: str) -> Sequence[dict[str, Any]]:
        files = self._in_files()
        return [
            shown
            for each, shown in sorted(self._unwritten(kind).items())
            if each.store_key.startswith(prefix)
            and each not in files
            and self._store.get(each.store_key) is None
        ]

    async def delete(self, request: Request) -> Response:
        each = _id_of(request)
        if why := await self.why_it_stays(each):
            raise RestError(409, why)
        wish = Wish(
            deletes=(each,),
            expected=_expected(request, each, None),
            must_exist=frozenset({each}),
            force=request.query_params.get("force") in ("1", "true"),
            dry_run=is_dry_run(request),
            who=WHO,
        )
        await perform(self._admission, wish)
        return answer(
            {"kind": "Status", "apiVersion": "v1", "status": "Success", "details": {"name": each.name}}
        )

    async def why_it_stays(self, each: ObjectId) -> str:
        """Why what is shown as an object cannot be changed or deleted: nobody wrote it. Empty for any other."""
        unwritten = self._unwritten(each.kind).get(each)
        if unwritten is None or await asyncio.to_thread(self._store.get, each.store_key) is not None:
            return ""
        return f"{each} {_WHY_IT_STAYS[unwritten['status']['source']]}"

    async def _written(self, request: Request, body: bytes) -> Written:
        kind = _kind_of(request)
        namespace = _namespace_of(request, kind)
        try:
            text = body.decode()
        except UnicodeDecodeError:
            raise RestError(400, "the body is not UTF-8") from None
        written, problems = read_objects(text, "", namespace)
        if problems:
            raise RestError(422, "nothing was changed", problems)
        if len(written) != 1:
            raise RestError(400, f"the body holds {len(written)} objects; one is expected")
        found = written[0]
        name = request.path_params.get("name", found.id.name)
        addressed = ObjectId(kind.group, kind.name, namespace, name)
        if found.id != addressed:
            raise RestError(400, f"the body is {found.id}, the path names {addressed}")
        return found

    async def _write(self, request: Request, written: Written, expected: dict[ObjectId, int]) -> Response:
        wish = Wish(writes=(written,), expected=expected, dry_run=is_dry_run(request), who=WHO)
        result: Result = (await perform(self._admission, wish)).results[0]
        assert result.record is not None, "a write has a record"
        entry = Entry(written.id.store_key, b"", 0, result.revision)
        shown = self._show_record(entry, written.id, result.record)
        return answer(shown, 201 if result.outcome == "created" else 200, {"ETag": f'"{result.revision}"'})

    async def _watch(self, request: Request, prefix: str) -> Response:
        given = request.query_params.get("resourceVersion", "")
        after = (
            _number(request, "resourceVersion", 0) if given else await asyncio.to_thread(self._store.revision)
        )
        first = await asyncio.to_thread(self._store.watch, prefix, after)
        if isinstance(first, Compacted):
            raise RestError(
                410, f"revision {after} is too old; list again, then watch from that list's revision"
            )
        return StreamingResponse(self._events(prefix, after), media_type="application/json")

    async def _events(self, prefix: str, after: int) -> AsyncIterator[bytes]:
        loop = asyncio.get_running_loop()
        written = asyncio.Event()
        stop = self._store.on_commit(lambda _revision: _tell(loop, written))
        try:
            while True:
                written.clear()
                events = await asyncio.to_thread(self._store.watch, prefix, after)
                if isinstance(events, Compacted):
                    yield _line("ERROR", {"code": 410, "message": "too slow: list again"})
                    return
                for event in events:
                    after = event.revision
                    yield self._show_event(event)
                if events:
                    continue
                try:
                    await asyncio.wait_for(written.wait(), WATCH_POLL_S)
                except TimeoutError:
                    yield _line("BOOKMARK", {"metadata": {"resourceVersion": str(after)}})
        finally:
            stop()

    def _show_event(self, event: Event) -> bytes:
        each = id_of_store_key(event.key)
        if event.value is None:
            metadata = {
                "namespace": each.namespace,
                "name": each.name,
                "resourceVersion": str(event.revision),
            }
            return _line("DELETED", {"kind": each.kind, "metadata": metadata})
        record = decode_record(event.value)
        entry = Entry(event.key, event.value, 0, event.revision)
        return _line(
            "ADDED" if record.generation == 1 else "MODIFIED", self._show_record(entry, each, record)
        )

    def _show_file(self, each: ObjectId, written: Object) -> dict[str, Any]:
        return encode(written) | {"status": {"source": "files", **self._status_of(each)}}

    def _show(self, entry: Entry) -> dict[str, Any]:
        return self._show_record(entry, id_of_store_key(entry.key), decode_record(entry.value))

    def _show_record(self, entry: Entry, each: ObjectId, record: Record) -> dict[str, Any]:
        return show_object(entry, record, self._status_of(each))


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def _kind_of(request: Request) -> Kind:
    group, version, plural = (request.path_params[name] for name in ("group", "version", "plural"))
    kind = find_kind(group, version, plural)
    if kind is None:
        raise RestError(404, f"there is no kind {plural} in {group}/{version}; GET /v1/kinds lists them")
    return kind


def _id_of(request: Request) -> ObjectId:
    kind = _kind_of(request)
    return ObjectId(kind.group, kind.name, _namespace_of(request, kind), request.path_params["name"])


def _namespace_of(request: Request, kind: Kind) -> str:
    """The namespace of the path; raises `RestError` if it has one and the kind has none, or the other way round."""
    namespace: str = request.path_params.get("namespace", "")
    if bool(namespace) == kind.namespaced:
        return namespace
    where = f"namespaces/NAMESPACE/{kind.plural}" if kind.namespaced else kind.plural
    says = "belongs to a namespace" if kind.namespaced else "belongs to no namespace"
    raise RestError(404, f"a {kind.name} {says}: use /apis/{kind.group}/{kind.versions[0]}/{where}")


def _expected(request: Request, each: ObjectId, seen: str | None) -> dict[ObjectId, int]:
    """The revision the caller has seen, from `If-Match` or the object itself; nothing if it named none."""
    given = request.headers.get("if-match", "").removeprefix("W/").strip('"')
    given = given or seen or ""
    if not given or given == "*":
        return {}
    if not given.isdigit():
        raise RestError(400, f"{given!r} is no resourceVersion")
    return {each: int(given)}


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, str(default))
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise RestError(400, f"{name} takes a whole number, not {given!r}")
    return int(given)


def _decode_continue(given: str, prefix: str) -> str:
    if not given:
        return ""
    try:
        key = base64.urlsafe_b64decode(given.encode()).decode()
    except ValueError:
        key = ""
    if not key.startswith(prefix):
        raise RestError(400, "continue is not a value this list gave out")
    return key


def _line(kind: str, value: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": value}).encode() + b"\n"


def _tell(loop: asyncio.AbstractEventLoop, written: asyncio.Event) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(written.set)
