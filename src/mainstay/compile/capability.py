"""What a proxy can do; decided here and in words, not left to its NACK.

In: what the node says of itself (user agent name, whether an agent of ours stands beside it, which protocols it has). Out:
``Capability``, of which compile steps see single traits only.
"""

from typing import Literal

import msgspec

from mainstay.model.rpc import RpcProtocol

Software = Literal["mainstay", "envoy", "grpc"]

OwnSecrets = Literal["agent", "files"]
"""Where a proxy finds its own leaf and roots, whose key the control plane never sees: an SDS server beside it (Istio's way;
Mainstay's sidecars are that to themselves), or files that ``mainstay sidecar --proxy envoy`` keeps beside it."""


ENVOY_CODECS = {
    "dubbo": (
        "envoy.generic_proxy.codecs.dubbo",
        "envoy.extensions.filters.network.generic_proxy.codecs.dubbo.v3.DubboCodecConfig",
    )
}
"""Protocols for which Envoy's generic proxy has a codec of its own: extension and message."""


class Capability(msgspec.Struct, frozen=True, gc=False):
    """A proxy's software. Mainstay's takes HTTP/1 inside HTTP/2 to able endpoints; Envoy gets no mark of it; gRPC's library
    has no listener for others' protocols. ``has_agent``: a program of ours beside it registers the workload, runs its probe
    and keeps its certificates as files. ``protocols``: what ours has of the RPC protocols that come with Mainstay, which an
    older version has fewer of; None is all."""

    software: Software = "envoy"
    has_agent: bool = False
    protocols: tuple[str, ...] | None = None

    @property
    def h2_tunnel(self) -> bool:
        """Tell whether the proxy understands endpoint metadata ``mainstay.dev: {h2_tunnel: true}``."""
        return self.software == "mainstay"

    @property
    def described_protocols(self) -> bool:
        """Tell whether the proxy takes descriptions of RPC protocols, and with them policies and routes of any depth."""
        return self.software == "mainstay"

    def speaks(self, protocol: RpcProtocol) -> bool:
        """Tell whether the proxy has a codec for an RPC protocol, or gets one by its description."""
        if self.described_protocols:
            return protocol.is_had(self.protocols)
        return self.software == "envoy" and protocol.name in ENVOY_CODECS

    @property
    def lists_mesh_alpns(self) -> bool:
        """Tell whether the proxy's TLS server refuses clients it has no protocol in common with (RFC 7301 §3.2), so that
        it must list the mesh's own names too. Envoy instead goes on without one, and takes any negotiated name but
        ``h2`` for HTTP/1: there they must not be listed."""
        return self.software == "mainstay"

    @property
    def own_secrets(self) -> OwnSecrets:
        """Tell where the proxy finds its leaf and roots."""
        return "files" if self.has_agent and self.software == "envoy" else "agent"


def capability_of(
    user_agent: str, has_agent: bool = False, protocols: tuple[str, ...] | None = None
) -> Capability:
    """Return the capability for ``node.user_agent_name``; whoever is unknown is treated as Envoy."""
    if user_agent.startswith("mainstay"):
        return Capability("mainstay", has_agent, protocols)
    return Capability("grpc" if user_agent.startswith("gRPC") else "envoy", has_agent)
