"""Join and renew: the service behind the three gRPC methods of `join_wire`, without gRPC.

In: bytes of a request, who calls. Out: bytes of the answer, or `JoinRefused` with a gRPC status and words. Invariants:
`authorise` decides the identity, from token or leaf, never from the names in a request; every issuance and every refusal is
audited before its answer leaves. Methods may block (store, signer): `control.join` calls them on a worker thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import msgspec

from mainstay.identity import join_wire
from mainstay.identity.authorise import Action, Caller, Nobody, TokenHolder, Workload, authorise
from mainstay.identity.bundle import digest_of_bundle
from mainstay.identity.join_wire import BundleAnswer, Joined, JoinRequest, RenewRequest
from mainstay.identity.signer import LeafRequest, PublicKey, Signer, SignerError, digest_of_key, key_of_csr
from mainstay.identity.spiffe import read_identity
from mainstay.identity.tokens import TokenRefused, Tokens
from mainstay.model.identity import Identity

INVALID_ARGUMENT = 3
PERMISSION_DENIED = 7
UNAVAILABLE = 14
UNAUTHENTICATED = 16

MAX_REQUEST_BYTES = 64 * 1024

R = TypeVar("R", bound=msgspec.Struct)

Audit = Callable[[str, str, str, str], None]
"""`audit(who, action, object, result)`."""


class JoinRefused(Exception):  # noqa: N818  it reports the caller's fault
    """A gRPC status, and words for whoever asked."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status
        self.words = words


class JoinService:
    """See the module. `server` is the control plane's own SPIFFE ID; `life` that of leaves, ms."""

    def __init__(
        self, signer: Signer, tokens: Tokens, audit: Audit, trust_domain: str, server: str, life: int
    ) -> None:
        self._signer = signer
        self._tokens = tokens
        self._audit = audit
        self._trust_domain = trust_domain
        self._server = server
        self._life = life

    def bundle(self) -> BundleAnswer:
        """What verifies this mesh's leaves."""
        bundle = self._signer.bundle()
        return BundleAnswer(bundle.trust_domain, bundle.roots, self._server)

    def get_bundle(self, _request: bytes) -> bytes:
        """For whoever asks: a bundle is no secret. The token's digest says whether it is the right one."""
        return join_wire.encode(self.bundle())

    def join(self, request: bytes, address: str) -> bytes:
        """A first leaf, by token."""
        asked = _decode(request, JoinRequest)
        who = asked.node or address
        try:
            key = key_of_csr(asked.csr)
            grant = self._tokens.redeem(asked.token, digest_of_key(key))
        except TokenRefused as error:
            raise self._refuse(who, "join", address, PERMISSION_DENIED, str(error)) from None
        except ValueError as error:
            raise self._refuse(who, "join", address, INVALID_ARGUMENT, str(error)) from None
        how = f"token {grant.id}, {'first use of the key' if grant.is_new else 'the same key again'}"
        group = f"{grant.identity.namespace}/{grant.group}" if grant.group else ""
        return self._issue(TokenHolder(grant.identity), grant.identity, key, who, how, group)

    def renew(self, request: bytes, identity: str, address: str) -> bytes:
        """A leaf in place of the one the caller shows; `identity` is its SPIFFE ID, empty without one."""
        asked = _decode(request, RenewRequest)
        who = identity or address
        caller: Caller = Workload(identity) if identity else Nobody()
        try:
            wanted = read_identity(identity) if identity else Identity("", "", "")
        except ValueError as error:
            raise self._refuse(who, "renew", identity, PERMISSION_DENIED, str(error)) from None
        verdict = authorise(caller, "renew", wanted, self._trust_domain)
        if not verdict.allowed:
            status = PERMISSION_DENIED if identity else UNAUTHENTICATED
            raise self._refuse(who, "renew", identity or asked.node, status, verdict.reason)
        try:
            key = key_of_csr(asked.csr)
        except ValueError as error:
            raise self._refuse(who, "renew", identity, INVALID_ARGUMENT, str(error)) from None
        how = "its own certificate"
        if asked.bundle and asked.bundle != digest_of_bundle(self._signer.bundle()):
            how += ", under an older trust bundle than ours"  # which the answer replaces
        return self._issue(caller, wanted, key, who, how, "")

    def _issue(
        self, caller: Caller, identity: Identity, key: PublicKey, who: str, how: str, group: str
    ) -> bytes:
        action: Action = "join" if isinstance(caller, TokenHolder) else "renew"
        verdict = authorise(caller, action, identity, self._trust_domain)
        if not verdict.allowed:
            raise self._refuse(who, action, identity.spiffe, PERMISSION_DENIED, verdict.reason)
        try:
            chain = self._signer.sign(LeafRequest(identity.spiffe, key, self._life))
        except SignerError as error:
            raise self._refuse(who, action, identity.spiffe, UNAVAILABLE, str(error)) from None
        self._audit(who, action, identity.spiffe, f"issued {chain.serial} until {chain.not_after}, by {how}")
        return join_wire.encode(
            Joined(identity.spiffe, chain.pem, self.bundle(), chain.not_before, chain.not_after, group)
        )

    def _refuse(self, who: str, action: str, object: str, status: int, words: str) -> JoinRefused:
        self._audit(who, action, object, f"refused: {words}")
        return JoinRefused(status, words)


def _decode(request: bytes, kind: type[R]) -> R:
    if len(request) > MAX_REQUEST_BYTES:
        raise JoinRefused(INVALID_ARGUMENT, f"the request is larger than {MAX_REQUEST_BYTES} bytes")
    try:
        return msgspec.msgpack.decode(request, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise JoinRefused(INVALID_ARGUMENT, f"the request cannot be read: {error}") from None
