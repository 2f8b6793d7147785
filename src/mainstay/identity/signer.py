"""What signs leaves: one narrow interface, so that a KMS, Vault, SPIRE or another CA can stand behind it.

In: a `LeafRequest`, whose identity has been decided by `authorise`. Out: `Chain`. Invariant: a signer decides nothing; of a
certificate signing request only the public key counts, and that it proves possession of the private one.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from mainstay.model.identity import TrustBundle

PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey

MAX_CSR_BYTES = 16 * 1024
MIN_RSA_BITS = 2_048
MAX_RSA_BITS = 4_096
LEAF_LIFE_MS = 24 * 3_600_000
BACKDATED_MS = 5 * 60_000
"""Leaves are valid from a little earlier: clocks differ."""


class LeafRequest(msgspec.Struct, frozen=True):
    """`identity`: SPIFFE ID, the only name of a workload. `dns` and `addresses` are for servers that are found by name or
    address (the control plane's own). `life`: ms, at most what the signer allows."""

    identity: str
    key: PublicKey
    life: int = LEAF_LIFE_MS
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()


class Chain(msgspec.Struct, frozen=True):
    """`pem`: leaf first, then intermediates, the root left out. Times are Unix ms; `serial` is hex."""

    pem: str
    not_before: int
    not_after: int
    serial: str


class Signer(Protocol):
    """See the module."""

    def sign(self, request: LeafRequest) -> Chain:
        """A leaf. May block for a remote signer; raises `SignerError`."""

    def bundle(self) -> TrustBundle:
        """What verifies leaves of this signer, now and after a change of root that is under way."""

    def expiry(self) -> int:
        """Unix ms at which it can sign no longer, if nobody acts."""


class SignerError(Exception):
    """The signer cannot sign now; the words say what to check."""


def key_of_csr(csr: bytes) -> PublicKey:
    """The key of a PKCS#10 request (DER), if the request is signed with it and it is good enough; ValueError else."""
    if len(csr) > MAX_CSR_BYTES:
        raise ValueError(f"the certificate signing request is larger than {MAX_CSR_BYTES} bytes")
    try:
        request = x509.load_der_x509_csr(csr)
        is_signed = request.is_signature_valid
        key = request.public_key()
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm) as error:
        raise ValueError(f"the certificate signing request cannot be read: {error}") from None
    if not is_signed:
        raise ValueError("the certificate signing request is not signed with its own key")
    return check_key(key)


def check_key(key: object) -> PublicKey:
    """The key, if it is of a kind and strength we certify; ValueError else."""
    match key:
        case ec.EllipticCurvePublicKey() if isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case rsa.RSAPublicKey() if MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            return key
        case _:
            raise ValueError(
                "the key is of no accepted kind: ECDSA P-256 or P-384, Ed25519, or RSA with "
                f"{MIN_RSA_BITS} to {MAX_RSA_BITS} bits"
            )


def digest_of_key(key: PublicKey) -> str:
    """The digest (hex) that a join token is bound to."""
    encoded = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    made = hashes.Hash(hashes.SHA256())
    made.update(encoded)
    return made.finalize().hex()
