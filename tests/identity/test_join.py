"""Tokens, joining, renewing, and who may do what."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from small_authority import DAY, DOMAIN, START, Clock, Shelf, authority, chain_of, csr_of

from mainstay.identity import certificates, join_wire
from mainstay.identity.authorise import Nobody, Operator, Workload, authorise, judge_node
from mainstay.identity.bundle import digest_of_bundle
from mainstay.identity.join import JoinRefused, JoinService
from mainstay.identity.join_wire import JoinRequest, RenewRequest
from mainstay.identity.tokens import PREFIX, TokenRefused, Tokens
from mainstay.model.identity import TrustBundle

WEB = "spiffe://cluster.local/ns/shop/sa/web"


class Mesh:
    """Everything behind the three methods."""

    def __init__(self, path: Path) -> None:
        self.clock = Clock()
        self.shelf = Shelf()
        self.signer = authority(path, self.clock)
        self.tokens = Tokens(self.shelf, DOMAIN, self.signer.bundle, self.clock)
        self.audit: list[tuple[str, str, str, str]] = []
        self.service = JoinService(
            self.signer,
            self.tokens,
            lambda *line: self.audit.append(line),
            DOMAIN,
            "spiffe://cluster.local/x",
            DAY,
        )

    def token(self, uses: int = 1, group: str = "") -> str:
        return self.tokens.create("shop", "web", group, uses, 3_600_000).text

    def join(self, token: str, csr: bytes) -> join_wire.Joined:
        request = join_wire.encode(JoinRequest(token, csr, "web-1"))
        return join_wire.decode_joined(self.service.join(request, "10.0.0.1"))


@pytest.fixture
def mesh(tmp_path: Path) -> Mesh:
    return Mesh(tmp_path)


def test_token_gives_its_identity_whatever_the_request_asks_for(mesh: Mesh) -> None:
    joined = mesh.join(mesh.token(group="webs"), csr_of(uri="spiffe://cluster.local/ns/kube-system/sa/admin"))
    assert joined.identity == WEB
    assert joined.group == "shop/webs"
    assert certificates.spiffe_ids(chain_of(joined.chain)[0]) == (WEB,)
    assert joined.bundle.roots == mesh.signer.bundle().roots
    who, action, thing, result = mesh.audit[-1]
    assert (who, action, thing) == ("web-1", "join", WEB)
    assert result.startswith("issued ")


def test_bundle_is_known_by_the_digest_in_the_token(mesh: Mesh) -> None:
    token = join_wire.read_token(mesh.token())
    answer = join_wire.decode_bundle(mesh.service.get_bundle(join_wire.encode(join_wire.BundleRequest())))
    assert digest_of_bundle(TrustBundle(answer.trust_domain, answer.roots)) == token.bundle
    assert digest_of_bundle(TrustBundle("other", answer.roots)) != token.bundle


def test_same_key_joins_again_another_is_refused_and_audited(mesh: Mesh) -> None:
    token, key = mesh.token(), certificates.make_key()
    first, again = mesh.join(token, csr_of(key)), mesh.join(token, csr_of(key))
    assert first.identity == again.identity
    with pytest.raises(JoinRefused, match="another key") as refused:
        mesh.join(token, csr_of())
    assert refused.value.status == 7
    assert mesh.audit[-1][3].startswith("refused: ")


def test_uses_count_keys(mesh: Mesh) -> None:
    token = mesh.token(uses=2)
    keys = [certificates.make_key() for _ in range(3)]
    for key in (keys[0], keys[1], keys[0]):
        mesh.join(token, csr_of(key))
    with pytest.raises(JoinRefused, match="used by 2 keys"):
        mesh.join(token, csr_of(keys[2]))


def test_expired_token_admits_nobody_and_is_forgotten_later(mesh: Mesh) -> None:
    token, key = mesh.token(), certificates.make_key()
    mesh.join(token, csr_of(key))
    mesh.clock.ms += 3_600_000
    with pytest.raises(JoinRefused, match="has expired"):
        mesh.join(token, csr_of(key))
    mesh.clock.ms += 2 * DAY
    mesh.token()
    with pytest.raises(JoinRefused, match="unknown here"):
        mesh.join(token, csr_of(key))


def test_token_that_was_tampered_with_is_refused(mesh: Mesh) -> None:
    real = join_wire.read_token(mesh.token())
    for wrong in (
        msgspec.structs.replace(real, secret="guess"),
        msgspec.structs.replace(real, id="nobody"),
        msgspec.structs.replace(real, id="nobody", secret=""),
    ):
        with pytest.raises(JoinRefused, match="unknown here"):
            mesh.join(join_wire.write_token(wrong), csr_of())
    for text in ("", "mst1.", "mst1.!!!", "mst1.gA", "eyJ"):
        with pytest.raises(JoinRefused, match="not a join token") as refused:
            mesh.join(text, csr_of())
        assert refused.value.status == 3


def test_store_never_sees_the_secret(mesh: Mesh) -> None:
    token = join_wire.read_token(mesh.token())
    value, _ = mesh.shelf.entries[PREFIX + token.id]
    assert token.secret.encode() not in value
    assert token.secret not in repr(token)


def test_last_use_is_taken_once_though_two_ask_at_once(mesh: Mesh) -> None:
    """Both read the record before either writes: the second write is refused by the store, and looks again."""
    token = mesh.token()
    mesh.shelf.conflicts = 1
    mesh.join(token, csr_of())
    with pytest.raises(JoinRefused):
        mesh.join(token, csr_of())


def test_deleted_token_admits_nobody(mesh: Mesh) -> None:
    issued = mesh.tokens.create("shop", "web", "", 1, 1_000)
    assert mesh.tokens.delete(issued.id)
    assert not mesh.tokens.delete(issued.id)
    with pytest.raises(TokenRefused):
        mesh.tokens.redeem(issued.text, "x")


@pytest.mark.parametrize(
    "arguments",
    [
        ("a/b", "web", "", 1, 1),
        ("shop", "..", "", 1, 1),
        ("shop", "web", "g h", 1, 1),
        ("shop", "web", "", 0, 1),
        ("shop", "web", "", 1, 0),
    ],
)
def test_tokens_for_what_cannot_be_are_not_made(
    mesh: Mesh, arguments: tuple[str, str, str, int, int]
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        mesh.tokens.create(*arguments)


def test_renewal_goes_by_the_certificate(mesh: Mesh) -> None:
    request = join_wire.encode(RenewRequest(csr_of(), "web-1"))
    joined = join_wire.decode_joined(mesh.service.renew(request, WEB, "10.0.0.1"))
    assert joined.identity == WEB
    assert joined.not_after == START + DAY
    cases = {"": 16, "spiffe://elsewhere/ns/shop/sa/web": 7, "https://x": 7}
    for identity, status in cases.items():
        with pytest.raises(JoinRefused) as refused:
            mesh.service.renew(request, identity, "10.0.0.1")
        assert refused.value.status == status
        assert mesh.audit[-1][3].startswith("refused: ")


@pytest.mark.parametrize(
    ("bundle", "is_told"), [("", False), ("ours", False), ("0" * 64, True)], ids=["none", "ours", "older"]
)
def test_renewal_under_an_older_bundle_is_audited_as_such(mesh: Mesh, bundle: str, is_told: bool) -> None:
    digest = digest_of_bundle(mesh.signer.bundle()) if bundle == "ours" else bundle
    mesh.service.renew(join_wire.encode(RenewRequest(csr_of(), "web-1", digest)), WEB, "10.0.0.1")
    assert ("older trust bundle" in mesh.audit[-1][3]) == is_told


def test_bytes_that_are_no_request_are_refused(mesh: Mesh) -> None:
    deep = b"\x81\xa1x" + b"\x91" * 60_000
    for data in (b"", b"\xc1", b"x" * 100_000, msgspec.msgpack.encode({"token": 1}), deep):
        with pytest.raises(JoinRefused) as refused:
            mesh.service.join(data, "10.0.0.1")
        assert refused.value.status == 3


@pytest.mark.parametrize(
    ("identity", "namespace", "account", "reason"),
    [
        (WEB, "shop", "web", ""),
        (WEB, "shop", "", ""),
        (WEB, "bank", "web", "is of namespace shop"),
        (WEB, "shop", "api", "is of account web"),
        ("spiffe://other/ns/shop/sa/web", "shop", "web", "trust domain other"),
        ("spiffe://cluster.local/whatever", "shop", "web", "no workload identity"),
        ("", "shop", "web", "client certificate"),
    ],
)
def test_node_has_to_agree_with_the_certificate(
    identity: str, namespace: str, account: str, reason: str
) -> None:
    found = judge_node(identity, namespace, account, DOMAIN)
    assert reason in found
    assert bool(found) == bool(reason)


def test_what_is_not_allowed_is_refused() -> None:
    assert authorise(Operator(), "write", "VirtualService/shop/x", DOMAIN).allowed
    for caller in (Workload(WEB), Nobody()):
        for action in ("read", "write", "create-token", "join"):
            assert not authorise(caller, action, "x", DOMAIN).allowed
    assert not authorise(Operator(), "stream", "x", DOMAIN).allowed
