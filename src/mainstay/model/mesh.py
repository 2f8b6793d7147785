"""Mesh-wide settings as a fact, so that changing one recomputes only what read it.

In: the control plane's settings. Out: one ``Mesh`` value. Defaults are Istio's, but the access log is off.
"""

from typing import Literal

import msgspec

from mainstay.model.identity import DEFAULT_TRUST_DOMAIN
from mainstay.model.policy import MtlsMode
from mainstay.model.scope import OutboundMode


class Mesh(msgspec.Struct, frozen=True, gc=False):
    """Settings every compile step may read.

    ``root_namespace`` holds mesh-wide policies and DestinationRules. ``mtls`` holds where no PeerAuthentication speaks.
    ``access_log`` JSON or TEXT goes to standard output. ``detection_timeout`` (ms) is how long a port of unknown protocol
    waits for the client's first bytes before it is taken for TCP. ``connect_timeout`` ms.
    ``trace_sampling`` is the share, in percent, of sampled traces among those that begin in the mesh; without it none begin.
    """

    trust_domain: str = DEFAULT_TRUST_DOMAIN
    domain_suffix: str = "cluster.local"
    root_namespace: str = "istio-system"
    mtls: MtlsMode = "PERMISSIVE"
    outbound: OutboundMode = "ALLOW_ANY"
    access_log: Literal["OFF", "JSON", "TEXT"] = "OFF"
    detection_timeout: int = 1_000
    connect_timeout: int = 10_000
    trace_sampling: int | None = None


DEFAULT_MESH = Mesh()
