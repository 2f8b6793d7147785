"""The built-in CA: what it keeps, what it signs, what it refuses to work with."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.verification import PolicyBuilder, Store
from small_authority import DAY, DOMAIN, START, Clock, authority, chain_of, csr_of

from mainstay.identity import certificates
from mainstay.identity.authority import INTERMEDIATE_LIFE_MS, load_authority, open_authority
from mainstay.identity.signer import LeafRequest, SignerError, check_key, digest_of_key, key_of_csr
from mainstay.settings import OperatorError

WEB = "spiffe://cluster.local/ns/shop/sa/web"


def request(life: int = DAY) -> LeafRequest:
    return LeafRequest(WEB, certificates.make_key().public_key(), life)


def test_leaf_has_the_identity_alone_and_verifies_under_the_bundle(tmp_path: Path) -> None:
    ca = authority(tmp_path)
    chain = ca.sign(
        LeafRequest(WEB, certificates.make_key().public_key(), DAY, ("control.local",), ("127.0.0.1",))
    )
    leaf, intermediate = chain_of(chain.pem)
    assert certificates.spiffe_ids(leaf) == (WEB,)
    assert leaf.subject == x509.Name([])
    assert (chain.not_before, chain.not_after) == (START - 300_000, START + DAY)
    roots = chain_of("".join(ca.bundle().roots))
    verifier = (
        PolicyBuilder()
        .store(Store(roots))
        .time(certificates.moment(START))
        .build_server_verifier(x509.DNSName("control.local"))
    )
    assert len(verifier.verify(leaf, [intermediate])) == 3


def test_names_of_the_request_are_ignored() -> None:
    key = certificates.make_key()
    found = key_of_csr(csr_of(key, "spiffe://cluster.local/ns/kube-system/sa/admin"))
    assert digest_of_key(found) == digest_of_key(key.public_key())


def test_request_signed_by_another_key_is_refused() -> None:
    damaged = bytearray(csr_of())
    damaged[-1] ^= 1
    for csr in (bytes(damaged), b"", b"\x30\x03abc", b"x" * 20_000):
        with pytest.raises(ValueError, match="certificate signing request"):
            key_of_csr(csr)


def test_weak_keys_are_refused() -> None:
    check_key(ed25519.Ed25519PrivateKey.generate().public_key())
    for key in (
        rsa.generate_private_key(65_537, 1_024).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
    ):
        with pytest.raises(ValueError, match="no accepted kind"):
            check_key(key)


def test_files_are_made_once_and_keys_are_private(tmp_path: Path) -> None:
    first = authority(tmp_path)
    second = authority(tmp_path)
    assert first.bundle() == second.bundle()
    for name in ("root-key.pem", "intermediate-key.pem"):
        assert (tmp_path / "ca" / name).stat().st_mode & 0o777 == 0o600
    assert chain_of(first.sign(request()).pem)[1] == chain_of(second.sign(request()).pem)[1]


def test_key_that_others_can_read_stops_the_program(tmp_path: Path) -> None:
    authority(tmp_path)
    (tmp_path / "ca" / "intermediate-key.pem").chmod(0o640)
    with pytest.raises(OperatorError, match="chmod 600"):
        authority(tmp_path)


def test_root_key_may_be_off_line(tmp_path: Path) -> None:
    authority(tmp_path)
    (tmp_path / "ca" / "root-key.pem").unlink()
    assert chain_of(authority(tmp_path).sign(request()).pem)
    (tmp_path / "ca" / "intermediate.pem").unlink()
    with pytest.raises(OperatorError, match="put it back"):
        authority(tmp_path)


def test_torn_intermediate_is_made_anew(tmp_path: Path) -> None:
    """The program ended between writing the key and its certificate."""
    authority(tmp_path)
    (tmp_path / "ca" / "intermediate-key.pem").write_bytes(certificates.pem_of_key(certificates.make_key()))
    assert chain_of(authority(tmp_path).sign(request()).pem)


def test_intermediate_is_renewed_while_running_and_leaves_stay_under_the_same_root(tmp_path: Path) -> None:
    clock = Clock()
    ca = authority(tmp_path, clock)
    before = chain_of(ca.sign(request()).pem)[1]
    clock.ms += INTERMEDIATE_LIFE_MS - 100 * DAY
    after = chain_of(ca.sign(request()).pem)[1]
    assert before != after
    root = chain_of(ca.bundle().roots[0])[0]
    assert certificates.is_issued_by(after, root)


def test_leaf_never_outlives_what_signed_it_and_an_expired_ca_signs_nothing(tmp_path: Path) -> None:
    clock = Clock()
    ca = authority(tmp_path, clock)
    (tmp_path / "ca" / "root-key.pem").unlink()
    clock.ms = ca.expiry() - 1_000
    assert ca.sign(request()).not_after <= ca.expiry()
    clock.ms = ca.expiry()
    with pytest.raises(SignerError, match="expired"):
        ca.sign(request())


def test_directory_of_another_trust_domain_is_refused(tmp_path: Path) -> None:
    authority(tmp_path)
    with pytest.raises(OperatorError, match=r"cluster\.local, not to other\.example"):
        open_authority(tmp_path / "ca", "other.example", Clock())


def test_second_root_is_trusted_too(tmp_path: Path) -> None:
    authority(tmp_path)
    other = open_authority(tmp_path / "other", DOMAIN, Clock())
    with (tmp_path / "ca" / "roots.pem").open("a") as file:
        file.write(other.bundle().roots[0])
    assert set(other.bundle().roots) < set(authority(tmp_path).bundle().roots)


class Company:
    """A company's root and intermediate, written as `--ca-cert` and `--ca-key` take them."""

    def __init__(self, path: Path, *, is_ca: bool = True) -> None:
        self.cert, self.key = path / "cert.pem", path / "key.pem"
        valid = START - DAY, START + 100 * DAY
        root_key, key = certificates.make_key(), certificates.make_key()
        self.root = certificates.make_authority("company", root_key, "company", valid)
        if is_ca:
            made = certificates.make_authority("mesh", key, DOMAIN, valid, (self.root, root_key))
        else:
            made = certificates.make_leaf(LeafRequest(WEB, key.public_key()), valid, (self.root, root_key))
        self.write([made, self.root])
        self.key.write_bytes(certificates.pem_of_key(key))
        self.key.chmod(0o600)
        self.intermediate = made

    def write(self, chain: list[x509.Certificate]) -> None:
        self.cert.write_text(certificates.pem_of(chain))


