"""The built-in certificate authority: a root, an intermediate that signs leaves, both as files.

In: a directory (made at first start), or a company's intermediate in files. Out: a `Signer`. Invariants: private keys are
0600 files and never in the store; the root key signs intermediates only and may be taken off line, with its file moved away,
as long as the intermediate lives; leaves never outlive what signed them. A root that is to be replaced is trusted beside its
successor: all certificates in `roots.pem` are in the bundle.

    ca/root-key.pem           (0600) may stay off line
    ca/roots.pem              trusted roots; the first is the one whose key is here
    ca/intermediate-key.pem   (0600)
    ca/intermediate.pem       the chain that leaves are sent with
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mainstay.identity import certificates
from mainstay.identity.bundle import make_bundle
from mainstay.identity.certificates import PrivateKey
from mainstay.identity.signer import BACKDATED_MS, Chain, LeafRequest, SignerError
from mainstay.model.identity import TrustBundle
from mainstay.settings import OperatorError
from mainstay.telemetry.log import get_log

log = get_log("identity")

_DAY_MS = 24 * 3_600_000
ROOT_LIFE_MS = 3_650 * _DAY_MS
INTERMEDIATE_LIFE_MS = 365 * _DAY_MS
INTERMEDIATE_RENEWED_MS = 120 * _DAY_MS
"""With less life than this an intermediate is replaced, if the root key is here."""
EXPIRY_WARNED_MS = 30 * _DAY_MS


class Authority:
    """A `Signer` over an intermediate in memory. `now` is Unix ms. `renew`: makes a successor of the intermediate, if it
    can."""

    def __init__(
        self,
        chain: tuple[x509.Certificate, ...],
        key: PrivateKey,
        bundle: TrustBundle,
        now: Callable[[], int],
        renew: Callable[[], tuple[tuple[x509.Certificate, ...], PrivateKey] | None] | None = None,
    ) -> None:
        self._bundle = bundle
        self._now = now
        self._renew = renew
        self._use(chain, key)

    def __repr__(self) -> str:
        return f"Authority({self._bundle.trust_domain}, …)"

    def _use(self, chain: tuple[x509.Certificate, ...], key: PrivateKey) -> None:
        self._issuer = (chain[0], key)
        self._behind = certificates.pem_of([each for each in chain if not certificates.is_self_signed(each)])
        self._expiry = min(certificates.lifetime(each)[1] for each in chain)

    def sign(self, request: LeafRequest) -> Chain:
        """A leaf of the identity given; valid from a little before now."""
        now = self._now()
        self._look_after_itself(now)
        if now >= self._expiry:
            raise SignerError(
                "the CA's intermediate certificate has expired: give the control plane a new one"
            )
        valid = now - BACKDATED_MS, min(now + request.life, self._expiry)
        leaf = certificates.make_leaf(request, valid, self._issuer)
        not_before, not_after = certificates.lifetime(leaf)
        return Chain(
            certificates.pem_of([leaf]) + self._behind, not_before, not_after, f"{leaf.serial_number:x}"
        )

    def bundle(self) -> TrustBundle:
        return self._bundle

    def expiry(self) -> int:
        return self._expiry

    def _look_after_itself(self, now: int) -> None:
        """Replaces an intermediate that nears its end, once its successor can be made."""
        if self._renew is None or now < self._expiry - INTERMEDIATE_RENEWED_MS:
            return
        made = self._renew()
        if made is not None:
            self._use(*made)
            log.info("intermediate certificate renewed", expires=self._expiry)


def open_authority(directory: Path, trust_domain: str, now: Callable[[], int]) -> Authority:
    """The CA of a directory, made at first. Raises `OperatorError` for files that are missing, damaged or readable by
    others."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        return _Files(directory, trust_domain, now).open()
    except OSError as error:
        raise OperatorError(f"cannot use the CA's directory {directory}: {error.strerror or error}") from None


def load_authority(cert: Path, key: Path, trust_domain: str, now: Callable[[], int]) -> Authority:
    """A company's intermediate: `cert` is its certificate, those above it, and the root. Raises `OperatorError`."""
    try:
        found = _read_certificates(cert)
        private = _read_key(key)
    except OSError as error:
        raise OperatorError(f"cannot read the CA's files {cert} and {key}: {error.strerror}") from None
    roots = [each for each in found if certificates.is_self_signed(each)]
    chain = tuple(each for each in found if each not in roots)
    if not roots:
        raise OperatorError(f"{cert} has no root certificate: append it after the intermediate's chain")
    if not chain:
        chain = (roots[0],)  # a root that signs leaves itself: unwise, but the operator's choice
    _check_chain(cert, chain, roots, private, now())
    return Authority(chain, private, make_bundle(trust_domain, [certificates.pem_of(roots)]), now)


