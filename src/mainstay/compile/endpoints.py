"""Endpoints of a cluster: rows of the model as a ClusterLoadAssignment.

In: ``EndpointsTraits``. Out: healthy endpoints grouped by locality, with the metadata by which clusters choose mTLS
(``envoy.transport_socket_match``), telemetry labels destinations (``istio: {workload}``) and Mainstay's proxies put
HTTP/1 inside HTTP/2 (``mainstay.dev``). What rows share is worked out once per attribute entry; each endpoint's piece of
the message is kept, so that a change among a thousand costs joining bytes, not building messages.
"""

import math
from functools import lru_cache
from typing import Any

from mainstay.compile.facts import Facts
from mainstay.compile.lookup import mtls_mode
from mainstay.compile.resource import Resource, length_delimited, resource_of_bytes, serialise, struct
from mainstay.compile.traits import EndpointsTraits
from mainstay.model.application import DEFAULT_WEIGHT
from mainstay.model.endpoints import EndpointAttributes, Health, text_of_address
from mainstay.model.key import selects
from mainstay.model.locality import Locality
from mainstay.model.published import SOURCE

TAKES_TRAFFIC = frozenset({Health.HEALTHY, Health.UNKNOWN})

KEPT_PIECES = 131_072
"""How many endpoints' pieces are kept: some 30 MiB at most; beyond it the least recently used are built anew."""


def compile_endpoints(facts: Facts, traits: EndpointsTraits) -> Resource:
    """Compile the endpoints of one cluster; an empty assignment where there are none, so that the proxy answers 503."""
    groups: dict[Locality, list[_Row]] = {}
    seen: set[tuple[bytes, int]] = set()
    sets = facts.endpoint_sets(traits.service, traits.port)
    has_published = any(entry.key.source == SOURCE for entry in sets)
    for entry in sets:
        unit = DEFAULT_WEIGHT if has_published and entry.key.source != SOURCE else 1
        kinds = [_Shared(facts, traits, attributes) for attributes in entry.attributes]
        for address, port, weight, health, _, index, _, _ in entry.raw_rows():
            place = (address, port)
            # An instance that two sources bring is one endpoint: the first source's row, even an unhealthy one.
            if place in seen:
                continue
            seen.add(place)
            shared = kinds[index]
            if health in TAKES_TRAFFIC and shared.chosen:
                shared.rows.append((address, port, weight * unit, shared.metadata(port)))
        for shared in kinds:
            if shared.rows:
                groups.setdefault(shared.attributes.locality, []).extend(shared.rows)
    if has_published:
        _reduce(groups)
    # Fields of ClusterLoadAssignment: 1 cluster_name, 2 endpoints.
    body = [length_delimited(1, traits.name.encode())]
    body += [
        length_delimited(2, _locality(locality, sorted(rows))) for locality, rows in sorted(groups.items())
    ]
    return resource_of_bytes("endpoint", traits.name, b"".join(body))


_Row = tuple[bytes, int, int, bytes]
"""Address (16 bytes), port, weight, serialised metadata."""


def _reduce(groups: dict[Locality, list[_Row]]) -> None:
    """Weights in their lowest terms: 1 where all are alike, as it is where nobody publishes."""
    common = math.gcd(*(weight for rows in groups.values() for _, _, weight, _ in rows))
    if common > 1:
        for locality, rows in groups.items():
            groups[locality] = [
                (address, port, weight // common, rest) for address, port, weight, rest in rows
            ]


class _Shared:
    """What the rows of one attribute entry share, worked out once."""

    __slots__ = ("_facts", "_metadata", "_traits", "attributes", "chosen", "rows")

    def __init__(self, facts: Facts, traits: EndpointsTraits, attributes: EndpointAttributes) -> None:
        self._facts = facts
        self._traits = traits
        self._metadata: dict[int, bytes] = {}
        self.attributes = attributes
        self.chosen = selects(traits.subset_labels, attributes.labels)
        self.rows: list[_Row] = []

    def metadata(self, port: int) -> bytes:
        """Return the metadata at a port: PeerAuthentication may differ by port."""
        found = self._metadata.get(port)
        if found is None:
            values = _metadata(self._facts, self._traits, self.attributes, port)
            found = serialise("envoy.config.core.v3.Metadata", {"filter_metadata": values})
            self._metadata[port] = found
        return found


def _locality(locality: Locality, rows: list[_Row]) -> bytes:
    """Fields of LocalityLbEndpoints: 1 locality, 2 lb_endpoints, 3 load_balancing_weight."""
    place = {"region": locality.region, "zone": locality.zone, "sub_zone": locality.subzone}
    # gRPC refuses endpoints that say nothing of their locality, were it that there is none.
    pieces = [length_delimited(1, serialise("envoy.config.core.v3.Locality", place))]
    pieces += [_piece(*row) for row in rows]
    weight = serialise("google.protobuf.UInt32Value", {"value": sum(row[2] for row in rows)})
    return b"".join([*pieces, length_delimited(3, weight)])


@lru_cache(maxsize=KEPT_PIECES)
def _piece(address: bytes, port: int, weight: int, metadata: bytes) -> bytes:
    """One endpoint as field 2 of LocalityLbEndpoints; fields of LbEndpoint: 1 endpoint, 3 metadata, 4 weight."""
    endpoint = {"address": {"socket_address": {"address": text_of_address(address), "port_value": port}}}
    return length_delimited(
        2,
        length_delimited(1, serialise("envoy.config.endpoint.v3.Endpoint", endpoint))
        + length_delimited(3, metadata)
        + length_delimited(4, serialise("google.protobuf.UInt32Value", {"value": weight})),
    )


def _metadata(
    facts: Facts, traits: EndpointsTraits, attributes: EndpointAttributes, port: int
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    namespace = attributes.namespace or traits.service.namespace
    if attributes.workload:
        labels = ";".join(
            (
                attributes.workload,
                namespace,
                attributes.canonical_name,
                attributes.canonical_revision,
                attributes.cluster,
            )
        )
        values["istio"] = struct({"workload": labels})
    if attributes.meshed and mtls_mode(facts, namespace, attributes.labels, port) != "DISABLE":
        values["envoy.transport_socket_match"] = struct({"tlsMode": "istio"})
        if traits.h2_tunnel and attributes.h2_tunnel:
            values["mainstay.dev"] = struct({"h2_tunnel": True})
    return values
