"""Views: exactly what a proxy uses, consistent, shared by traits, deterministic."""

import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from small_mesh import DATABASE, EXPLICIT, MESHED, RATINGS, REVIEWS, SHOP, endpoints, service, sidecar

from mainstay._proto import pool
from mainstay.compile.capability import Capability
from mainstay.compile.facts import Fact, Facts, StaticFacts
from mainstay.compile.resource import Resource
from mainstay.compile.tls import CLIENT_ALPNS
from mainstay.compile.traits import ClusterTraits, EndpointsTraits, InboundTraits, Proxy, Step
from mainstay.compile.view import View, compile_view, consistent, run_step
from mainstay.model.endpoints import Endpoint, EndpointSet, Health
from mainstay.model.key import MESH, ObjectKey, PolicyKey, RouteTableKey, labels_of
from mainstay.model.policy import Authorization, Policy
from mainstay.model.protocol import PortProtocol
from mainstay.model.route import (
    Destination,
    Forward,
    HttpMatch,
    HttpRule,
    RouteTable,
    TcpRule,
    WeightedDestination,
)
from mainstay.model.traffic import Subset, TrafficRule

REVIEWS_CLUSTER = "outbound|9080||reviews.shop.svc.cluster.local"


def names(view: View) -> dict[str, list[str]]:
    return {kind: list(held) for kind, held in view.resources.items() if held}


def hosts(view: View, cluster: str) -> list[str]:
    resource = view.get("endpoint", cluster)
    assert resource is not None
    message = pool.parse("envoy.config.endpoint.v3.ClusterLoadAssignment", resource.body)
    return [
        host.endpoint.address.socket_address.address
        for group in message.endpoints
        for host in group.lb_endpoints
    ]


def test_explicit_proxy_gets_what_its_listeners_lead_to_and_no_more() -> None:
    assert names(compile_view(StaticFacts(SHOP), sidecar())) == {
        "cluster": ["inbound|8080||", "outbound|3306||orders.data.svc.cluster.local", REVIEWS_CLUSTER],
        "endpoint": ["outbound|3306||orders.data.svc.cluster.local", REVIEWS_CLUSTER],
        "listener": ["127.1.0.1_8080", "127.2.0.1_9080", "127.2.0.2_3306"],
        "route": ["explicit|9080||reviews.shop.svc.cluster.local"],
    }


def test_proxy_without_scope_in_explicit_mode_gets_nothing() -> None:
    view = compile_view(StaticFacts(fact for fact in SHOP if fact is not EXPLICIT), sidecar())
    assert names(view) == {}


def test_unhealthy_and_draining_endpoints_take_no_traffic() -> None:
    rows = [Endpoint(f"10.0.0.{health}", 9080, health=health, attributes=MESHED) for health in Health]
    facts = [fact for fact in SHOP if not (isinstance(fact, EndpointSet) and fact.key.service == REVIEWS)]
    view = compile_view(StaticFacts([*facts, endpoints(REVIEWS, 9080, *rows)]), sidecar())
    assert hosts(view, REVIEWS_CLUSTER) == ["10.0.0.0", "10.0.0.1"]


def test_service_without_endpoints_keeps_its_clusters_identity() -> None:
    facts = [fact for fact in SHOP if not (isinstance(fact, EndpointSet) and fact.key.service == REVIEWS)]
    down = Endpoint("127.1.0.2", 9080, health=Health.UNHEALTHY, attributes=MESHED)
    before = compile_view(StaticFacts(SHOP), sidecar())
    after = compile_view(StaticFacts([*facts, endpoints(REVIEWS, 9080, down)]), sidecar())
    assert hosts(after, REVIEWS_CLUSTER) == []
    assert before.get("cluster", REVIEWS_CLUSTER) == after.get("cluster", REVIEWS_CLUSTER)


def test_mark_of_http1_inside_http2_goes_to_mainstay_proxies_only() -> None:
    facts = StaticFacts(SHOP)
    ours = compile_view(facts, sidecar()).get("endpoint", REVIEWS_CLUSTER)
    envoys = compile_view(facts, sidecar(capability=Capability("envoy"))).get("endpoint", REVIEWS_CLUSTER)
    assert ours is not None
    assert envoys is not None
    assert b"h2_tunnel" in ours.body
    assert b"h2_tunnel" not in envoys.body
    inbound = compile_view(facts, sidecar()).get("listener", "127.1.0.1_8080")
    envoy_inbound = compile_view(facts, sidecar(capability=Capability("envoy"))).get(
        "listener", "127.1.0.1_8080"
    )
    assert inbound is not None
    assert envoy_inbound is not None
    assert b"h2_tunnel" in inbound.body
    assert b"h2_tunnel" not in envoy_inbound.body