class _Files:
    """The directory of the built-in CA."""

    def __init__(self, directory: Path, trust_domain: str, now: Callable[[], int]) -> None:
        self._root_key = directory / "root-key.pem"
        self._roots = directory / "roots.pem"
        self._key = directory / "intermediate-key.pem"
        self._chain = directory / "intermediate.pem"
        self._trust_domain = trust_domain
        self._now = now

    def open(self) -> Authority:
        if not self._roots.exists():
            self._make_root()
        roots = _read_certificates(self._roots)
        self._check_domain(roots[0])
        found = self._read_intermediate()
        chain, key = found if found is not None else self._make_intermediate()
        _check_chain(self._chain, chain, roots, key, self._now())
        bundle = make_bundle(self._trust_domain, [certificates.pem_of(roots)])
        return Authority(chain, key, bundle, self._now, self._renew)

    def _read_intermediate(self) -> tuple[tuple[x509.Certificate, ...], PrivateKey] | None:
        """What is there; None if it is missing, torn (the program ended between two files) or near its end, and can be made
        anew."""
        if not self._chain.exists() or not self._key.exists():
            return None
        chain, key = tuple(_read_certificates(self._chain)), _read_key(self._key)
        ends_soon = certificates.lifetime(chain[0])[1] - INTERMEDIATE_RENEWED_MS <= self._now()
        if self._root_key.exists() and (ends_soon or not _belongs(chain[0], key)):
            return None
        return chain, key

    def _make_root(self) -> None:
        if self._root_key.exists():
            raise OperatorError(f"{self._roots} is missing beside {self._root_key}: restore it from a backup")
        key = certificates.make_key()
        now = self._now()
        root = certificates.make_authority(
            f"root of {self._trust_domain}", key, self._trust_domain, (now - BACKDATED_MS, now + ROOT_LIFE_MS)
        )
        _write(self._root_key, certificates.pem_of_key(key), 0o600)
        _write(self._roots, certificates.pem_of([root]).encode(), 0o644)
        log.info("root certificate made", path=self._roots, trust_domain=self._trust_domain)

    def _make_intermediate(self) -> tuple[tuple[x509.Certificate, ...], PrivateKey]:
        if not self._root_key.exists():
            raise OperatorError(
                f"the CA's intermediate is missing or ends soon, and {self._root_key} is not here to make another: "
                "put it back for one start"
            )
        root, root_key = _read_certificates(self._roots)[0], _read_key(self._root_key)
        key = certificates.make_key()
        now = self._now()
        until = min(now + INTERMEDIATE_LIFE_MS, certificates.lifetime(root)[1])
        made = certificates.make_authority(
            f"intermediate of {self._trust_domain}",
            key,
            self._trust_domain,
            (now - BACKDATED_MS, until),
            (root, root_key),
        )
        _write(self._key, certificates.pem_of_key(key), 0o600)
        _write(self._chain, certificates.pem_of([made]).encode(), 0o644)
        return (made,), key

    def _renew(self) -> tuple[tuple[x509.Certificate, ...], PrivateKey] | None:
        """While running: a disk or a root key that is not there is no reason to stop signing."""
        try:
            return self._make_intermediate() if self._root_key.exists() else None
        except (OSError, OperatorError) as error:
            log.error("intermediate certificate cannot be renewed", error=str(error))
            return None

    def _check_domain(self, root: x509.Certificate) -> None:
        expected = f"spiffe://{self._trust_domain}"
        found = certificates.spiffe_ids(root)
        if found and expected not in found:
            raise OperatorError(
                f"{self._roots} belongs to the trust domain {found[0].removeprefix('spiffe://')}, not to {self._trust_domain}: "
                "use another --state directory, or that --trust-domain"
            )


def _read_certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        raise OperatorError(f"{path} holds no PEM certificates: {error}") from None


def _read_key(path: Path) -> PrivateKey:
    if path.stat().st_mode & 0o077:
        raise OperatorError(f"the key file {path} can be read by others; run `chmod 600 {path}`")
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise OperatorError(f"{path} holds no unencrypted PEM private key: {error}") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey):
        raise OperatorError(f"{path} holds a key that cannot sign certificates: use ECDSA, RSA or Ed25519")
    return key


def _write(path: Path, content: bytes, mode: int) -> None:
    """Replaces a file whole; it never exists with more rights or less content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _check_chain(
    path: Path,
    chain: tuple[x509.Certificate, ...],
    roots: list[x509.Certificate],
    key: PrivateKey,
    now: int,
) -> None:
    """Raises `OperatorError` where a proxy would refuse the leaves of this chain."""
    issuer = chain[0]
    if not _belongs(issuer, key):
        raise OperatorError(f"the first certificate of {path} does not belong to the CA's key")
    for lower, upper in itertools.pairwise(chain):
        if not certificates.is_issued_by(lower, upper):
            raise OperatorError(
                f"the certificates of {path} are not in order: each has to be signed by the next"
            )
    if not any(chain[-1] == root or certificates.is_issued_by(chain[-1], root) for root in roots):
        raise OperatorError(f"no root certificate belongs to the chain of {path}")
    for each in chain:
        if not _may_sign(each):
            raise OperatorError(f"a certificate of {path} is no CA certificate, so it must not sign others")
        not_before, not_after = certificates.lifetime(each)
        if not not_before - BACKDATED_MS <= now < not_after:
            raise OperatorError(f"a certificate of {path} is not valid now: renew it, or correct the clock")
        if not_after - now < EXPIRY_WARNED_MS:
            log.warning("CA certificate expires soon", path=path, days=(not_after - now) // _DAY_MS)


def _may_sign(certificate: x509.Certificate) -> bool:
    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    except x509.ExtensionNotFound as missing:
        return missing.oid == x509.KeyUsage.oid  # without key usage nothing is forbidden (RFC 5280 §4.2.1.3)


def _belongs(certificate: x509.Certificate, key: PrivateKey) -> bool:
    return _public_bytes(key.public_key()) == _public_bytes(certificate.public_key())


def _public_bytes(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
