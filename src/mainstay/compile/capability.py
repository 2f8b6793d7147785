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


def capability_of(user_agent: str) -> Capability:
    """Return the capability for ``node.user_agent_name``; whoever is unknown is treated as Envoy."""
    return Capability("mainstay" if user_agent.startswith("mainstay") else "envoy")
