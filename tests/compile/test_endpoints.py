"""Endpoints: joined pieces are the message Protobuf itself would have written."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from small_mesh import MESHED, REVIEWS, endpoints, service

from mainstay._proto import pool
from mainstay.compile.endpoints import compile_endpoints
from mainstay.compile.facts import StaticFacts
from mainstay.compile.resource import MESSAGES, length_delimited
from mainstay.compile.traits import EndpointsTraits
from mainstay.model.endpoints import Endpoint
from mainstay.model.locality import Locality
from mainstay.model.protocol import PortProtocol

ROWS = st.builds(
    Endpoint,
    address=st.ip_addresses().map(str),
    port=st.integers(1, 65_535),
    weight=st.integers(1, 65_535),
    attributes=st.builds(
        lambda region, meshed, workload: structs.replace(
            MESHED, locality=Locality(region), meshed=meshed, workload=workload
        ),
        st.sampled_from(["", "eu", "us"]),
        st.booleans(),
        st.text(max_size=200),
    ),
)


@given(st.lists(ROWS, max_size=20), st.text(min_size=1, max_size=200))
def test_joined_pieces_are_the_canonical_message(rows: list[Endpoint], name: str) -> None:
    packed = endpoints(REVIEWS, 80, *rows)
    facts = StaticFacts([service(REVIEWS, (80, PortProtocol.HTTP)), packed])
    resource = compile_endpoints(facts, EndpointsTraits(name, REVIEWS, 80, (), h2_tunnel=True))
    message = pool.parse(MESSAGES["endpoint"], resource.body)
    assert message.SerializeToString(deterministic=True) == resource.body
    assert message.cluster_name == name
    hosts = [host for group in message.endpoints for host in group.lb_endpoints]
    assert len(hosts) == len(packed)
    assert sum(group.load_balancing_weight.value for group in message.endpoints) == sum(
        row.weight for row in packed
    )


@given(st.integers(1, 15), st.binary(max_size=40_000))
def test_length_delimited_field_reads_back(field: int, body: bytes) -> None:
    encoded = length_delimited(field, body)
    assert encoded[0] == field << 3 | 2
    length = shift = position = 0
    while True:
        position += 1
        length |= (encoded[position] & 0x7F) << shift
        shift += 7
        if encoded[position] < 0x80:
            break
    assert length == len(body)
    assert encoded[position + 1 :] == body
