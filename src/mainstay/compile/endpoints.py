"""Endpoints of a cluster: rows of the model as a ClusterLoadAssignment.

In: ``EndpointsTraits``. Out: healthy endpoints grouped by locality, with the metadata by which clusters choose mTLS
(``envoy.transport_socket_match``), telemetry labels destinations (``istio: {workload}``) and Mainstay's proxies put
HTTP/1 inside HTTP/2 (``mainstay.dev``). What rows share is worked out once per attribute entry, not per row.
"""

from typing import Any

from mainstay.compile.facts import Facts
from mainstay.compile.lookup import mtls_mode
from mainstay.compile.resource import Fields, Resource, make_resource, struct
from mainstay.compile.traits import EndpointsTraits
from mainstay.model.endpoints import Endpoint, EndpointAttributes, Health
from mainstay.model.key import selects
from mainstay.model.locality import Locality

TAKES_TRAFFIC = frozenset({Health.HEALTHY, Health.UNKNOWN})


def compile_endpoints(facts: Facts, traits: EndpointsTraits) -> Resource:
    """Compile the endpoints of one cluster; an empty assignment where there are none, so that the proxy answers 503."""
    groups: dict[Locality, list[Endpoint]] = {}
    seen: set[tuple[str, int]] = set()
    for entry in facts.endpoint_sets(traits.service, traits.port):
        for row in entry:
            place = (row.address, row.port)
            # An instance that two sources bring is one endpoint: the first source's row, even an unhealthy one.
            if place in seen:
                continue
            seen.add(place)
            if row.health in TAKES_TRAFFIC and selects(traits.subset_labels, row.attributes.labels):
                groups.setdefault(row.attributes.locality, []).append(row)
    metadata: dict[tuple[EndpointAttributes, int], Fields] = {}
    localities = [
        _locality(facts, traits, locality, sorted(rows, key=lambda row: (row.address, row.port)), metadata)
        for locality, rows in sorted(groups.items())
    ]
    return make_resource("endpoint", traits.name, {"cluster_name": traits.name, "endpoints": localities})


def _locality(
    facts: Facts,
    traits: EndpointsTraits,
    locality: Locality,
    rows: list[Endpoint],
    metadata: dict[tuple[EndpointAttributes, int], Fields],
) -> Fields:
    hosts: list[Fields] = []
    for row in rows:
        shared = (row.attributes, row.port)
        if shared not in metadata:
            metadata[shared] = _metadata(facts, traits, row.attributes, row.port)
        hosts.append(
            {
                "endpoint": {"address": {"socket_address": {"address": row.address, "port_value": row.port}}},
                "load_balancing_weight": {"value": row.weight},
                "metadata": metadata[shared],
            }
        )
    fields: Fields = {
        "lb_endpoints": hosts,
        "load_balancing_weight": {"value": sum(row.weight for row in rows)},
    }
    if locality.region:
        fields["locality"] = {"region": locality.region, "zone": locality.zone, "sub_zone": locality.subzone}
    return fields


def _metadata(facts: Facts, traits: EndpointsTraits, attributes: EndpointAttributes, port: int) -> Fields:
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
    return {"filter_metadata": values}
