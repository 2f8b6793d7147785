"""The identity side of the control plane, put together: CA, tokens, joining, and the front with grpcio behind it.

In: settings, state directory, store, audit. Out: `judge` for streams, `tokens` for REST, a TLS port. Invariants: the signer's
keys stay in their files; what listens behind the front can be reached by this user alone. The composition root of what `main`
needs of identity; it decides nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc

from mainstay.control.front import Front, FrontEngine, server_identity, socket_folder
from mainstay.control.join import JoinHandler, StoreShelf
from mainstay.control.loop import Loop
from mainstay.control.peer import peer_of_context
from mainstay.identity.authorise import judge_node
from mainstay.identity.authority import Authority, load_authority, open_authority
from mainstay.identity.join import JoinService
from mainstay.identity.tokens import Tokens
from mainstay.settings import OperatorError
from mainstay.settings.serve import ServeSettings
from mainstay.store import Store
from mainstay.xds.serve_grpcio import XdsServer

Audit = Callable[[str, str, str, str], None]

STOP_GRPC_S = 1.0


class Secure:
    """See the module. `now` is Unix ms."""

    def __init__(
        self, settings: ServeSettings, state: Path, store: Store, audit: Audit, now: Callable[[], int]
    ) -> None:
        self._settings = settings
        self._state = state
        self._now = now
        self.signer = open_signer(settings, state, now)
        self._identity = server_identity(settings.trust_domain, settings.root_namespace)
        self.tokens = Tokens(
            StoreShelf(store), settings.trust_domain, self.signer.bundle, now, server=self._identity.spiffe
        )
        self.service = JoinService(
            self.signer,
            self.tokens,
            audit,
            settings.trust_domain,
            self._identity.spiffe,
            settings.ca.leaf_life,
        )

    def judge(self, identity: str, namespace: str, account: str) -> str:
        """Why the holder of a certificate may not be a node; empty if it may."""
        return judge_node(identity, namespace, account, self._settings.trust_domain)

    async def serve(
        self,
        loop: Loop,
        engine: FrontEngine,
        xds: XdsServer,
        options: Sequence[tuple[str, int]],
        leave: Callable[[], None],
    ) -> int:
        """Opens the TLS port, spawns what serves it, and returns its number. `leave()` is called before streams are ended."""
        front = Front(
            engine,
            self.signer,
            self._identity,
            socket_folder(self._state),
            self._settings.xds.bind,
            self._settings.xds.port,
            self._settings.ca.leaf_life,
            self._now,
            random.random,
        )
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers(
            (xds.handler(peer_of_context), JoinHandler(self.service, peer_of_context))
        )
        server.add_insecure_port(f"unix:{front.socket}")
        await server.start()

        async def stop() -> None:
            leave()
            await front.stop()

        try:
            port = await asyncio.to_thread(front.start)
        except OperatorError:
            await server.stop(None)
            raise
        loop.spawn(
            "grpc behind the front", server.wait_for_termination(), drain=lambda: server.stop(STOP_GRPC_S)
        )
        loop.spawn("front", front.run(), drain=stop)
        return port


def open_signer(settings: ServeSettings, state: Path, now: Callable[[], int]) -> Authority:
    """The CA that the settings name: a company's intermediate, or our own. Raises `OperatorError`."""
    cert, key = settings.ca.cert, settings.ca.key
    if (cert is None) != (key is None):
        raise OperatorError(
            "--ca-cert and --ca-key belong together: give both, or neither for a CA of our own", 2
        )
    if cert is not None and key is not None:
        return load_authority(cert.expanduser(), key.expanduser(), settings.trust_domain, now)
    return open_authority(state / "ca", settings.trust_domain, now)
