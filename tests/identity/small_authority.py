"""A CA in a directory with a clock of its own, a shelf in memory, and certificate requests."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from mainstay.identity.authority import Authority, open_authority
from mainstay.identity.certificates import PrivateKey

START = 1_800_000_000_000
DOMAIN = "cluster.local"
DAY = 86_400_000


class Clock:
    def __init__(self, now: int = START) -> None:
        self.ms = now

    def __call__(self) -> int:
        return self.ms


class Shelf:
    """In memory. `before_put` lets a test come between reading and writing."""

    def __init__(self) -> None:
        self.entries: dict[str, tuple[bytes, int]] = {}
        self.revision = 0
        self.conflicts = 0

    def get(self, key: str) -> tuple[bytes, int] | None:
        return self.entries.get(key)

    def put(self, key: str, value: bytes, revision: int) -> bool:
        if self.conflicts:
            self.conflicts -= 1
            return False
        found = self.entries.get(key)
        if (found[1] if found else 0) != revision:
            return False
        self.revision += 1
        self.entries[key] = (value, self.revision)
        return True

    def scan(self, prefix: str) -> Iterable[tuple[str, bytes, int]]:
        return [(key, *entry) for key, entry in self.entries.items() if key.startswith(prefix)]

    def delete(self, key: str, revision: int) -> bool:
        found = self.entries.get(key)
        if found is None or found[1] != revision:
            return False
        del self.entries[key]
        return True


def authority(path: Path, clock: Clock | None = None) -> Authority:
    return open_authority(path / "ca", DOMAIN, clock or Clock())


def csr_of(key: PrivateKey | None = None, uri: str = "spiffe://evil/ns/x/sa/y") -> bytes:
    """A request that asks for a name nobody will get."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.DER)


def chain_of(pem: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode())
