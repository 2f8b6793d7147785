"""The TLS port: what the engine is told, whom its headers name, and the methods behind it over real gRPC."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable
from pathlib import Path
from urllib.parse import quote

import grpc
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from hypothesis import given
from hypothesis import strategies as st

from mainstay import engine
from mainstay.control.front import Front, server_identity, socket_folder
from mainstay.control.join import JoinHandler, StoreShelf
from mainstay.control.listening import LOOPBACK
from mainstay.control.peer import peer_of_context, peer_of_headers, read_element
from mainstay.identity import certificates, join_wire
from mainstay.identity.authority import Authority, open_authority
from mainstay.identity.join import JoinService
from mainstay.identity.join_wire import JoinRequest, RenewRequest
from mainstay.identity.signer import LeafRequest
from mainstay.identity.tokens import Tokens
from mainstay.settings import OperatorError
from mainstay.sidecar import plan
from mainstay.store import MemoryStore
from mainstay.xds.server.types import Peer

START = 1_800_000_000_000
DAY = 86_400_000
DOMAIN = "cluster.local"
WEB = "spiffe://cluster.local/ns/shop/sa/web"


class FakeEngine:
    """Holds what it is told, and binds its listener at once."""

    def __init__(self, refuse_listener: str = "") -> None:
        self.held: dict[tuple[str, str], bytes] = {}
        self.applied: list[engine.Delta] = []
        self.refuse_listener = refuse_listener
        self.ended = False

    def apply(self, delta: engine.Delta) -> engine.ApplyReport:
        self.applied.append(delta)
        self.held.update({(each.resource, each.name): each.body for each in delta.upserts})
        return engine.ApplyReport(len(self.applied), len(delta.upserts), ())

    def wait(self, timeout_milliseconds: int) -> list[engine.Event]:  # noqa: ARG002
        if self.ended:
            return [engine.Stopped()]
        if self.refuse_listener:
            return [engine.RefusedEvent("listener", "front", "address", self.refuse_listener)]
        return []

    def listeners(self) -> list[tuple[str, str]]:
        return [] if self.refuse_listener else [("front", "127.0.0.1:40123")]

    def drain(self, scope: str, min_milliseconds: int, max_milliseconds: int) -> int:  # noqa: ARG002
        return 1

    def shutdown(self, deadline_milliseconds: int) -> None:  # noqa: ARG002
        self.ended = True

    def secret(self, name: str) -> plan.Secret:
        return msgspec.msgpack.decode(self.held[("secret", name)], type=plan.Secret)


class Clock:
    def __init__(self) -> None:
        self.ms = START

    def __call__(self) -> int:
        self.ms += 1
        return self.ms


def front(tmp_path: Path, fake: FakeEngine, clock: Clock) -> Front:
    signer = open_authority(tmp_path / "ca", DOMAIN, clock)
    identity = server_identity(DOMAIN, "istio-system")
    return Front(fake, signer, identity, socket_folder(tmp_path), LOOPBACK, 0, DAY, clock, lambda: 0.5)


def leaf_of(fake: FakeEngine) -> x509.Certificate:
    material = fake.secret("server").material
    assert isinstance(material, plan.CertificateMaterial)
    return x509.load_pem_x509_certificates(material.chain.certificates)[0]


def test_certificate_is_optional_and_the_header_is_ours(tmp_path: Path) -> None:
    fake = FakeEngine()
    assert front(tmp_path, fake, Clock()).start() == 40_123
    listener = msgspec.msgpack.decode(fake.held[("listener", "front")], type=plan.Listener)
    chain = listener.chains[0]
    assert chain.tls is not None
    assert not chain.tls.require_client_certificate
    assert chain.tls.validation == "roots"
    assert isinstance(chain.terminal, plan.HttpTerminal)
    assert chain.terminal.manager.forward_client_certificate == "sanitize_set"
    assert chain.terminal.manager.stream_idle_timeout is None


def test_clients_are_verified_by_the_roots_of_their_trust_domain(tmp_path: Path) -> None:
    fake = FakeEngine()
    front(tmp_path, fake, Clock()).start()
    material = fake.secret("roots").material
    assert isinstance(material, plan.ValidationMaterial)
    assert material.context.roots == b""
    assert [each.domain for each in material.context.domains] == [DOMAIN]


def test_socket_lies_where_only_this_user_comes(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    for state in (tmp_path, deep):
        folder = socket_folder(state)
        assert folder.stat().st_mode & 0o777 == 0o700
        assert len(str(folder / "grpc.sock")) <= 100
        (folder / "grpc.sock").touch()
        if state is deep:
            shutil.rmtree(folder)
    assert not list(socket_folder(tmp_path).iterdir())


def test_server_is_found_by_name_identity_and_address(tmp_path: Path) -> None:
    fake = FakeEngine()
    front(tmp_path, fake, Clock()).start()
    names = leaf_of(fake).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert join_wire.SERVER_NAME in names.get_values_for_type(x509.DNSName)
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://cluster.local/ns/istio-system/sa/mainstay-control-plane"
    ]
    assert "127.0.0.1" in [str(each) for each in names.get_values_for_type(x509.IPAddress)]


def test_leaf_is_renewed_in_place(tmp_path: Path) -> None:
    async def scenario() -> None:
        fake, clock = FakeEngine(), Clock()
        made = front(tmp_path, fake, clock)
        made.start()
        first, deltas = leaf_of(fake), len(fake.applied)
        clock.ms += DAY // 2 + 60_000
        task = asyncio.create_task(made.run())
        while len(fake.applied) == deltas:
            await asyncio.sleep(0)
        assert leaf_of(fake) != first
        assert [each.resource for each in fake.applied[-1].upserts] == ["secret"]
        await made.stop()
        await task
        assert not made.socket.parent.exists()

    asyncio.run(asyncio.wait_for(scenario(), 30))


def test_taken_port_is_told_in_words(tmp_path: Path) -> None:
    made = front(tmp_path, FakeEngine("Address already in use"), Clock())
    with pytest.raises(OperatorError, match=r"Address already in use.*--xds-port"):
        made.start()


# --- who called ---------------------------------------------------------------------------------------------------


def element(identity: str, pem: str = "") -> str:
    cert = f'Cert="{quote(pem, safe="")}";' if pem else ""
    return f"By=spiffe://x;Hash=ab;{cert}URI={identity}"


def test_peer_is_read_from_the_fronts_headers(tmp_path: Path) -> None:
    signer = open_authority(tmp_path / "ca", DOMAIN, lambda: START)
    chain = signer.sign(LeafRequest(WEB, certificates.make_key().public_key(), DAY))
    pem = chain.pem[: chain.pem.index("-----END CERTIFICATE-----") + 26]
    assert peer_of_headers(element(WEB, pem), "6.6.6.6, 10.1.2.3") == Peer(WEB, "10.1.2.3", START + DAY)
    assert peer_of_headers("", "10.1.2.3") == Peer("", "10.1.2.3", 0)


@pytest.mark.parametrize(
    "text",
    [
        f"{element(WEB)},{element('spiffe://cluster.local/ns/a/sa/b')}",
        f"{element(WEB)};URI=spiffe://cluster.local/ns/a/sa/b",
        "Hash=ab",
        "URI",
        f'Subject="URI={WEB}',
        f'Subject="a\\";URI={WEB}"',
    ],
)
def test_whoever_is_not_named_once_is_nobody(text: str) -> None:
    assert peer_of_headers(text, "").identity == ""


@given(st.text(alphabet='ab=;,"\\% URI', max_size=60))
def test_any_header_can_be_read(text: str) -> None:
    assert isinstance(read_element(text), dict)


# --- behind it ----------------------------------------------------------------------------------------------------


def csr() -> bytes:
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return made.sign(certificates.make_key(), hashes.SHA256()).public_bytes(serialization.Encoding.DER)


class Served:
    """The three methods on a Unix socket, as the front would speak to them."""

    def __init__(self, path: Path) -> None:
        self.signer: Authority = open_authority(path / "ca", DOMAIN, lambda: START)
        self.tokens = Tokens(StoreShelf(MemoryStore()), DOMAIN, self.signer.bundle, lambda: START)
        self.audit: list[tuple[str, ...]] = []
        service = JoinService(
            self.signer, self.tokens, lambda *line: self.audit.append(line), DOMAIN, "spiffe://s", DAY
        )
        self.server = grpc.aio.server()
        self.server.add_generic_rpc_handlers((JoinHandler(service, peer_of_context),))
        self.address = f"unix:{path}/x.sock"
        self.server.add_insecure_port(self.address)

    async def call(self, path: str, message: msgspec.Struct, identity: str = "") -> bytes:
        metadata = [("x-forwarded-for", "10.9.8.7")]
        if identity:
            metadata.append(("x-forwarded-client-cert", element(identity)))
        async with grpc.aio.insecure_channel(self.address) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
            return await call(join_wire.encode(message), metadata=tuple(metadata), timeout=20)


def run(scenario: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


def test_joining_and_renewing_over_grpc(tmp_path: Path) -> None:
    async def scenario() -> None:
        served = Served(tmp_path)
        await served.server.start()
        token = served.tokens.create("shop", "web", "", 1, 1_000).text
        bundle = join_wire.decode_bundle(await served.call(join_wire.GET_BUNDLE, join_wire.BundleRequest()))
        assert bundle.roots == served.signer.bundle().roots
        joined = join_wire.decode_joined(
            await served.call(join_wire.JOIN, JoinRequest(token, csr(), "web-1"))
        )
        assert joined.identity == WEB
        renewed = join_wire.decode_joined(
            await served.call(join_wire.RENEW, RenewRequest(csr()), joined.identity)
        )
        assert renewed.identity == WEB
        assert [line[1] for line in served.audit] == ["join", "renew"]
        await served.server.stop(0)

    run(scenario())


def test_refusals_are_grpc_statuses_with_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        served = Served(tmp_path)
        await served.server.start()
        token = served.tokens.create("shop", "web", "", 1, 1_000).text
        await served.call(join_wire.JOIN, JoinRequest(token, csr()))
        cases = (
            (join_wire.JOIN, JoinRequest(token, csr()), grpc.StatusCode.PERMISSION_DENIED, "another key"),
            (join_wire.JOIN, JoinRequest("x", csr()), grpc.StatusCode.INVALID_ARGUMENT, "not a join token"),
            (join_wire.RENEW, RenewRequest(csr()), grpc.StatusCode.UNAUTHENTICATED, "client certificate"),
        )
        for path, message, status, words in cases:
            with pytest.raises(grpc.aio.AioRpcError, match=words) as refused:
                await served.call(path, message)
            assert refused.value.code() == status
        await served.server.stop(0)

    run(scenario())
