"""Described RPC protocols as facts, and which ports speak them.

In: ``Protocol`` objects, those that come with Mainstay and those somebody applied. Out: ``RpcProtocol``, one per name; ports
whose claims are settled. Invariant: of two protocols that the same first bytes fit, at most one is ever detected.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Literal

import msgspec

from mainstay.model.protocol import PortProtocol
from mainstay.model.service import Service, ServicePort

OutcomeName = Literal[
    "success",
    "callerError",
    "denied",
    "notFound",
    "serverError",
    "unavailable",
    "unreached",
    "overloaded",
    "timeout",
]
"""How a call ended, in words that every protocol's own status is mapped to. ``unreached``: surely nothing of it came to the
provider, so that it may be sent elsewhere, as after ``overloaded``; ``unavailable``: it may have come there."""

HTTP_STATUS: dict[OutcomeName, int] = {
    "success": 200,
    "callerError": 400,
    "denied": 403,
    "notFound": 404,
    "serverError": 500,
    "unavailable": 502,
    "unreached": 503,
    "overloaded": 503,
    "timeout": 504,
}
"""The HTTP status that stands for an outcome wherever policies, metrics and logs are shared with HTTP."""


UNBEGUN_OUTCOMES: frozenset[OutcomeName] = frozenset({"overloaded", "unreached"})
"""After these a call did not happen, so that it may be tried again whatever it does. Policies see both as 503."""


class Opening(msgspec.Struct, frozen=True, gc=False, order=True):
    """First bytes under a mask, of the same length."""

    mask: bytes
    value: bytes

    def meets(self, other: "Opening") -> bool:
        """Tell whether some bytes fit both."""
        return all(
            (a & b) & (x ^ y) == 0
            for a, b, x, y in zip(self.mask, other.mask, self.value, other.value, strict=False)
        )


class RpcProtocol(msgspec.Struct, frozen=True, gc=False):
    """A described protocol. ``description`` is the whole document, empty for one that comes with Mainstay, which every
    proxy of ours has too; ``sha256`` is that of the description's bytes, in hexadecimal. ``openings`` are the first bytes
    by which it is detected, empty where a port has to declare it. ``heartbeat``: the bytes of one, and how its answer begins;
    empty where that cannot be known beforehand. ``native``: no description says what its frames are, but a codec of this
    name does."""

    name: str
    description: str = ""
    sha256: str = ""
    openings: tuple[Opening, ...] = ()
    created: int = 0
    heartbeat: tuple[bytes, ...] = ()
    native: bool = False

    @property
    def key(self) -> str:
        """A protocol is found by its name."""
        return self.name

    def is_had(self, had: Collection[str] | None) -> bool:
        """Tell whether a proxy of ours can speak it that has these of the protocols which come with Mainstay, None being all.
        What somebody described is sent to it."""
        return bool(self.description) or had is None or self.name in had


Known = Callable[[str], bool]
"""Whether there is a protocol of this name."""


def settle_name(claims: Iterable[str], known: Known) -> str:
    """Return the first protocol there is among those a port claims, or nothing."""
    return next((name for name in claims if known(name)), "")


def settle_port(port: ServicePort, known: Known) -> ServicePort:
    """Return the port with its claims decided: it speaks a protocol there is, or what it spoke without."""
    if not port.claims:
        return port
    name = settle_name(port.claims, known)
    protocol = PortProtocol.RPC if name else port.protocol
    return msgspec.structs.replace(port, protocol=protocol, rpc=name, claims=())


def settle_ports(service: Service, known: Known) -> Service:
    """Return the service with the claims of its ports decided."""
    if not any(port.claims for port in service.ports):
        return service
    return msgspec.structs.replace(service, ports=tuple(settle_port(port, known) for port in service.ports))


def detectable(
    protocols: Iterable[RpcProtocol], had: Collection[str] | None = None
) -> tuple[RpcProtocol, ...]:
    """Return the protocols that first bytes tell, by name, as far as a proxy has them (``is_had``). Where two begin alike
    (admission refuses the second), the older one is detected and the other has to be declared."""
    found: list[RpcProtocol] = []
    usable = [each for each in protocols if each.openings and each.is_had(had)]
    for each in sorted(usable, key=lambda protocol: (protocol.created, protocol.name)):
        if not any(
            mine.meets(theirs) for other in found for mine in each.openings for theirs in other.openings
        ):
            found.append(each)
    return tuple(sorted(found, key=lambda protocol: protocol.name))
