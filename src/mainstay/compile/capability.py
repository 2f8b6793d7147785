"""What a proxy can do; decided here and in words, not left to its NACK.

In: what the node says of itself (user agent name). Out: ``Capability``, of which compile steps see single traits only.
"""

from typing import Literal

import msgspec

Software = Literal["mainstay", "envoy"]


class Capability(msgspec.Struct, frozen=True, gc=False):
    """A proxy's software. Mainstay's takes HTTP/1 inside HTTP/2 to able endpoints; Envoy gets no mark of it."""

    software: Software = "envoy"

    @property
    def h2_tunnel(self) -> bool:
        """Tell whether the proxy understands endpoint metadata ``mainstay.dev: {h2_tunnel: true}``."""
        return self.software == "mainstay"

    @property
    def lists_mesh_alpns(self) -> bool:
        """Tell whether the proxy's TLS server refuses clients it has no protocol in common with (RFC 7301 §3.2), so that
        it must list the mesh's own names too. Envoy instead goes on without one, and takes any negotiated name but
        ``h2`` for HTTP/1: there they must not be listed."""
        return self.software == "mainstay"


def capability_of(user_agent: str) -> Capability:
    """Return the capability for ``node.user_agent_name``; whoever is unknown is treated as Envoy."""
    return Capability("mainstay" if user_agent.startswith("mainstay") else "envoy")
