"""The messages with which a workload joins and renews: MessagePack structs as bytes of gRPC messages.

In and out: declarations. Shared by the sidecar (client, over the engine's gRPC calls) and the control plane (`join`). gRPC
without Protobuf: paths, statuses and framing are gRPC's, the messages are MessagePack maps by field name, unknown fields are
ignored.

How a workload joins, with a token it was given: `TOKEN_PREFIX` and base64url of a `Token`.
1. Over TLS to the control plane's port, without checking the server (there are no roots yet): `GET_BUNDLE` → `BundleAnswer`.
   The answer counts only if `bundle.digest_of_bundle` of it equals the token's `bundle`, and its `server` the token's.
2. Over a new connection, verified by that bundle and the server's SPIFFE ID (`server` of the answer): `JOIN`, `JoinRequest` →
`Joined`.
   Every failure is a gRPC status: 7 PERMISSION_DENIED (expired, used up, bound to another key; the words say which), 3
   INVALID_ARGUMENT (no token, no CSR), 14 UNAVAILABLE (try again). Asking again with the same key gives the same identity.
3. From then on with the leaf as client certificate: `RENEW`, `RenewRequest` → `Joined`.
"""

from __future__ import annotations

import base64

import msgspec

SERVICE = "mainstay.identity.v1.Identity"
GET_BUNDLE = f"/{SERVICE}/GetBundle"
JOIN = f"/{SERVICE}/Join"
RENEW = f"/{SERVICE}/Renew"

TOKEN_PREFIX = "mst1."

SERVER_NAME = "mainstay-control-plane"
"""DNS name in the server's certificate, beside its SPIFFE ID and its addresses; clients send it as SNI."""

SERVER_ACCOUNT = "mainstay-control-plane"
"""Account of the control plane's own identity, in the root namespace."""


class Token(msgspec.Struct, frozen=True):
    """A join token: `id` names it, `secret` proves it, `bundle` is the digest (hex) of the trust bundle of the mesh, `server`
    the control plane's SPIFFE ID: else any workload of the mesh could answer in its place and get the token.

    Whom it is for stands in the control plane's store, not here."""

    id: str
    secret: str
    bundle: str
    server: str = ""

    def __repr__(self) -> str:
        return f"Token(id={self.id!r}, …)"


class BundleRequest(msgspec.Struct, frozen=True):
    """Asks for the trust bundle: it is no secret."""


class BundleAnswer(msgspec.Struct, frozen=True):
    """`roots`: PEM certificates. `server`: SPIFFE ID of the control plane, to be found in its certificate."""

    trust_domain: str
    roots: tuple[str, ...]
    server: str = ""


class JoinRequest(msgspec.Struct, frozen=True):
    """`token` as it was given; `csr`: PKCS#10 in DER, of which only the key counts; `node`: for the audit alone."""

    token: str
    csr: bytes
    node: str = ""

    def __repr__(self) -> str:
        return f"JoinRequest(node={self.node!r}, …)"


class RenewRequest(msgspec.Struct, frozen=True):
    """Identity and group come from the client certificate. `bundle`: digest (hex) of the bundle in use."""

    csr: bytes
    node: str = ""
    bundle: str = ""


class Joined(msgspec.Struct, frozen=True):
    """A certificate and what to trust.

    `chain`: PEM, leaf first, intermediates after it, root left out. `identity`: the SPIFFE ID in it. `group`: WorkloadGroup
    (`namespace/name`) the token is for, or empty; always empty in a renewal. `not_before`, `not_after`: Unix ms.
    """

    identity: str
    chain: str
    bundle: BundleAnswer
    not_before: int
    not_after: int
    group: str = ""


def encode(message: msgspec.Struct) -> bytes:
    """The bytes of a gRPC message."""
    return _encoder.encode(message)


def decode_bundle(data: bytes) -> BundleAnswer:
    """Raises ValueError."""
    return _bundle.decode(data)


def decode_joined(data: bytes) -> Joined:
    """Raises ValueError."""
    return _joined.decode(data)


def write_token(token: Token) -> str:
    """The text of a token, one line without spaces."""
    return TOKEN_PREFIX + base64.urlsafe_b64encode(_encoder.encode(token)).decode().rstrip("=")


def read_token(text: str) -> Token:
    """Reads a token; ValueError says what it is not, and never repeats it."""
    text = text.strip()
    if not text.startswith(TOKEN_PREFIX):
        raise ValueError(f"not a join token: it does not begin with {TOKEN_PREFIX}")
    body = text.removeprefix(TOKEN_PREFIX)
    try:
        return _token.decode(base64.b64decode(body + "=" * (-len(body) % 4), altchars=b"-_", validate=True))
    except ValueError:
        raise ValueError("not a join token: it is damaged; copy it again") from None


_encoder = msgspec.msgpack.Encoder()
_bundle = msgspec.msgpack.Decoder(BundleAnswer)
_joined = msgspec.msgpack.Decoder(Joined)
_token = msgspec.msgpack.Decoder(Token)
