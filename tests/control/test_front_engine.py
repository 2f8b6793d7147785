"""The front over the real engine, with gRPC's own client: the certificate is optional, and nobody can claim to be another."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable
from pathlib import Path

import grpc
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from mainstay.control.front import Front, make_engine, server_identity, socket_folder
from mainstay.control.join import JoinHandler, StoreShelf
from mainstay.control.peer import peer_of_context
from mainstay.identity import certificates, join_wire
from mainstay.identity.authority import Authority, open_authority
from mainstay.identity.certificates import PrivateKey
from mainstay.identity.join import JoinService
from mainstay.identity.join_wire import BundleRequest, JoinRequest, RenewRequest
from mainstay.identity.signer import LeafRequest
from mainstay.identity.tokens import Tokens
from mainstay.settings.serve import Log
from mainstay.store import MemoryStore

DAY = 86_400_000
DOMAIN = "cluster.local"
WEB = "spiffe://cluster.local/ns/shop/sa/web"
FORGED = (("x-forwarded-client-cert", "URI=spiffe://cluster.local/ns/bank/sa/vault"),)


def now() -> int:
    return time.time_ns() // 1_000_000


def csr(key: PrivateKey) -> bytes:
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Served:
    """CA, tokens, the three methods, the front."""

    def __init__(self, path: Path) -> None:
        self.signer = open_authority(path / "ca", DOMAIN, now)
        self.tokens = Tokens(StoreShelf(MemoryStore()), DOMAIN, self.signer.bundle, now)
        identity = server_identity(DOMAIN, "istio-system")
        service = JoinService(self.signer, self.tokens, lambda *_: None, DOMAIN, identity.spiffe, DAY)
        self.front = Front(
            make_engine(Log()),
            self.signer,
            identity,
            socket_folder(path),
            "127.0.0.1",
            0,
            DAY,
            now,
            random.random,
        )
        self.server = grpc.aio.server()
        self.server.add_generic_rpc_handlers((JoinHandler(service, peer_of_context),))
        self.server.add_insecure_port(f"unix:{self.front.socket}")
        self.port = 0

    async def start(self) -> None:
        await self.server.start()
        self.port = await asyncio.to_thread(self.front.start)
        self.events = asyncio.create_task(self.front.run())

    async def stop(self) -> None:
        await self.server.stop(0)
        await self.front.stop()
        await self.events

    async def call(
        self, path: str, message: msgspec.Struct, *, key: PrivateKey | None = None, chain: str = ""
    ) -> bytes:
        roots = "".join(self.signer.bundle().roots).encode()
        shown = (certificates.pem_of_key(key), chain.encode()) if key is not None else (None, None)
        credentials = grpc.ssl_channel_credentials(roots, *shown)
        options = [("grpc.ssl_target_name_override", join_wire.SERVER_NAME)]
        async with grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            return await call(join_wire.encode(message), metadata=FORGED, timeout=20)


def run(scenario: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


def test_workload_joins_without_and_renews_with_its_certificate(tmp_path: Path) -> None:
    async def scenario() -> None:
        served = Served(tmp_path)
        await served.start()
        bundle = join_wire.decode_bundle(await served.call(join_wire.GET_BUNDLE, BundleRequest()))
        assert bundle.roots == served.signer.bundle().roots
        key = certificates.make_key()
        token = served.tokens.create("shop", "web", "", 1, 60_000).text
        joined = join_wire.decode_joined(await served.call(join_wire.JOIN, JoinRequest(token, csr(key))))
        assert joined.identity == WEB
        renewed = join_wire.decode_joined(
            await served.call(join_wire.RENEW, RenewRequest(csr(key)), key=key, chain=joined.chain)
        )
        assert renewed.identity == WEB
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.call(join_wire.RENEW, RenewRequest(csr(key)))
        assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
        await served.stop()

    run(scenario())


def test_certificate_of_another_mesh_ends_the_handshake(tmp_path: Path) -> None:
    async def scenario() -> None:
        served = Served(tmp_path)
        await served.start()
        stranger: Authority = open_authority(tmp_path / "stranger", DOMAIN, now)
        key = certificates.make_key()
        chain = stranger.sign(LeafRequest(WEB, key.public_key(), DAY)).pem
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.call(join_wire.RENEW, RenewRequest(csr(key)), key=key, chain=chain)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        await served.stop()

    run(scenario())
