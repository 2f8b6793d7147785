"""Join tokens: what lets a workload without an identity ask for its first one.

In: for whom, how often, how long; later the token and the digest of a key. Out: the text of a token, once; then whom it
admits, or `TokenRefused`. Invariants: only a digest of the secret is stored; the first use binds the key that came with it,
the same key gets the same again until the token ends, another key only while uses are left; two requests at once cannot both
take the last use. The store is seen through `Shelf`, since this room knows no store.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Literal, Protocol

import msgspec

from mainstay.identity.bundle import digest_of_bundle
from mainstay.identity.join_wire import Token, read_token, write_token
from mainstay.identity.spiffe import check_segment, make_identity
from mainstay.model.identity import Identity, TrustBundle

PREFIX = "join-token/"
ID_BYTES = 9
SECRET_BYTES = 24
MAX_USES = 10_000
MAX_LIFE_MS = 30 * 24 * 3_600_000
KEPT_MS = 24 * 3_600_000
"""How long an expired token is kept, so that whoever comes late is told that it has expired."""


class Shelf(Protocol):
    """As much of a store as tokens need. Calls may block for a disk write."""

    def get(self, key: str) -> tuple[bytes, int] | None:
        """Value and revision."""

    def put(self, key: str, value: bytes, revision: int) -> bool:
        """Writes if the key still has this revision (0: does not exist); tells whether it did."""

    def scan(self, prefix: str) -> Iterable[tuple[str, bytes, int]]:
        """Key, value, revision of all keys with this prefix."""

    def delete(self, key: str, revision: int) -> bool:
        """Deletes if the key still has this revision."""


class TokenRefused(Exception):  # noqa: N818  it reports the caller's fault
    """The token admits nobody; the words say why, and are fit for whoever holds the token."""


class Issued(msgspec.Struct, frozen=True):
    """A new token. `text` is shown once and stored nowhere."""

    text: str
    id: str
    identity: Identity
    expires: int

    def __repr__(self) -> str:
        return f"Issued(id={self.id!r}, …)"


class Grant(msgspec.Struct, frozen=True):
    """Whom a token admits. `group`: name of a WorkloadGroup of the identity's namespace, or empty. `is_new`: the key came for
    the first time."""

    id: str
    identity: Identity
    group: str
    is_new: bool


class Known(msgspec.Struct, frozen=True):
    """A token that exists, without what would let anybody join. `used`: how many keys have joined with it."""

    id: str
    identity: Identity
    group: str
    uses: int
    used: int
    expires: int
    state: Literal["open", "used up", "expired"]


class _Record(msgspec.Struct, frozen=True):
    """What the store keeps. `keys` are digests of keys that have joined."""

    secret: str
    trust_domain: str
    namespace: str
    account: str
    group: str
    uses: int
    expires: int
    keys: tuple[str, ...] = ()


class Tokens:
    """See the module. `now` is Unix ms; `bundle()` is the mesh's trust bundle; `server` the control plane's SPIFFE ID."""

    def __init__(
        self,
        shelf: Shelf,
        trust_domain: str,
        bundle: Callable[[], TrustBundle],
        now: Callable[[], int],
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        server: str = "",
    ) -> None:
        self._shelf = shelf
        self.trust_domain = trust_domain
        self._bundle = bundle
        self._now = now
        self._random_bytes = random_bytes
        self._server = server

    def create(self, namespace: str, account: str, group: str, uses: int, life_ms: int) -> Issued:
        """A new token; ValueError for what it may not be for."""
        identity = make_identity(self.trust_domain, namespace, account)
        if group:
            check_segment(group, "WorkloadGroup")
        if not 1 <= uses <= MAX_USES:
            raise ValueError(f"a token has 1 to {MAX_USES} uses, not {uses}")
        if not 0 < life_ms <= MAX_LIFE_MS:
            raise ValueError(f"a token lives at most {MAX_LIFE_MS // 86_400_000} days")
        self._drop_expired()
        number, secret = _text(self._random_bytes(ID_BYTES)), _text(self._random_bytes(SECRET_BYTES))
        expires = self._now() + life_ms
        record = _Record(_digest(secret), self.trust_domain, namespace, account, group, uses, expires)
        if not self._shelf.put(PREFIX + number, msgspec.json.encode(record), 0):
            raise RuntimeError("a random number came twice")
        token = Token(number, secret, digest_of_bundle(self._bundle()), self._server)
        return Issued(write_token(token), number, identity, expires)

    def redeem(self, text: str, key_digest: str) -> Grant:
        """Whom the token admits with this key. Raises `TokenRefused`, and ValueError for what is no token."""
        token = read_token(text)
        while True:
            found = self._shelf.get(PREFIX + token.id)
            record = msgspec.json.decode(found[0], type=_Record) if found is not None else _NOBODY
            # An unknown token costs the same comparison and gets the same words as a wrong secret.
            if not hmac.compare_digest(record.secret, _digest(token.secret)) or found is None:
                raise TokenRefused("the join token is unknown here: it was deleted, or is of another mesh")
            if self._now() >= record.expires:
                raise TokenRefused("the join token has expired: create another")
            identity = Identity(record.trust_domain, record.namespace, record.account)
            if key_digest in record.keys:
                return Grant(token.id, identity, record.group, False)
            if len(record.keys) >= record.uses:
                raise TokenRefused(
                    f"the join token was used by {_count(record.uses)} already, and this is another key: create another"
                )
            taken = msgspec.structs.replace(record, keys=(*record.keys, key_digest))
            if self._shelf.put(PREFIX + token.id, msgspec.json.encode(taken), found[1]):
                return Grant(token.id, identity, record.group, True)

    def known(self) -> list[Known]:
        """Tokens that exist, those that end first before the others; expired ones are shown as long as they are kept."""
        found = [
            self._show(key.removeprefix(PREFIX), msgspec.json.decode(value, type=_Record))
            for key, value, _ in self._shelf.scan(PREFIX)
        ]
        return sorted(found, key=lambda token: (token.expires, token.id))

    def _show(self, number: str, record: _Record) -> Known:
        identity = Identity(record.trust_domain, record.namespace, record.account)
        used = len(record.keys)
        state: Literal["open", "used up", "expired"] = "used up" if used >= record.uses else "open"
        if self._now() >= record.expires:
            state = "expired"
        return Known(number, identity, record.group, record.uses, used, record.expires, state)

    def delete(self, number: str) -> bool:
        """Ends a token by its id; False if there is none."""
        found = self._shelf.get(PREFIX + number)
        return found is not None and self._shelf.delete(PREFIX + number, found[1])

    def _drop_expired(self) -> None:
        for key, value, revision in list(self._shelf.scan(PREFIX)):
            if msgspec.json.decode(value, type=_Record).expires + KEPT_MS <= self._now():
                self._shelf.delete(key, revision)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _digest(secret: str) -> str:
    """Secrets are random and long, so a plain hash is enough."""
    return sha256(secret.encode()).hexdigest()


def _count(uses: int) -> str:
    return "a key" if uses == 1 else f"{uses} keys"


_NOBODY = _Record(_digest(""), "", "", "", "", 0, 0)
