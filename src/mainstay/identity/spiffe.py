"""SPIFFE IDs: what may be one (SPIFFE-ID specification §2), and which of them are workloads of ours.

In: text of tokens, certificates, headers. Out: `Identity`, or ValueError in words for an operator. Invariant: nothing that is
not a valid ID gets any further. Pure; loaded by sidecars too.
"""

from __future__ import annotations

import re

from mainstay.model.identity import Identity, parse_spiffe

MAX_ID_BYTES = 2_048
MAX_DOMAIN_BYTES = 255

_DOMAIN = re.compile(r"[a-z0-9._-]+")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")


def check_trust_domain(text: str) -> str:
    """The trust domain, if it may be one; ValueError else."""
    if len(text) > MAX_DOMAIN_BYTES or not _DOMAIN.fullmatch(text):
        raise ValueError(
            f"{text!r} is no trust domain: 1 to {MAX_DOMAIN_BYTES} lower-case letters, digits, dots, dashes and underscores"
        )
    return text


def check_segment(text: str, what: str) -> str:
    """One part of an ID's path (namespace, account), if it may be one; ValueError else."""
    if not _SEGMENT.fullmatch(text) or text in (".", ".."):
        raise ValueError(f"{text!r} is no {what}: letters, digits, dots, dashes and underscores are allowed")
    return text


def make_identity(trust_domain: str, namespace: str, account: str) -> Identity:
    """An identity of checked parts; ValueError names the part that is wrong."""
    made = Identity(
        check_trust_domain(trust_domain),
        check_segment(namespace, "namespace"),
        check_segment(account, "account"),
    )
    if len(made.spiffe) > MAX_ID_BYTES:
        raise ValueError(f"the SPIFFE ID would be longer than {MAX_ID_BYTES} bytes")
    return made


def read_identity(text: str) -> Identity:
    """The workload identity in a SPIFFE ID of Istio's layout; ValueError else."""
    found = parse_spiffe(text)
    if found is None:
        raise ValueError(
            f"{text!r} is no workload identity: spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT is expected"
        )
    return make_identity(found.trust_domain, found.namespace, found.account)
