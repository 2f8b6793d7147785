"""PeerAuthentication as authors write it (security.istio.io; source: istio/api peer_authentication.proto).

In: YAML or JSON, through the decoder. Out: ``PeerAuthentication``, read by ``translate/policy``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from mainstay.api.define import Length, Part
from mainstay.api.istio.selector import LabelSelector


class MutualTLS(Part, frozen=True):
    """Whether peers must use mutual TLS."""

    mode: Annotated[
        Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"],
        "STRICT: only mutual TLS · PERMISSIVE: plain too · DISABLE: plain only · UNSET: from the level above.",
    ] = "UNSET"


class PeerAuthentication(Part, frozen=True):
    """Mutual TLS demanded from those who connect to workloads: of the mesh (in the root namespace), of a namespace, or
    of selected workloads; the mesh's default is PERMISSIVE."""

    selector: Annotated[LabelSelector | None, "Workloads it is for; the whole namespace if absent."] = None
    mtls: Annotated[MutualTLS | None, "Mode of all ports."] = None
    port_level_mtls: Annotated[
        dict[str, MutualTLS], "Modes by number of the application's port; needs a selector.", Length(0, 128)
    ] = {}
