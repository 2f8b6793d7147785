"""Trust bundles: the roots of each trust domain, as sets, and the one digest of a set.

In: PEM certificates. Out: `TrustBundle`s in canonical form, digests. Invariant: the digest depends on the certificates alone,
not on their order, comments or line ends; a join token carries it. Pure; loaded by sidecars too.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping

from mainstay.model.identity import TrustBundle

try:
    from _blake2 import blake2b
except ImportError:  # an interpreter built without its own BLAKE2
    from hashlib import blake2b

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"
_DIGEST_BYTES = 32
"""First contact hangs on it, so it is long enough to resist collisions made on purpose."""


def certificates_of(pem: str) -> tuple[bytes, ...]:
    """The DER bytes of the certificates in a PEM text, in order; ValueError if one is damaged or there is none."""
    found: list[bytes] = []
    rest = pem
    while (begin := rest.find(_BEGIN)) >= 0:
        end = rest.find(_END, begin)
        if end < 0:
            raise ValueError("a certificate does not end")
        try:
            found.append(base64.b64decode("".join(rest[begin + len(_BEGIN) : end].split()), validate=True))
        except binascii.Error:
            raise ValueError("a certificate is not base64") from None
        rest = rest[end + len(_END) :]
    if not found:
        raise ValueError("there is no PEM certificate")
    return tuple(found)


def pem_of(der: bytes) -> str:
    """One certificate as PEM, lines of 64 characters."""
    text = base64.b64encode(der).decode()
    lines = [text[at : at + 64] for at in range(0, len(text), 64)]
    return "\n".join([_BEGIN, *lines, _END, ""])


def make_bundle(trust_domain: str, pems: Iterable[str]) -> TrustBundle:
    """A bundle in canonical form: each certificate once, sorted."""
    roots = sorted({pem_of(der) for pem in pems for der in certificates_of(pem)})
    return TrustBundle(trust_domain, tuple(roots))


def digest_of_bundle(bundle: TrustBundle) -> str:
    """The digest of trust domain and roots, hex."""
    made = blake2b(digest_size=_DIGEST_BYTES, person=b"mainstay bundle")
    made.update(bundle.trust_domain.encode() + b"\0")
    for der in sorted(der for pem in bundle.roots for der in certificates_of(pem)):
        made.update(len(der).to_bytes(4, "big") + der)
    return made.hexdigest()


def join_bundles(bundles: Iterable[TrustBundle]) -> Mapping[str, TrustBundle]:
    """Bundles by trust domain; those of one domain are united, so that an old and a new root are trusted together."""
    roots: dict[str, set[str]] = {}
    for bundle in bundles:
        roots.setdefault(bundle.trust_domain, set()).update(bundle.roots)
    return {domain: make_bundle(domain, found) for domain, found in sorted(roots.items())}
