"""Policies: what selected workloads demand of their peers and callers.

In: PeerAuthentication, AuthorizationPolicy, LocalRateLimit. Out: ``Policy`` facts: key, selector, typed body. A policy of
the root namespace applies everywhere, one without selector to its namespace, one with selector to workloads with those
labels. Unknown or broken policies fail closed: what cannot be compiled denies what it selects.
"""

from typing import Literal

import msgspec

from mainstay.model.key import Labels, PolicyKey

MtlsMode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]
"""``UNSET`` inherits: workload from namespace, namespace from mesh; the mesh's own default is PERMISSIVE."""

AuthorizationAction = Literal["ALLOW", "DENY"]


class PeerAuthentication(msgspec.Struct, frozen=True, gc=False, tag="PeerAuthentication"):
    """Mutual TLS demanded from peers; ``ports`` are (application port, mode) by port and need a selector."""

    mode: MtlsMode = "UNSET"
    ports: tuple[tuple[int, MtlsMode], ...] = ()


class Source(msgspec.Struct, frozen=True, gc=False):
    """Who calls (AuthorizationPolicy Source); each tuple sorted, any of it fits, all non-empty ones must.

    ``principals`` are ``<trust domain>/ns/<ns>/sa/<account>`` with ``prefix*``, ``*suffix``, ``*``; ``ip_blocks`` CIDRs of
    the direct peer, ``remote_ip_blocks`` of the original client; ``service_accounts`` are ``namespace/account``.
    """

    principals: tuple[str, ...] = ()
    not_principals: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    not_namespaces: tuple[str, ...] = ()
    service_accounts: tuple[str, ...] = ()
    not_service_accounts: tuple[str, ...] = ()
    trust_domains: tuple[str, ...] = ()
    not_trust_domains: tuple[str, ...] = ()
    ip_blocks: tuple[str, ...] = ()
    not_ip_blocks: tuple[str, ...] = ()
    remote_ip_blocks: tuple[str, ...] = ()
    not_remote_ip_blocks: tuple[str, ...] = ()


class Operation(msgspec.Struct, frozen=True, gc=False):
    """What is called (AuthorizationPolicy Operation). ``ports`` are texts of numbers; hosts, methods and paths exist only
    in HTTP: in a TCP port an ALLOW rule with them never fits, a DENY rule ignores them."""

    hosts: tuple[str, ...] = ()
    not_hosts: tuple[str, ...] = ()
    ports: tuple[str, ...] = ()
    not_ports: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    not_methods: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    not_paths: tuple[str, ...] = ()


class Condition(msgspec.Struct, frozen=True, gc=False):
    """One ``when``: key as in Istio (``request.headers[x]``, ``source.ip``, ``destination.port`` …)."""

    key: str
    values: tuple[str, ...] = ()
    not_values: tuple[str, ...] = ()


class AuthorizationRule(msgspec.Struct, frozen=True, gc=False):
    """Any source and any operation and every condition; an empty part fits all."""

    sources: tuple[Source, ...] = ()
    operations: tuple[Operation, ...] = ()
    conditions: tuple[Condition, ...] = ()


class Authorization(msgspec.Struct, frozen=True, gc=False, tag="AuthorizationPolicy"):
    """Allow or deny by rules. ALLOW without rules denies all; DENY without rules denies nothing. ``dry_run`` only
    counts (annotation istio.io/dry-run)."""

    action: AuthorizationAction = "ALLOW"
    rules: tuple[AuthorizationRule, ...] = ()
    dry_run: bool = False


class LocalRateLimit(msgspec.Struct, frozen=True, gc=False, tag="LocalRateLimit"):
    """A token bucket in each selected proxy (mainstay.dev LocalRateLimit).

    ``tokens`` are added each ``interval`` (milliseconds) up to ``burst``. ``ports`` are application ports, sorted; empty
    all. ``status`` answers what finds no token.
    """

    tokens: int
    interval: int
    burst: int
    ports: tuple[int, ...] = ()
    status: int = 429


PolicyBody = PeerAuthentication | Authorization | LocalRateLimit


class Policy(msgspec.Struct, frozen=True, gc=False):
    """A policy: ``selector`` picks workloads of its namespace (all namespaces, from the root namespace)."""

    key: PolicyKey
    body: PolicyBody
    selector: Labels = ()
    created: int = 0
