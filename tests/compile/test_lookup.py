"""Which fact applies: decision tables of Istio's precedence."""

import pytest
from small_mesh import DATABASE, RATINGS, REVIEWS, service

from mainstay.compile.facts import StaticFacts
from mainstay.compile.lookup import (
    find_cluster,
    find_route_table,
    find_scope,
    find_service,
    find_traffic_rule,
    host_matches,
    hosts_from_specific,
    mtls_mode,
    services_matching,
)
from mainstay.model.key import MESH, ObjectKey, PolicyKey, RouteTableKey, ServiceKey, labels_of
from mainstay.model.mesh import Mesh
from mainstay.model.policy import MtlsMode, PeerAuthentication, Policy
from mainstay.model.protocol import PortProtocol
from mainstay.model.route import Destination, RouteTable
from mainstay.model.scope import HostPattern, Scope
from mainstay.model.traffic import Subset, TrafficRule

FRONT = labels_of({"app": "front"})


def test_wildcards_of_a_host_go_from_specific_to_general() -> None:
    assert list(hosts_from_specific("a.b.c")) == ["a.b.c", "*.b.c", "*.c", "*"]
    assert list(hosts_from_specific("*.b.c")) == ["*.b.c", "*.c", "*"]
    assert list(hosts_from_specific("*")) == ["*"]


@pytest.mark.parametrize(
    ("pattern", "host", "expected"),
    [
        ("*", "a.b", True),
        ("a.b", "a.b", True),
        ("*.b", "a.b", True),
        ("*.b", "b", False),
        ("*.b", "a.xb", False),
        ("a.b", "c.b", False),
        ("*.b", "*.a.b", True),
    ],
)
def test_host_patterns(pattern: str, host: str, expected: bool) -> None:
    assert host_matches(pattern, host) is expected


def test_own_namespace_is_meant_before_others_and_hidden_services_never() -> None:
    host = "api.example.org"
    mine, other, hidden = (ServiceKey(namespace, host) for namespace in ("shop", "data", "ops"))
    http = (80, PortProtocol.HTTP)
    facts = StaticFacts(
        [
            service(mine, http, created=9),
            service(other, http, created=1),
            service(hidden, http, visible_to=("ops",)),
        ]
    )
    assert find_service(facts, host, "shop").key == mine  # type: ignore[union-attr]
    assert find_service(facts, host, "web").key == other  # type: ignore[union-attr]
    assert find_service(facts, host, "ops").key == hidden  # type: ignore[union-attr]
    assert find_service(facts, "unknown", "shop") is None


def rule(namespace: str, name: str, host: str = REVIEWS.host, **further: object) -> TrafficRule:
    return TrafficRule(ObjectKey(namespace, name), host, **further)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rules", "client", "expected"),
    [
        ([rule("web", "client"), rule("shop", "service"), rule("istio-system", "root")], "web", "client"),
        ([rule("shop", "service"), rule("istio-system", "root")], "web", "service"),
        ([rule("istio-system", "root")], "web", "root"),
        ([rule("other", "foreign")], "web", None),
        ([rule("shop", "hidden", visible_to=("shop",))], "web", None),
        ([rule("web", "wide", "*.svc.cluster.local"), rule("web", "exact")], "web", "exact"),
        ([rule("web", "wide", "*.svc.cluster.local"), rule("shop", "exact")], "web", "wide"),
        ([rule("web", "young", created=2), rule("web", "zold", created=1)], "web", "zold"),
        ([rule("web", "all"), rule("web", "mine", selector=FRONT)], "web", "mine"),
        ([rule("web", "all"), rule("web", "others", selector=labels_of({"app": "x"}))], "web", "all"),
        ([rule("shop", "selected", selector=FRONT)], "web", None),
    ],
)
def test_traffic_rule_of_a_client(rules: list[TrafficRule], client: str, expected: str | None) -> None:
    found = find_traffic_rule(StaticFacts(rules), REVIEWS, client, FRONT)
    assert (found.key.name if found else None) == expected


def table(namespace: str, name: str, host: str = REVIEWS.host, **further: object) -> RouteTable:
    return RouteTable(RouteTableKey(host, MESH, ObjectKey(namespace, name)), **further)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ([], None),
        ([table("shop", "b"), table("shop", "a")], "a"),
        ([table("shop", "b", created=1), table("shop", "a", created=2)], "b"),
        ([table("shop", "wide", "*.shop.svc.cluster.local"), table("shop", "exact")], "exact"),
        ([table("shop", "wide", "*.shop.svc.cluster.local")], "wide"),
        ([table("shop", "hidden", visible_to=("shop",))], None),
    ],
)
def test_route_table_of_a_host(tables: list[RouteTable], expected: str | None) -> None:
    found = find_route_table(StaticFacts(tables), REVIEWS.host, "web")
    assert (found.key.owner.name if found else None) == expected


