"""Endpoints as packed rows: a million of them must fit.

In: ``Endpoint`` views made by sources and by ``membership``. Out: ``EndpointSet``, one per service port and source, whose
32-byte rows are sorted by address and port, and whose attribute table is sorted: equal content, equal bytes. What many
endpoints share (locality, network, identity, labels, TLS ability) is one ``EndpointAttributes`` in the set's table.
``Endpoint`` exists only while iterating. A row, big-endian: 16 address (IPv4 mapped), 2 port, 2 weight, 1 health,
1 flags (0), 4 attribute index, 2 source, 4 start time (Unix seconds).
"""

import socket
import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import cast

import msgspec

from mainstay.model.key import EndpointSetKey, Labels, NamedTargetKey
from mainstay.model.locality import NOWHERE, Locality

_ROW = struct.Struct(">16sHHBBIHI")
ROW_BYTES = _ROW.size
_V4_MAPPED = bytes(10) + b"\xff\xff"
MAX_WEIGHT = 65_535


class Health(IntEnum):
    """What the endpoint's own side reports; only ``HEALTHY`` and ``UNKNOWN`` take traffic."""

    UNKNOWN = 0
    HEALTHY = 1
    UNHEALTHY = 2
    DRAINING = 3


class EndpointAttributes(msgspec.Struct, frozen=True, gc=False, order=True):
    """What endpoints share.

    ``identity`` is the SPIFFE ID the peer presents, empty if unknown. ``meshed``: a proxy terminates mesh mTLS there
    (label ``security.istio.io/tlsMode=istio``). ``h2_tunnel``: that proxy is Mainstay's and takes HTTP/1 inside HTTP/2.
    ``workload``, ``canonical_name``, ``canonical_revision``, ``namespace``, ``cluster`` are for telemetry labels.
    """

    locality: Locality = NOWHERE
    network: str = ""
    identity: str = ""
    labels: Labels = ()
    meshed: bool = False
    h2_tunnel: bool = False
    workload: str = ""
    namespace: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    cluster: str = ""


class Endpoint(msgspec.Struct, frozen=True, gc=False):
    """One address of a service port; ``weight`` 1–65535 relative to its set, ``start`` Unix seconds, 0 unknown."""

    address: str
    port: int
    weight: int = 1
    health: Health = Health.HEALTHY
    attributes: EndpointAttributes = EndpointAttributes()
    source: int = 0
    start: int = 0


class EndpointSet(msgspec.Struct, frozen=True, gc=False):
    """Endpoints of one service port from one source; made by ``pack_endpoints`` only."""

    key: EndpointSetKey
    rows: bytes
    attributes: tuple[EndpointAttributes, ...]

    def __len__(self) -> int:
        return len(self.rows) // ROW_BYTES

    def raw_rows(self) -> Iterator[tuple[bytes, int, int, int, int, int, int, int]]:
        """Yield rows as they are packed: address (16 bytes), port, weight, health, flags, attribute index, source, start."""
        return cast("Iterator[tuple[bytes, int, int, int, int, int, int, int]]", _ROW.iter_unpack(self.rows))

    def __iter__(self) -> Iterator[Endpoint]:
        for address, port, weight, health, _, index, source, start in self.raw_rows():
            yield Endpoint(
                text_of_address(address), port, weight, Health(health), self.attributes[index], source, start
            )


class NamedTarget(msgspec.Struct, frozen=True, gc=False):
    """A host name behind a service port, which the proxy resolves (ServiceEntry resolution DNS)."""

    key: NamedTargetKey
    target: int
    weight: int = 1
    attributes: EndpointAttributes = EndpointAttributes()


def bytes_of_address(text: str) -> bytes:
    """Return the 16-byte form of an IPv4 or IPv6 address; raises ValueError for anything else."""
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        packed = socket.inet_pton(family, text)
    except OSError as error:
        raise ValueError(f"{text!r} is not an IP address") from error
    return packed if len(packed) == 16 else _V4_MAPPED + packed


def text_of_address(packed: bytes) -> str:
    """Return the text of a 16-byte address; IPv4-mapped addresses come back as IPv4."""
    if packed.startswith(_V4_MAPPED):
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


def pack_endpoints(key: EndpointSetKey, endpoints: Iterable[Endpoint]) -> EndpointSet:
    """Pack endpoints into a canonical set; of two with the same address and port the first stays.

    Raises ValueError for an address that is no IP, a port outside 1–65535 or a weight outside 1–65535.
    """
    unique: dict[tuple[bytes, int], Endpoint] = {}
    for endpoint in endpoints:
        if not (0 < endpoint.port <= 65_535 and 0 < endpoint.weight <= MAX_WEIGHT):
            raise ValueError(f"{endpoint.address}:{endpoint.port}: port and weight must be 1–65535")
        unique.setdefault((bytes_of_address(endpoint.address), endpoint.port), endpoint)
    table = tuple(sorted({endpoint.attributes for endpoint in unique.values()}))
    index = {attributes: position for position, attributes in enumerate(table)}
    rows = b"".join(
        _ROW.pack(address, port, e.weight, e.health, 0, index[e.attributes], e.source, e.start)
        for (address, port), e in sorted(unique.items(), key=lambda item: item[0])
    )
    return EndpointSet(key, rows, table)