def test_instance_in_two_sources_is_one_endpoint() -> None:
    again = structs.replace(endpoints(REVIEWS, 9080, Endpoint("10.0.0.2", 9080, weight=9)))
    again = structs.replace(again, key=structs.replace(again.key, source="zzz"))
    view = compile_view(StaticFacts([*SHOP, again]), sidecar())
    assert sorted(hosts(view, REVIEWS_CLUSTER)) == ["10.0.0.2", "127.1.0.2"]


def test_policy_that_cannot_be_compiled_denies_and_is_reported() -> None:
    from mainstay.model.policy import AuthorizationRule, Condition

    body = Authorization(
        "DENY", (AuthorizationRule(conditions=(Condition("request.auth.claims[a]", ("b",)),)),)
    )
    policy = Policy(PolicyKey("AuthorizationPolicy", "shop", "claims"), body)
    view = compile_view(StaticFacts([*SHOP, policy]), sidecar())
    (problem,) = view.problems
    assert problem.code == "MS4101"
    assert problem.object == "AuthorizationPolicy/shop/claims"
    inbound = view.get("listener", "127.1.0.1_8080")
    assert inbound is not None
    assert b"ns[shop]-policy[claims]-rule[0]" in inbound.body


OTHERS: dict[str, object] = {
    "node": "sidecar~127.9.9.9~other-9.shop~shop.svc.cluster.local",
    "addresses": ("127.9.9.9",),
    "labels": labels_of({"app": "front", "version": "v2", "pod": "x"}),
}


@pytest.mark.parametrize("mode", ["NONE", "REDIRECT"])
def test_proxies_of_equal_traits_share_all_but_their_inbound(mode: str) -> None:
    facts = StaticFacts(SHOP)
    one = steps_of(facts, sidecar(interception=mode))
    two = steps_of(facts, sidecar(interception=mode, **OTHERS))
    different = {type(step) for step in one ^ two}
    assert different <= {InboundTraits}
    assert any(isinstance(step, EndpointsTraits) for step in one & two)


def test_labels_matter_to_routes_only_where_a_rule_speaks_of_them() -> None:
    match = HttpMatch(source_labels=labels_of({"version": "v2"}))
    forward = Forward((WeightedDestination(Destination(REVIEWS.host)),))
    key = RouteTableKey(REVIEWS.host, MESH, ObjectKey("shop", "reviews"))
    facts = StaticFacts([*SHOP, RouteTable(key, (HttpRule(forward, (match,)),))])
    name = "explicit|9080||reviews.shop.svc.cluster.local"
    first = compile_view(facts, sidecar()).get("route", name)
    second = compile_view(facts, sidecar(labels=labels_of({"app": "front", "version": "v2"}))).get(
        "route", name
    )
    assert first is not None
    assert second is not None
    assert first.version != second.version


def steps_of(facts: Facts, proxy: Proxy) -> set[Step]:
    seen: set[Step] = set()

    def run(facts: Facts, step: Step) -> Resource:
        seen.add(step)
        return run_step(facts, step)

    compile_view(facts, proxy, run)
    return seen


DESTINATIONS = st.builds(
    Destination,
    host=st.sampled_from([REVIEWS.host, RATINGS.host, DATABASE.host, "nowhere.example.org"]),
    subset=st.sampled_from(["", "v1", "v9"]),
    port=st.sampled_from([0, 9080, 3306, 1]),
)
WEIGHTED = st.lists(
    st.builds(WeightedDestination, DESTINATIONS, st.integers(1, 9)), min_size=1, max_size=3
).map(tuple)
TABLES = st.builds(
    RouteTable,
    key=st.builds(
        RouteTableKey,
        host=st.sampled_from(
            [REVIEWS.host, RATINGS.host, DATABASE.host, "*.svc.cluster.local", "made.up.org"]
        ),
        audience=st.just(MESH),
        owner=st.builds(ObjectKey, namespace=st.just("shop"), name=st.sampled_from("abc")),
    ),
    http=st.lists(st.builds(HttpRule, st.builds(Forward, WEIGHTED)), max_size=2).map(tuple),
    tcp=st.lists(st.builds(TcpRule, WEIGHTED), max_size=2).map(tuple),
)
RULES = st.builds(
    TrafficRule,
    key=st.builds(ObjectKey, namespace=st.sampled_from(["shop", "data"]), name=st.sampled_from("abc")),
    host=st.sampled_from([REVIEWS.host, "*.svc.cluster.local"]),
    subsets=st.sampled_from([(), (Subset("v1", labels_of({"version": "v1"})),)]),
)