def test_intermediate_of_a_company_signs(tmp_path: Path) -> None:
    company = Company(tmp_path)
    ca = load_authority(company.cert, company.key, DOMAIN, Clock())
    leaf, intermediate = chain_of(ca.sign(request()).pem)
    assert intermediate == company.intermediate
    assert certificates.is_issued_by(leaf, intermediate)
    assert chain_of(ca.bundle().roots[0]) == [company.root]


def test_company_files_that_proxies_would_refuse_stop_the_program(tmp_path: Path) -> None:
    company = Company(tmp_path)
    stranger = certificates.make_authority("x", certificates.make_key(), "x", (START, START + DAY))
    cases = {
        "no root certificate: append": [company.intermediate],
        "no root certificate belongs": [company.intermediate, stranger],
        "does not belong to the CA's key": [company.root],
    }
    for words, chain in cases.items():
        company.write(chain)
        with pytest.raises(OperatorError, match=words):
            load_authority(company.cert, company.key, DOMAIN, Clock())
    company.write([company.intermediate, company.root])
    with pytest.raises(OperatorError, match="not valid now"):
        load_authority(company.cert, company.key, DOMAIN, Clock(START + 200 * DAY))
    leaf = Company(tmp_path, is_ca=False)
    with pytest.raises(OperatorError, match="is no CA certificate"):
        load_authority(leaf.cert, leaf.key, DOMAIN, Clock())