@pytest.mark.parametrize(
    ("destination", "expected"),
    [
        (Destination(REVIEWS.host), "outbound|9080||reviews.shop.svc.cluster.local"),
        (Destination(REVIEWS.host, "v1"), "outbound|9080|v1|reviews.shop.svc.cluster.local"),
        (Destination(REVIEWS.host, "v9"), None),
        (Destination(REVIEWS.host, port=81), None),
        (Destination("nowhere"), None),
        (Destination(DATABASE.host), "outbound|9080||orders.data.svc.cluster.local"),
        (Destination(DATABASE.host, port=3306), "outbound|3306||orders.data.svc.cluster.local"),
    ],
)
def test_cluster_of_a_destination(destination: Destination, expected: str | None) -> None:
    facts = StaticFacts(
        [
            service(REVIEWS, (9080, PortProtocol.HTTP)),
            service(DATABASE, (3306, PortProtocol.TCP), (9080, PortProtocol.HTTP)),
            rule("shop", "reviews", subsets=(Subset("v1", ()),)),
        ]
    )
    found = find_cluster(facts, destination, "shop", (), 9080)
    assert (str(found) if found else None) == expected


def scope(namespace: str, name: str, **further: object) -> Scope:
    return Scope(ObjectKey(namespace, name), **further)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (
            [scope("shop", "own", selector=FRONT), scope("shop", "whole"), scope("istio-system", "root")],
            "own",
        ),
        ([scope("shop", "other", selector=labels_of({"app": "x"})), scope("shop", "whole")], "whole"),
        ([scope("istio-system", "root")], "root"),
        ([scope("istio-system", "selecting", selector=FRONT)], None),
        ([], None),
    ],
)
def test_scope_of_a_workload(scopes: list[Scope], expected: str | None) -> None:
    found = find_scope(StaticFacts(scopes), "shop", FRONT)
    assert (found.key.name if found else None) == expected


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        ([HostPattern("*", "*")], {REVIEWS, RATINGS, DATABASE}),
        ([HostPattern("shop", "*")], {REVIEWS, RATINGS}),
        ([HostPattern("*", "*.data.svc.cluster.local")], {DATABASE}),
        ([HostPattern("shop", REVIEWS.host), HostPattern("data", "*")], {REVIEWS, DATABASE}),
        ([HostPattern("data", REVIEWS.host)], set()),
        ([], set()),
    ],
)
def test_services_an_egress_list_names(patterns: list[HostPattern], expected: set[ServiceKey]) -> None:
    http = (80, PortProtocol.HTTP)
    facts = StaticFacts([service(key, http) for key in (REVIEWS, RATINGS, DATABASE)])
    assert set(services_matching(facts, patterns, "shop")) == expected


def peer(
    namespace: str, mode: MtlsMode, *, selector: bool = False, ports: dict[int, MtlsMode] | None = None
) -> Policy:
    key = PolicyKey("PeerAuthentication", namespace, f"{mode}-{selector}")
    return Policy(key, PeerAuthentication(mode, tuple((ports or {}).items())), FRONT if selector else ())


@pytest.mark.parametrize(
    ("policies", "expected"),
    [
        ([], "PERMISSIVE"),
        ([peer("istio-system", "STRICT")], "STRICT"),
        ([peer("istio-system", "STRICT"), peer("shop", "DISABLE")], "DISABLE"),
        ([peer("shop", "DISABLE"), peer("shop", "STRICT", selector=True)], "STRICT"),
        ([peer("shop", "STRICT"), peer("shop", "UNSET", selector=True)], "STRICT"),
        ([peer("shop", "STRICT", selector=True, ports={8080: "DISABLE"})], "DISABLE"),
        ([peer("shop", "STRICT", selector=True, ports={9090: "DISABLE"})], "STRICT"),
        ([peer("shop", "STRICT", selector=True, ports={8080: "UNSET"})], "STRICT"),
        ([peer("istio-system", "STRICT", selector=True)], "PERMISSIVE"),
        ([peer("other", "STRICT")], "PERMISSIVE"),
    ],
)
def test_mtls_mode_of_a_port(policies: list[Policy], expected: MtlsMode) -> None:
    assert mtls_mode(StaticFacts(policies), "shop", FRONT, 8080) == expected


def test_mesh_setting_holds_where_no_policy_speaks() -> None:
    assert mtls_mode(StaticFacts([Mesh(mtls="STRICT")]), "shop", FRONT, 8080) == "STRICT"
