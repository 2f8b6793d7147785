"""The one hash: 12-byte BLAKE2b over canonical bytes, for resource versions, equality of facts and resume.

In: bytes or a model value. Out: 12 bytes. Invariant: equal values have equal digests in every process and after every
restart, because structs encode their fields in declared order and hold no unordered parts. Called by compile, graph,
store and the sidecar; the latter must not load OpenSSL, hence the interpreter's own BLAKE2 (``hashlib`` costs 3.7 MiB).
"""

import msgspec

try:
    from _blake2 import blake2b
except ImportError:  # an interpreter built without its own BLAKE2
    from hashlib import blake2b

DIGEST_BYTES = 12
"""Length of every digest: 96 bits keep accidental collisions out of reach for any mesh, and names short."""

_encoder = msgspec.msgpack.Encoder()


def digest_of_bytes(body: bytes, domain: bytes = b"") -> bytes:
    """Digest ``body``; ``domain`` (at most 16 bytes) separates uses whose bytes could coincide."""
    return blake2b(body, digest_size=DIGEST_BYTES, person=domain).digest()


def digest_of(value: object) -> bytes:
    """Digest a model value through its canonical MessagePack form; raises TypeError for what msgspec cannot encode."""
    return digest_of_bytes(_encoder.encode(value))
