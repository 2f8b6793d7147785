"""MeshSettings: what holds for the whole mesh.

In: YAML or JSON, through the decoder, alone or as ``settings`` of a ``Mesh``. Out: ``MeshSettings``, read by ``translate``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from mainstay.api.define import Duration, Part, Pattern, Range
from mainstay.api.object import NAMESPACE

TRUST_DOMAIN = Pattern(
    r"[a-z0-9]([-a-z0-9._]{0,252}[a-z0-9])?", "a lower-case domain name such as cluster.local"
)


class MeshSettings(Part, frozen=True):
    """What holds for the whole mesh. One object, named `default`; without it, the defaults below hold."""

    trust_domain: Annotated[
        str | None,
        "Trust domain of identities; `cluster.local` if absent. Must be the certificate authority's.",
        TRUST_DOMAIN,
    ] = None
    domain_suffix: Annotated[
        str | None, "Suffix of completed short names; `cluster.local` if absent.", TRUST_DOMAIN
    ] = None
    root_namespace: Annotated[
        str | None, "Namespace whose policies hold everywhere; `istio-system` if absent.", NAMESPACE
    ] = None
    mtls: Annotated[
        Literal["DISABLE", "PERMISSIVE", "STRICT"] | None,
        "Mutual TLS where no PeerAuthentication speaks; PERMISSIVE if absent.",
    ] = None
    outbound_traffic_policy: Annotated[
        Literal["REGISTRY_ONLY", "ALLOW_ANY"] | None, "Traffic for unknown hosts; ALLOW_ANY if absent."
    ] = None
    access_log: Annotated[Literal["OFF", "JSON", "TEXT"] | None, "Access log of proxies; OFF if absent."] = (
        None
    )
    trace_sampling: Annotated[
        int | None,
        "Requests and calls that bring no trace begin one, of which so many percent are sampled. Absent: none"
        " begin, and those that come pass as they are.",
        Range(0, 100),
    ] = None
    detection_timeout: Annotated[
        Duration | None,
        "How long a port of unknown protocol waits for the client's first bytes; 1s if absent.",
    ] = None
    connect_timeout: Annotated[Duration | None, "Limit of connecting; 10s if absent."] = None
