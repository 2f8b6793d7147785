"""The identity service's three methods over grpc.aio, and tokens over the store.

In: gRPC calls with raw bytes. Out: answers, or gRPC statuses with words. Invariant: what may block (the store's disk, a
remote signer) runs on a worker thread, at most `MAX_AT_ONCE` together, so that a storm of joins does not starve the loop; who
waits too long is told to come again. Built by `main` beside the xDS handlers, on the port of the front.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from mainstay.identity.join import UNAVAILABLE, JoinRefused, JoinService
from mainstay.identity.join_wire import GET_BUNDLE, JOIN, RENEW
from mainstay.store import Conflict, Delete, Put, Store, StoreError, Unchanged, scan_all
from mainstay.telemetry.log import get_log
from mainstay.xds.server.types import Peer

log = get_log("identity")

MAX_AT_ONCE = 8
MAX_WAITING = 1_000

_CODES = {code.value[0]: code for code in grpc.StatusCode}


class StoreShelf:
    """`identity.tokens.Shelf` over the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def get(self, key: str) -> tuple[bytes, int] | None:
        entry = self._store.get(key)
        return None if entry is None else (entry.value, entry.revision)

    def put(self, key: str, value: bytes, revision: int) -> bool:
        return not isinstance(self._store.transact([Unchanged(key, revision)], [Put(key, value)]), Conflict)

    def scan(self, prefix: str) -> Iterable[tuple[str, bytes, int]]:
        return [(entry.key, entry.value, entry.revision) for entry in scan_all(self._store, prefix)[0]]

    def delete(self, key: str, revision: int) -> bool:
        return not isinstance(self._store.transact([Unchanged(key, revision)], [Delete(key)]), Conflict)


class JoinHandler(grpc.GenericRpcHandler):
    """See the module. `identify` makes the peer of a call's context."""

    def __init__(self, service: JoinService, identify: Callable[[Any], Peer]) -> None:
        self._service = service
        self._identify = identify
        self._room = asyncio.Semaphore(MAX_AT_ONCE)
        self._waiting = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """The handler of one of our paths."""
        method = {GET_BUNDLE: self._get_bundle, JOIN: self._join, RENEW: self._renew}.get(details.method)
        return None if method is None else grpc.unary_unary_rpc_method_handler(method)

    async def _get_bundle(self, request: bytes, context: Any) -> bytes:
        return await self._answer(context, self._service.get_bundle, request)

    async def _join(self, request: bytes, context: Any) -> bytes:
        peer = self._identify(context)
        return await self._answer(context, self._service.join, request, peer.address)

    async def _renew(self, request: bytes, context: Any) -> bytes:
        peer = self._identify(context)
        return await self._answer(context, self._service.renew, request, peer.identity, peer.address)

    async def _answer(self, context: Any, method: Callable[..., bytes], *arguments: Any) -> bytes:
        if self._waiting >= MAX_WAITING:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "too many workloads join at once; try again")
        self._waiting += 1
        try:
            async with self._room:
                return await asyncio.to_thread(method, *arguments)
        except JoinRefused as refused:
            status, words = refused.status, refused.words
        except (StoreError, OSError) as error:
            log.error("cannot answer a join", error=f"{type(error).__name__}: {error}")
            status, words = UNAVAILABLE, "the control plane cannot write now; its log says why"
        finally:
            self._waiting -= 1
        await context.abort(_CODES[status], words)
        raise AssertionError("abort raises")
