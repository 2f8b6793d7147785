"""AuthorizationPolicy as authors write it (security.istio.io; source: istio/api authorization_policy.proto).

In: YAML or JSON, through the decoder. Out: ``AuthorizationPolicy``, read by ``translate/policy``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from mainstay.api.define import Anything, Length, NotYet, NotYetValue, Part
from mainstay.api.istio.selector import LabelSelector

_TOKENS = NotYet("JSON Web Tokens (RequestAuthentication)")
Texts = Annotated[tuple[Annotated[str, Length(1, 1024)], ...], Length(0, 512)]


class Source(Part, frozen=True):
    """Who calls; within a field any value suffices, all given fields must hold. Values may be `prefix*`, `*suffix`, `*`."""

    principals: Annotated[
        Texts, "Peer identities `<trust domain>/ns/<namespace>/sa/<account>`; needs mTLS."
    ] = ()
    not_principals: Annotated[Texts, "Other peers than these."] = ()
    request_principals: Annotated[Anything, "Token identities.", _TOKENS] = None
    not_request_principals: Annotated[Anything, "Other token identities.", _TOKENS] = None
    namespaces: Annotated[Texts, "Namespaces of peers; needs mTLS."] = ()
    not_namespaces: Annotated[Texts, "Other namespaces than these."] = ()
    service_accounts: Annotated[Texts, "`namespace/account`, or `account` in the policy's namespace."] = ()
    not_service_accounts: Annotated[Texts, "Other accounts than these."] = ()
    trust_domains: Annotated[Texts, "Trust domains of peers."] = ()
    not_trust_domains: Annotated[Texts, "Other trust domains than these."] = ()
    ip_blocks: Annotated[Texts, "IP addresses or CIDR blocks of the direct peer."] = ()
    not_ip_blocks: Annotated[Texts, "Other addresses than these."] = ()
    remote_ip_blocks: Annotated[Texts, "IP addresses or CIDR blocks of the original client."] = ()
    not_remote_ip_blocks: Annotated[Texts, "Other original clients than these."] = ()


class From(Part, frozen=True):
    """One possible source."""

    source: Annotated[Source, "Who calls."]


class Operation(Part, frozen=True):
    """What is called; within a field any value suffices, all given fields must hold."""

    hosts: Annotated[Texts, "Authorities, compared without case."] = ()
    not_hosts: Annotated[Texts, "Other authorities than these."] = ()
    ports: Annotated[Texts, "Ports of the workload, as text."] = ()
    not_ports: Annotated[Texts, "Other ports than these."] = ()
    methods: Annotated[Texts, "Methods; POST for gRPC."] = ()
    not_methods: Annotated[Texts, "Other methods than these."] = ()
    paths: Annotated[Texts, "Paths; for gRPC `/package.Service/Method`."] = ()
    not_paths: Annotated[Texts, "Other paths than these."] = ()


class To(Part, frozen=True):
    """One possible operation."""

    operation: Annotated[Operation, "What is called."]


class Condition(Part, frozen=True):
    """A further condition."""

    key: Annotated[str, "Attribute, e.g. `request.headers[x-version]`.", Length(1, 256)]
    values: Annotated[Texts, "Values of which one is needed."] = ()
    not_values: Annotated[Texts, "Values none of which is allowed."] = ()


class Rule(Part, frozen=True):
    """Fits when any source, any operation and every condition fit; an absent part fits all."""

    from_: Annotated[tuple[From, ...], "Sources.", Length(0, 512)] = ()
    to: Annotated[tuple[To, ...], "Operations.", Length(0, 512)] = ()
    when: Annotated[tuple[Condition, ...], "Conditions.", Length(0, 512)] = ()


class AuthorizationPolicy(Part, frozen=True):
    """Who may call workloads. Any fitting DENY refuses; with ALLOW policies one of them must fit; without any, all is
    allowed. An empty spec allows nothing."""

    selector: Annotated[LabelSelector | None, "Workloads it is for; the whole namespace if absent."] = None
    target_ref: Annotated[Anything, "Old form.", NotYet("binding to Gateway API objects")] = None
    target_refs: Annotated[Anything, "Gateway API objects.", NotYet("binding to Gateway API objects")] = None
    rules: Annotated[tuple[Rule, ...], "Rules, any of which suffices.", Length(0, 512)] = ()
    action: Annotated[
        Literal["ALLOW", "DENY", "AUDIT", "CUSTOM"],
        "What a fitting rule does.",
        NotYetValue(("AUDIT",), "auditing by policy"),
        NotYetValue(("CUSTOM",), "external authorisation"),
    ] = "ALLOW"
    provider: Annotated[Anything, "External authoriser.", NotYet("external authorisation")] = None
