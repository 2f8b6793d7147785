"""Who may do what: the one place that decides it.

In: who calls (as the way in has established it), the action, the object. Out: a `Verdict`. Invariant: what is not allowed
here is refused. REST callers hold the credential; streams and renewals a leaf; joins a token's grant. Pure.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.identity.spiffe import read_identity
from mainstay.model.identity import Identity

Action = Literal["read", "write", "create-token", "stream", "renew", "join"]


class Operator(msgspec.Struct, frozen=True):
    """Whoever holds the credential of the REST API."""


class Workload(msgspec.Struct, frozen=True):
    """A client certificate of the mesh; `identity` is its SPIFFE ID, as text."""

    identity: str


class TokenHolder(msgspec.Struct, frozen=True):
    """A join token that was redeemed; `identity` is whom it is for."""

    identity: Identity


class Nobody(msgspec.Struct, frozen=True):
    """No certificate, no credential, no token."""


Caller = Operator | Workload | TokenHolder | Nobody


class Node(msgspec.Struct, frozen=True):
    """What a proxy says it is, as object of `stream`. `account` empty: any of the namespace."""

    namespace: str
    account: str = ""


Object = Node | Identity | str
"""A node (for `stream`), an identity (for `join` and `renew`), or the name of an object (for the rest)."""


class Verdict(msgspec.Struct, frozen=True):
    """`reason` says why not, in words for the log and the caller."""

    allowed: bool
    reason: str = ""


ALLOWED = Verdict(True)


def authorise(caller: Caller, action: Action, object: Object, trust_domain: str) -> Verdict:
    """Whether `caller` may do this to `object`, in the mesh of this trust domain."""
    match caller, action:
        case Operator(), "read" | "write" | "create-token":
            return ALLOWED
        case Workload(), "stream":
            return _judge_node(caller.identity, object, trust_domain)
        case Workload(), "renew":
            return _judge_renewal(caller.identity, object, trust_domain)
        case TokenHolder(), "join":
            if caller.identity == object and caller.identity.trust_domain == trust_domain:
                return ALLOWED
            return Verdict(False, f"the token is for {caller.identity.spiffe}")
        case Nobody(), "stream" | "renew":
            return Verdict(False, "a client certificate of the mesh is needed: join with a token first")
        case _:
            return Verdict(False, f"{type(caller).__name__.lower()} may not {action}")


def judge_node(identity: str, namespace: str, account: str, trust_domain: str) -> str:
    """Why a certificate's holder may not be this node; empty if it may. `identity` empty: there was no certificate."""
    caller: Caller = Workload(identity) if identity else Nobody()
    return authorise(caller, "stream", Node(namespace, account), trust_domain).reason


def _judge_node(text: str, node: Object, trust_domain: str) -> Verdict:
    identity = _identity_of(text, trust_domain)
    if isinstance(identity, Verdict):
        return identity
    if not isinstance(node, Node):
        return Verdict(False, "a stream is of a node")
    if identity.namespace != node.namespace:
        return Verdict(
            False, f"the certificate is of namespace {identity.namespace}, the node says {node.namespace}"
        )
    if node.account and identity.account != node.account:
        return Verdict(
            False, f"the certificate is of account {identity.account}, the node needs {node.account}"
        )
    return ALLOWED


def _judge_renewal(text: str, object: Object, trust_domain: str) -> Verdict:
    identity = _identity_of(text, trust_domain)
    if isinstance(identity, Verdict):
        return identity
    return ALLOWED if identity == object else Verdict(False, "a certificate renews its own identity only")


def _identity_of(text: str, trust_domain: str) -> Identity | Verdict:
    try:
        identity = read_identity(text)
    except ValueError as error:
        return Verdict(False, str(error))
    if identity.trust_domain != trust_domain:
        return Verdict(
            False, f"the certificate is of trust domain {identity.trust_domain}, this mesh is {trust_domain}"
        )
    return identity
