"""What gRPC's own library gets: listeners by target and by address, in the shapes it takes; and an Envoy beside an agent."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from small_mesh import MESHED, endpoints, service, sidecar

from mainstay._proto import pool
from mainstay.compile.capability import Capability
from mainstay.compile.facts import Fact, StaticFacts
from mainstay.compile.node import proxy_of_node
from mainstay.compile.resource import MESSAGES, Kind
from mainstay.compile.traits import Proxy
from mainstay.compile.view import View, compile_view, consistent
from mainstay.model.endpoints import Endpoint
from mainstay.model.key import MESH, ObjectKey, PolicyKey, RouteTableKey, ServiceKey, labels_of
from mainstay.model.mesh import Mesh
from mainstay.model.policy import (
    Authorization,
    AuthorizationRule,
    LocalRateLimit,
    PeerAuthentication,
    Policy,
    Source,
)
from mainstay.model.protocol import PortProtocol
from mainstay.model.route import (
    Destination,
    DirectResponse,
    Forward,
    HttpMatch,
    HttpRule,
    RouteTable,
    StringMatch,
    WeightedDestination,
)

PRICES = ServiceKey("shop", "prices.shop.svc.cluster.local")
CLUSTER = "outbound|9000||prices.shop.svc.cluster.local"
TARGET = "prices.shop.svc.cluster.local:9000"
ADDRESS = "127.1.0.2"
SERVER = f"xds.istio.io/grpc/lds/inbound/{ADDRESS}:9000"
LABELS = labels_of({"app": "prices"})

SHOP: tuple[Fact, ...] = (
    Mesh(mtls="STRICT"),
    service(PRICES, (9000, PortProtocol.GRPC)),
    endpoints(PRICES, 9000, Endpoint(ADDRESS, 9000, attributes=MESHED)),
)


def library(**changes: object) -> Proxy:
    fields: dict[str, object] = {
        "capability": Capability("grpc", has_agent=True),
        "addresses": (ADDRESS,),
        "interception": "REDIRECT",
        "labels": LABELS,
    }
    return sidecar(**{**fields, **changes})


def view_of(*facts: Fact, proxy: Proxy | None = None) -> View:
    view = compile_view(StaticFacts([*SHOP, *facts]), proxy or library())
    assert consistent(view) == ()
    return view


def shown(view: View, kind: Kind, name: str) -> Any:
    resource = view.get(kind, name)
    assert resource is not None, list(view.resources[kind])
    return pool.to_json(pool.parse(MESSAGES[kind], resource.body))


def mode(value: Any) -> Policy:
    return Policy(PolicyKey("PeerAuthentication", "shop", "m"), body=PeerAuthentication(value))


def table(*rules: HttpRule) -> RouteTable:
    owner = ObjectKey("shop", "prices")
    return RouteTable(RouteTableKey(PRICES.host, MESH, owner), rules)


def to(host: str, **further: Any) -> Forward:
    return Forward((WeightedDestination(Destination(host), 1),), **further)


def test_a_library_is_told_by_its_user_agent() -> None:
    for name in ("gRPC C-core/1.85", "gRPC Go/1.79", "gRPC Java/1.75"):
        node = proxy_of_node("sidecar~127.0.0.1~a.shop~x", {"MAINSTAY_AGENT": "grpc"}, name)
        assert node.capability == Capability("grpc", has_agent=True)
    assert proxy_of_node("sidecar~127.0.0.1~a.shop~x", {}, "envoy/1.40").capability == Capability("envoy")


def test_a_target_is_a_host_with_its_port_and_short_names_mean_the_same() -> None:
    view = view_of()
    clients = [name for name in view.resources["listener"] if not name.startswith("xds.")]
    assert clients == [TARGET, "prices.shop.svc:9000", "prices.shop:9000", "prices:9000"]
    routes = {
        shown(view, "listener", name)["api_listener"]["api_listener"]["rds"]["route_config_name"]
        for name in clients
    }
    assert routes == {"grpc|9000||prices.shop.svc.cluster.local"}


def test_a_server_finds_its_listener_by_the_address_it_listens_on() -> None:
    view = view_of()
    servers = [name for name in view.resources["listener"] if name.startswith("xds.")]
    assert servers == [f"xds.istio.io/grpc/lds/inbound/{each}:9000" for each in ("0.0.0.0", ADDRESS, "[::]")]
    made = shown(view, "listener", SERVER)
    assert made["address"]["socket_address"] == {"address": ADDRESS, "port_value": 9000}
    [chain] = made["filter_chains"]
    [host] = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    assert host["routes"] == [{"match": {"prefix": ""}, "non_forwarding_action": {}}]


def test_certificates_come_from_the_provider_of_its_bootstrap_and_peers_are_named() -> None:
    view = view_of()
    instance = {"instance_name": "default"}
    common = shown(view, "cluster", CLUSTER)["transport_socket"]["typed_config"]["common_tls_context"]
    assert common == {
        "tls_certificate_provider_instance": instance,
        "validation_context": {
            "ca_certificate_provider_instance": instance,
            "match_subject_alt_names": [{"exact": MESHED.identity}],
        },
    }
    [chain] = shown(view, "listener", SERVER)["filter_chains"]
    context = chain["transport_socket"]["typed_config"]
    assert context["require_client_certificate"] is True
    assert "match_subject_alt_names" not in context["common_tls_context"]["validation_context"]


@pytest.mark.parametrize(
    ("policy", "server", "client"),
    [("STRICT", True, True), ("PERMISSIVE", True, True), ("DISABLE", False, False)],
)
def test_a_port_is_mutual_tls_or_plain_on_both_sides(policy: str, server: bool, client: bool) -> None:
    view = view_of(mode(policy))
    [chain] = shown(view, "listener", SERVER)["filter_chains"]
    assert ("transport_socket" in chain) is server
    assert ("transport_socket" in shown(view, "cluster", CLUSTER)) is client


def test_one_endpoint_outside_of_the_mesh_makes_the_cluster_plain() -> None:
    rows = (Endpoint(ADDRESS, 9000, attributes=MESHED), Endpoint("127.1.0.3", 9000))
    view = compile_view(
        StaticFacts([Mesh(mtls="PERMISSIVE"), SHOP[1], endpoints(PRICES, 9000, *rows)]), library()
    )
    assert "transport_socket" not in shown(view, "cluster", CLUSTER)


def test_endpoints_say_their_locality_even_if_they_have_none() -> None:
    nowhere = structs.replace(MESHED, locality=structs.replace(MESHED.locality, region="", zone=""))
    facts = StaticFacts([*SHOP[:2], endpoints(PRICES, 9000, Endpoint(ADDRESS, 9000, attributes=nowhere))])
    [group] = shown(compile_view(facts, library()), "endpoint", CLUSTER)["endpoints"]
    assert group["locality"] == {}


def test_policies_are_rbac_filters_of_different_names() -> None:
    deny = Authorization("DENY", (AuthorizationRule(sources=(Source(principals=("x",)),)),))
    allow = Authorization("ALLOW", (AuthorizationRule(sources=(Source(principals=("y",)),)),))
    policies = [
        Policy(PolicyKey("AuthorizationPolicy", "shop", name), body=body)
        for name, body in (("a", deny), ("b", allow))
    ]
    [chain] = shown(view_of(*policies), "listener", SERVER)["filter_chains"]
    names = [entry["name"] for entry in chain["filters"][0]["typed_config"]["http_filters"]]
    assert names == ["envoy.filters.http.rbac-0", "envoy.filters.http.rbac-1", "envoy.filters.http.router"]


def test_time_limits_stand_where_grpc_looks_for_them() -> None:
    view = view_of(table(HttpRule(to(PRICES.host, timeout=2_500))))
    [host] = shown(view, "route", "grpc|9000||prices.shop.svc.cluster.local")["virtual_hosts"]
    action = host["routes"][0]["route"]
    assert action["max_stream_duration"] == {"max_stream_duration": "2.500s"}
    assert "timeout" not in action


def test_a_share_for_what_does_not_exist_has_a_cluster_without_endpoints() -> None:
    rule = HttpRule(
        Forward(
            (
                WeightedDestination(Destination(PRICES.host), 90),
                WeightedDestination(Destination("nobody.shop.svc.cluster.local"), 10),
            )
        )
    )
    view = view_of(table(rule))
    assert shown(view, "cluster", "BlackHoleCluster")["type"] == "EDS"
    assert shown(view, "endpoint", "BlackHoleCluster").get("endpoints", []) == []


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ((table(HttpRule(DirectResponse(404))),), "answers no request itself"),
        (
            (table(HttpRule(to(PRICES.host, rewrite=structs.replace(Forward(()).rewrite, uri="/x")))),),
            "changes no headers or paths",
        ),
        (
            (table(HttpRule(to(PRICES.host), (HttpMatch(uri=StringMatch("exact", "/a")),))),),
            "",
        ),
        (
            (Policy(PolicyKey("LocalRateLimit", "shop", "l"), body=LocalRateLimit(1, 1, 1_000)),),
            "has no local rate limit",
        ),
    ],
)
def test_what_the_library_cannot_do_is_said(facts: tuple[Fact, ...], words: str) -> None:
    problems = view_of(*facts).problems
    assert {problem.code for problem in problems} == ({"MS4203"} if words else set())
    assert all(words in problem.reason for problem in problems)


def test_an_agent_gets_nothing_but_a_probe() -> None:
    agent = sidecar(kind="agent", capability=Capability("mainstay"))
    assert not any(compile_view(StaticFacts(SHOP), agent).resources.values())


def test_an_envoy_beside_an_agent_is_sent_the_names_of_files() -> None:
    def sources(has_agent: bool) -> str:
        envoy = library(capability=Capability("envoy", has_agent))
        view = view_of(proxy=envoy)
        return str([shown(view, "listener", name) for name in view.resources["listener"]]) + str(
            shown(view, "cluster", CLUSTER)
        )

    assert "certificates/default.json" in sources(True)
    assert "sds-grpc" not in sources(True)
    assert "certificates/" not in sources(False)
    assert "sds-grpc" in sources(False)
