"""Joining and renewing: who is trusted when, and what happens when it fails."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from mainstay.identity import join_wire
from mainstay.identity.bundle import digest_of_bundle, pem_of
from mainstay.identity.join_wire import BundleAnswer, Joined, Token
from mainstay.model.identity import TrustBundle
from mainstay.sidecar.certificates import (
    PERMISSION_DENIED,
    Answered,
    Begun,
    Call,
    Certificates,
    Command,
    Failed,
    Install,
    KeyMade,
    MakeRequest,
    ReadToken,
    Report,
    SetTimer,
    TimerFired,
    TokenRead,
    Trusted,
)
from mainstay.sidecar.leaf_file import LeafFile, Stored

HOUR = 3_600_000
BUNDLE = BundleAnswer("cluster.local", (pem_of(b"root"),), "spiffe://cluster.local/ns/istio-system/sa/cp")
IMPOSTOR = BundleAnswer("cluster.local", BUNDLE.roots, "spiffe://cluster.local/ns/shop/sa/thief")
OTHER = BundleAnswer("cluster.local", (pem_of(b"other root"),), BUNDLE.server)
IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart"

C = TypeVar("C", bound=Command)


def token(bundle: BundleAnswer = BUNDLE) -> str:
    digest = digest_of_bundle(TrustBundle(bundle.trust_domain, bundle.roots))
    return join_wire.write_token(Token("id", "secret", digest, bundle.server))


def joined(start: int, life: int = 24 * HOUR) -> Joined:
    return Joined(IDENTITY, "chain", BUNDLE, start, start + life)


def machine() -> Certificates:
    return Certificates("node", "shop", "cart", lambda: 0.5)


def only(kind: type[C], commands: list[Command]) -> C:
    (found,) = [command for command in commands if isinstance(command, kind)]
    return found


def join(certificates: Certificates, now: int = 0) -> list[Command]:
    """The whole way, up to the leaf."""
    certificates.handle(Begun(), now)
    certificates.handle(TokenRead(token()), now)
    certificates.handle(Answered(join_wire.encode(BUNDLE)), now)
    certificates.handle(KeyMade(7, b"csr"), now)
    return certificates.handle(Answered(join_wire.encode(joined(now))), now)


def test_the_first_call_trusts_nobody_and_the_second_the_bundle() -> None:
    certificates = machine()
    assert certificates.handle(Begun(), 0) == [ReadToken()]
    first = only(Call, certificates.handle(TokenRead(token()), 0))
    assert (first.trust, first.path) == ("unverified", join_wire.GET_BUNDLE)
    out = certificates.handle(Answered(join_wire.encode(BUNDLE)), 0)
    assert out == [Trusted(BUNDLE), MakeRequest(None, IDENTITY, save=True)]
    second = only(Call, certificates.handle(KeyMade(7, b"csr"), 0))
    assert (second.trust, second.path) == ("bundle", join_wire.JOIN)
    out = certificates.handle(Answered(join_wire.encode(joined(0))), 0)
    assert only(Install, out) == Install(7, joined(0), save=True)
    assert certificates.joined == joined(0)


@pytest.mark.parametrize("answer", [OTHER, IMPOSTOR], ids=["other roots", "a workload of the mesh"])
def test_the_token_is_not_shown_to_who_is_not_in_it(answer: BundleAnswer) -> None:
    certificates = machine()
    certificates.handle(Begun(), 0)
    certificates.handle(TokenRead(token()), 0)
    out = certificates.handle(Answered(join_wire.encode(answer)), 0)
    assert not [command for command in out if isinstance(command, (Call, Trusted, MakeRequest))]
    assert "not the one in the join token" in only(Report, out).reason


def test_a_denied_token_is_told_and_read_again_later() -> None:
    certificates = machine()
    certificates.handle(Begun(), 0)
    certificates.handle(TokenRead(token()), 0)
    certificates.handle(Answered(join_wire.encode(BUNDLE)), 0)
    certificates.handle(KeyMade(7, b"csr"), 0)
    out = certificates.handle(Failed(PERMISSION_DENIED, "the token has expired"), 0)
    assert "the token has expired" in only(Report, out).reason
    assert "mainstay join-token create" in only(Report, out).reason
    at = only(SetTimer, out).at
    assert at >= 15_000
    assert certificates.handle(TimerFired(), at) == [ReadToken()]
    # The bundle is known and the key is kept: the next attempt goes on from there.
    assert certificates.handle(TokenRead(token()), at) == [MakeRequest(7, IDENTITY, save=True)]


def test_an_unreachable_control_plane_is_tried_with_back_off() -> None:
    certificates = machine()
    certificates.handle(Begun(), 0)
    waits, now = [], 0
    for _ in range(10):
        certificates.handle(TokenRead(token()), now)
        at = only(SetTimer, certificates.handle(Failed(14, "refused"), now)).at
        waits.append(at - now)
        now = at
        assert certificates.handle(TimerFired(), now) == [ReadToken()]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (375, 22_500)


@pytest.mark.parametrize("text", [None, "", "mst1.damaged", "not a token"])
def test_a_missing_or_damaged_token_is_told(text: str | None) -> None:
    certificates = machine()
    certificates.handle(Begun(), 0)
    out = certificates.handle(TokenRead(text, "no such file"), 0)
    assert only(Report, out).trouble == "cannot join the mesh"
    assert only(SetTimer, out).at > 0


def test_a_leaf_from_disk_serves_without_a_call() -> None:
    out = machine().handle(Begun(3, joined(0)), HOUR)
    assert only(Install, out) == Install(3, joined(0), save=False)
    assert not [command for command in out if isinstance(command, (Call, ReadToken))]


def test_an_expired_leaf_from_disk_joins_again_with_its_key() -> None:
    certificates = machine()
    assert certificates.handle(Begun(3, joined(0)), 25 * HOUR) == [ReadToken()]
    certificates.handle(TokenRead(token()), 25 * HOUR)
    out = certificates.handle(Answered(join_wire.encode(BUNDLE)), 25 * HOUR)
    assert only(MakeRequest, out).key == 3


def test_it_renews_at_half_life_with_the_leaf_and_a_new_key() -> None:
    certificates = machine()
    at = only(SetTimer, join(certificates)).at
    assert at == 12 * HOUR
    assert certificates.handle(TimerFired(), at) == [
        MakeRequest(None, IDENTITY, save=False),
        SetTimer(16 * HOUR),
    ]
    call = only(Call, certificates.handle(KeyMade(8, b"csr"), at))
    assert (call.trust, call.path) == ("leaf", join_wire.RENEW)
    out = certificates.handle(Answered(join_wire.encode(joined(at))), at)
    assert only(Install, out).key == 8
    assert only(SetTimer, out).at == at + 12 * HOUR


def test_a_short_life_is_not_renewed_at_once_for_being_backdated() -> None:
    certificates = machine()
    certificates.handle(Begun(), 0)
    certificates.handle(TokenRead(token()), 0)
    certificates.handle(Answered(join_wire.encode(BUNDLE)), 0)
    certificates.handle(KeyMade(7, b"csr"), 0)
    leaf = Joined(IDENTITY, "chain", BUNDLE, -300_000, 60_000)
    out = certificates.handle(Answered(join_wire.encode(leaf)), 0)
    assert not [command for command in out if isinstance(command, MakeRequest)]
    assert only(SetTimer, out).at == 30_000


def test_trouble_with_renewal_shows_from_two_thirds_of_life() -> None:
    certificates = machine()
    now = only(SetTimer, join(certificates)).at
    reports = []
    while now < 23 * HOUR:
        out = certificates.handle(TimerFired(), now)
        if any(isinstance(command, MakeRequest) for command in out):
            certificates.handle(KeyMade(8, b"csr"), now)
            out += certificates.handle(Failed(14, "nobody there"), now)
        reports += [(now, command) for command in out if isinstance(command, Report)]
        now = [command.at for command in out if isinstance(command, SetTimer)][-1]
    ((told_at, report),) = reports
    assert told_at >= 16 * HOUR
    assert report.trouble == "the certificate is late"


def test_after_the_end_of_its_life_only_a_token_helps() -> None:
    certificates = machine()
    join(certificates)
    out = certificates.handle(TimerFired(), 25 * HOUR)
    assert ReadToken() in out
    assert any(isinstance(c, Report) and c.trouble == "the certificate is expired" for c in out)
    assert certificates.handle(TokenRead(token()), 25 * HOUR) == [MakeRequest(7, IDENTITY, save=True)]


def test_an_unreadable_answer_is_a_failure() -> None:
    certificates = machine()
    certificates.handle(Begun(), 0)
    certificates.handle(TokenRead(token()), 0)
    out = certificates.handle(Answered(b"\xff\xff"), 0)
    assert "cannot be read" in only(Report, out).reason
    assert only(SetTimer, out).at > 0


def test_key_and_certificate_are_kept_together(tmp_path: Path) -> None:
    file = LeafFile(tmp_path / "identity")
    assert file.load() is None
    file.save(Stored("key"))
    file.save(Stored("key", joined(0)))
    assert LeafFile(tmp_path / "identity").load() == Stored("key", joined(0))
    assert (tmp_path / "identity").stat().st_mode & 0o777 == 0o600
    assert "key" not in repr(file.load()).split("(")[1].split(",")[0]
    (tmp_path / "identity").write_text("{")
    assert LeafFile(tmp_path / "identity").load() is None


def test_the_group_of_the_token_outlives_renewals() -> None:
    certificates = machine()
    certificates.handle(Begun(), 0)
    certificates.handle(TokenRead(token()), 0)
    certificates.handle(Answered(join_wire.encode(BUNDLE)), 0)
    certificates.handle(KeyMade(7, b"csr"), 0)
    first = msgspec.structs.replace(joined(0), group="shop/carts")
    at = only(SetTimer, certificates.handle(Answered(join_wire.encode(first)), 0)).at
    certificates.handle(TimerFired(), at)
    certificates.handle(KeyMade(8, b"csr"), at)
    kept = only(Install, certificates.handle(Answered(join_wire.encode(joined(at))), at)).joined
    assert (kept.not_before, kept.group) == (at, "shop/carts")
