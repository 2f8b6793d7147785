"""Model values: canonical, equal by content, with the rules that belong to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.model.digest import DIGEST_BYTES, digest_of
from mainstay.model.endpoints import (
    ROW_BYTES,
    Endpoint,
    EndpointAttributes,
    Health,
    bytes_of_address,
    pack_endpoints,
    text_of_address,
)
from mainstay.model.identity import Identity, parse_spiffe
from mainstay.model.key import (
    EndpointSetKey,
    ObjectKey,
    ServiceKey,
    WorkloadKey,
    is_visible,
    labels_of,
    selects,
)
from mainstay.model.locality import Locality, parse_locality
from mainstay.model.membership import members_of
from mainstay.model.protocol import PortProtocol, protocol_of_port
from mainstay.model.secret import SecretRef, parse_secret_name
from mainstay.model.service import Service, ServicePort
from mainstay.model.traffic import (
    ConnectionPool,
    PortPolicy,
    Subset,
    TrafficPolicy,
    TrafficRule,
    resolve,
)
from mainstay.model.workload import Workload

SERVICE = ServiceKey("shop", "reviews.shop.svc.cluster.local")
KEY = EndpointSetKey(SERVICE, 80, "test")

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
endpoints = st.builds(
    Endpoint,
    address=addresses,
    port=st.integers(1, 65_535),
    weight=st.integers(1, 65_535),
    health=st.sampled_from(Health),
    attributes=st.builds(EndpointAttributes, network=st.sampled_from(["", "a", "b"]), meshed=st.booleans()),
)


@given(st.lists(endpoints, max_size=30), st.randoms())
def test_endpoint_set_keeps_every_address_and_ignores_order_of_arrival(
    rows: list[Endpoint], random: object
) -> None:
    unique = {(bytes_of_address(row.address), row.port): row for row in reversed(rows)}
    shuffled = list(unique.values())
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    packed = pack_endpoints(KEY, rows)
    assert len(packed) == len(unique) == len(packed.rows) // ROW_BYTES
    assert packed == pack_endpoints(KEY, shuffled)
    assert digest_of(packed) == digest_of(pack_endpoints(KEY, list(packed)))
    assert {(bytes_of_address(row.address), row.port): row.weight for row in packed} == {
        place: row.weight for place, row in unique.items()
    }


@given(addresses)
def test_address_survives_packing(text: str) -> None:
    packed = bytes_of_address(text)
    assert len(packed) == 16
    assert bytes_of_address(text_of_address(packed)) == packed


@pytest.mark.parametrize("bad", ["reviews", "1.2.3", "", "1.2.3.4.5", "::zz"])
def test_endpoint_without_ip_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="not an IP"):
        pack_endpoints(KEY, [Endpoint(bad, 80)])


@pytest.mark.parametrize(("port", "weight"), [(0, 1), (65_536, 1), (80, 0), (80, 65_536)])
def test_endpoint_outside_its_ranges_is_refused(port: int, weight: int) -> None:
    with pytest.raises(ValueError, match="1–65535"):
        pack_endpoints(KEY, [Endpoint("10.0.0.1", port, weight)])


@pytest.mark.parametrize(
    ("number", "name", "app_protocol", "expected"),
    [
        (80, "http", "", PortProtocol.HTTP),
        (80, "http-web", "", PortProtocol.HTTP),
        (80, "httpweb", "", PortProtocol.AUTO),
        (80, "grpc-web", "", PortProtocol.GRPC_WEB),
        (80, "grpc-reviews", "", PortProtocol.GRPC),
        (80, "tcp-x", "grpc", PortProtocol.GRPC),
        (80, "http", "kubernetes.io/h2c", PortProtocol.HTTP2),
        (80, "HTTP2-a", "", PortProtocol.HTTP2),
        (80, "", "", PortProtocol.AUTO),
        (80, "web", "unheard-of", PortProtocol.AUTO),
        (3306, "", "", PortProtocol.TCP),
        (25, "web", "", PortProtocol.TCP),
        (3306, "http", "", PortProtocol.HTTP),
    ],
)
def test_protocol_of_a_port(number: int, name: str, app_protocol: str, expected: PortProtocol) -> None:
    assert protocol_of_port(number, name, app_protocol) is expected


def test_spiffe_id_reads_back() -> None:
    identity = Identity("cluster.local", "shop", "reviews")
    assert identity.spiffe == "spiffe://cluster.local/ns/shop/sa/reviews"
    assert parse_spiffe(identity.spiffe) == identity


@pytest.mark.parametrize(
    "text", ["", "spiffe://", "spiffe://a/ns/b", "http://a/ns/b/sa/c", "spiffe://a/ns//sa/c"]
)
def test_other_identities_are_not_istio_shaped(text: str) -> None:
    assert parse_spiffe(text) is None


@pytest.mark.parametrize("ca", [False, True])
def test_secret_name_reads_back(ca: bool) -> None:
    reference = SecretRef("edge", "shop-tls", ca)
    assert parse_secret_name(reference.resource_name) == reference


@pytest.mark.parametrize("text", ["default", "ROOTCA", "secret://", "secret://x", "secret:///x"])
def test_other_secret_names_are_not_ours(text: str) -> None:
    assert parse_secret_name(text) is None


def test_locality_text() -> None:
    assert parse_locality("eu/a/rack1") == Locality("eu", "a", "rack1")
    assert str(parse_locality("eu")) == "eu"
    assert parse_locality("") == Locality()


def test_selectors_and_visibility() -> None:
    assert selects((), labels_of({"app": "a"}))
    assert selects(labels_of({"app": "a"}), labels_of({"version": "1", "app": "a"}))
    assert not selects(labels_of({"app": "b"}), labels_of({"app": "a"}))
    assert is_visible(("*",), "any")
    assert is_visible(("shop",), "shop")
    assert not is_visible((), "shop")


def test_digest_is_short_and_depends_on_content() -> None:
    assert len(digest_of(SERVICE)) == DIGEST_BYTES
    assert digest_of(SERVICE) == digest_of(ServiceKey("shop", "reviews.shop.svc.cluster.local"))
    assert digest_of(SERVICE) != digest_of(ServiceKey("other", "reviews.shop.svc.cluster.local"))


def test_traffic_levels_override_field_by_field() -> None:
    rule = TrafficRule(
        ObjectKey("shop", "reviews"),
        SERVICE.host,
        policy=TrafficPolicy(balancing="ROUND_ROBIN", pool=ConnectionPool(max_connections=1)),
        ports=(PortPolicy(80, TrafficPolicy(pool=ConnectionPool(max_connections=2))),),
        subsets=(Subset("v1", (), TrafficPolicy(balancing="RANDOM")),),
    )
    assert resolve(None, None, 80) == TrafficPolicy()
    assert resolve(rule, None, 81).pool == ConnectionPool(max_connections=1)
    assert resolve(rule, None, 80).pool == ConnectionPool(max_connections=2)
    assert resolve(rule, rule.subset("v1"), 80).balancing == "RANDOM"
    assert resolve(rule, None, 80).balancing == "ROUND_ROBIN"


def test_workloads_of_the_namespace_become_endpoints_at_their_own_ports() -> None:
    service = Service(
        SERVICE, (ServicePort(80, "http", PortProtocol.HTTP, 8080),), selector=labels_of({"app": "reviews"})
    )
    labels = labels_of({"app": "reviews", "version": "v1"})
    workloads = [
        Workload(WorkloadKey("shop", "b"), ("10.0.0.2",), labels, ports=(("http", 9090),), account="reviews"),
        Workload(WorkloadKey("shop", "a"), ("10.0.0.1",), labels, meshed=True),
        Workload(WorkloadKey("shop", "dns"), ("reviews.example.org",), labels),
        Workload(WorkloadKey("other", "c"), ("10.0.0.3",), labels),
        Workload(WorkloadKey("shop", "d"), ("10.0.0.4",), labels_of({"app": "ratings"})),
    ]
    (packed,), (named,) = members_of(service, workloads, "cluster.local")
    assert [(row.address, row.port, row.attributes.meshed) for row in packed] == [
        ("10.0.0.1", 8080, True),
        ("10.0.0.2", 9090, False),
    ]
    assert [row.attributes.canonical_revision for row in packed] == ["v1", "v1"]
    assert named.key.host == "reviews.example.org"
    assert members_of(Service(SERVICE, service.ports), workloads, "cluster.local") == ((), ())