@given(
    st.lists(TABLES, max_size=3),
    st.lists(RULES, max_size=2),
    st.sets(st.sampled_from(range(len(SHOP)))),
    st.sampled_from(["NONE", "REDIRECT"]),
)
def test_every_view_is_consistent_and_independent_of_order(
    tables: list[RouteTable], rules: list[TrafficRule], missing: set[int], mode: str
) -> None:
    written: list[RouteTable | TrafficRule] = [*tables, *rules]
    unique = {fact.key: fact for fact in written}
    facts: list[Fact] = [fact for index, fact in enumerate(SHOP) if index not in missing]
    facts += unique.values()
    proxy = sidecar(interception=mode)
    view = compile_view(StaticFacts(facts), proxy)
    assert consistent(view) == ()
    assert compile_view(StaticFacts(shuffled(facts)), proxy) == view


def shuffled(facts: Sequence[Fact]) -> list[Fact]:
    return random.Random(7).sample(facts, len(facts))


def test_service_of_two_explicit_listeners_is_compiled_once() -> None:
    calls: list[Step] = []

    def run(facts: Facts, step: Step) -> Resource:
        calls.append(step)
        return run_step(facts, step)

    compile_view(StaticFacts(SHOP), sidecar(), run)
    assert len(calls) == len(set(calls))


def test_detected_port_has_a_cluster_for_byte_streams_beside_the_one_for_requests() -> None:
    facts = StaticFacts([service(RATINGS, (7070, PortProtocol.AUTO), addresses=("10.0.0.9",))])
    clusters = names(compile_view(facts, sidecar(interception="REDIRECT")))["cluster"]
    assert "outbound|7070||ratings.shop.svc.cluster.local" in clusters
    assert "outbound-tcp|7070||ratings.shop.svc.cluster.local" in clusters


def test_both_clusters_of_a_detected_port_offer_what_leads_to_their_chain() -> None:
    facts = StaticFacts(
        [service(RATINGS, (7070, PortProtocol.AUTO), addresses=("10.0.0.9",)), DATABASE_SERVICE]
    )
    view = compile_view(facts, sidecar(interception="REDIRECT"))
    requests = view.get("cluster", "outbound|7070||ratings.shop.svc.cluster.local")
    streams = view.get("cluster", "outbound-tcp|7070||ratings.shop.svc.cluster.local")
    assert requests is not None
    assert streams is not None
    assert b"istio-http/1.1" in requests.body
    assert b"istio-peer-exchange" not in requests.body
    assert b"istio-peer-exchange" in streams.body
    assert b"istio-http/1.1" not in streams.body


DATABASE_SERVICE = service(DATABASE, (3306, PortProtocol.TCP))


@pytest.mark.parametrize(
    "protocol", [PortProtocol.HTTP, PortProtocol.GRPC, PortProtocol.AUTO, PortProtocol.TCP]
)
def test_mainstay_server_has_a_protocol_in_common_with_every_mesh_client(protocol: PortProtocol) -> None:
    """Its TLS refuses clients it has none in common with."""
    port = structs.replace(EXPLICIT.ingress[0], protocol=protocol)
    facts = StaticFacts([structs.replace(EXPLICIT, ingress=(port,), egress=())])
    resource = compile_view(facts, sidecar()).get("listener", "127.1.0.1_8080")
    assert resource is not None
    listener = pool.parse("envoy.config.listener.v3.Listener", resource.body)
    ended = [chain for chain in listener.filter_chains if chain.HasField("transport_socket")]
    assert ended
    for chain in ended:
        context = pool.unpack(chain.transport_socket.typed_config)
        assert context is not None
        listed = set(context.common_tls_context.alpn_protocols)
        assert all(listed & set(offered) for offered in CLIENT_ALPNS.values())


def test_clients_of_other_namespaces_share_clusters_and_endpoints_unless_a_rule_tells_them_apart() -> None:
    facts = StaticFacts(SHOP)
    here = steps_of(facts, sidecar(interception="REDIRECT"))
    there = steps_of(facts, sidecar(interception="REDIRECT", namespace="web"))
    assert {step for step in here if isinstance(step, ClusterTraits | EndpointsTraits)} <= there
    own = StaticFacts([*SHOP, TrafficRule(ObjectKey("web", "reviews"), REVIEWS.host)])
    apart = here - steps_of(own, sidecar(interception="REDIRECT", namespace="web"))
    assert REVIEWS_CLUSTER in {step.name for step in apart if isinstance(step, ClusterTraits)}
