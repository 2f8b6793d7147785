"""The graph answers compile steps as a plain scan over the same facts does, after any edits."""

from __future__ import annotations

import time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.compile.capability import Capability
from mainstay.compile.facts import Facts, StaticFacts
from mainstay.compile.traits import Proxy
from mainstay.compile.view import compile_view
from mainstay.control.collections import Collections
from mainstay.control.graph_facts import GraphFacts
from mainstay.graph import Derived, Graph, Input, More
from mainstay.model.application import Application
from mainstay.model.endpoints import Endpoint, EndpointAttributes, NamedTarget, pack_endpoints
from mainstay.model.gateway import Gateway
from mainstay.model.key import (
    MESH,
    EndpointSetKey,
    NamedTargetKey,
    ObjectKey,
    PolicyKey,
    RouteTableKey,
    ServiceKey,
    WorkloadKey,
)
from mainstay.model.mesh import DEFAULT_MESH, Mesh
from mainstay.model.policy import PeerAuthentication, Policy
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
from mainstay.model.rpc import Opening, RpcProtocol
from mainstay.model.scope import Scope
from mainstay.model.service import Service, ServicePort, written_port
from mainstay.model.traffic import TrafficRule
from mainstay.model.workload import Registration, Workload, WorkloadGroup

NAMESPACES = ["shop", "bank"]
HOSTS = ["a.shop", "b.shop"]
RPC_SERVICE = "com.acme.Quotes:1.0"
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
APPS = ["a", "b"]

namespaces = st.sampled_from(NAMESPACES)
hosts = st.sampled_from(HOSTS)
addresses = st.sampled_from(ADDRESSES)
labels = st.sampled_from([(), (("app", "a"),), (("app", "b"),), (("app", "a"), ("version", "1"))])
service_keys = st.builds(ServiceKey, namespaces, hosts)
ports = st.just(
    (
        ServicePort(80, "http", PortProtocol.HTTP, 8080),
        ServicePort(90, "tcp", PortProtocol.TCP, 9090),
        written_port(7000, "volt-x", "", 7000),
        written_port(7100, "rpc", "bolt", 7100),
    )
)
OPENINGS = (Opening(b"\xff\xff", b"\xb0\xa7"),)
SHIPPED = (RpcProtocol("bolt", openings=OPENINGS), RpcProtocol("dubbo"))
PROXIES = [
    Proxy("sidecar~10.0.0.1~a.shop~x", "shop", addresses=("10.0.0.1",), capability=Capability(software))
    for software in ("mainstay", "envoy")
]


def make_set(key: ServiceKey, port: int, source: str, found: list[str], identity: str) -> Any:
    attributes = EndpointAttributes(identity=identity)
    return pack_endpoints(
        EndpointSetKey(key, port, source),
        [Endpoint(address, 8080, attributes=attributes) for address in found],
    )


def make_table(host: str, audience: str, namespace: str, client: Any) -> RouteTable:
    rule = HttpRule(matches=(HttpMatch(source_labels=client),), action=DirectResponse(status=503))
    return RouteTable(RouteTableKey(host, audience, ObjectKey(namespace, host)), http=(rule,))


def make_rpc_table(host: str, namespace: str, method: str) -> RouteTable:
    match = HttpMatch(rpc_method=StringMatch("exact", method))
    rule = HttpRule(Forward((WeightedDestination(Destination(host)),)), (match,))
    return RouteTable(RouteTableKey(host, MESH, ObjectKey(namespace, "rpc")), rpc=(rule,))


facts = st.one_of(
    st.builds(make_rpc_table, hosts, namespaces, st.sampled_from(["get", "put"])),
    st.builds(
        RpcProtocol,
        st.sampled_from(["volt", "bolt"]),
        st.sampled_from(["one", "two"]),
        st.just("00"),
        st.sampled_from([(), OPENINGS]),
        st.integers(0, 2),
    ),
    st.builds(Service, service_keys, ports, selector=labels, created=st.integers(0, 2)),
    st.builds(
        make_set,
        service_keys,
        st.sampled_from([80, 90]),
        st.just("entry"),
        st.lists(addresses, max_size=3),
        st.sampled_from(["", "spiffe://x"]),
    ),
    st.builds(
        lambda key, host: NamedTarget(NamedTargetKey(key, 80, "entry", host), 80),
        service_keys,
        st.sampled_from(["x.y"]),
    ),
    st.builds(
        lambda namespace, name, address, given: Workload(WorkloadKey(namespace, name), (address,), given),
        namespaces,
        st.sampled_from(["w1", "w2"]),
        addresses,
        labels,
    ),
    st.builds(lambda namespace, given: WorkloadGroup(ObjectKey(namespace, "g"), given), namespaces, labels),
    st.builds(make_table, hosts, st.sampled_from([MESH, "shop/edge"]), namespaces, labels),
    st.builds(
        lambda namespace, host, given: TrafficRule(ObjectKey(namespace, host), host, selector=given),
        namespaces,
        hosts,
        labels,
    ),
    st.builds(
        lambda namespace, mode: Policy(
            PolicyKey("PeerAuthentication", namespace, "p"), PeerAuthentication(mode)
        ),
        namespaces,
        st.sampled_from(["STRICT", "PERMISSIVE"]),
    ),
    st.builds(lambda namespace: Scope(ObjectKey(namespace, "s")), namespaces),
    st.builds(lambda namespace: Gateway(ObjectKey(namespace, "edge"), ()), namespaces),
)
REGISTRATIONS = st.dictionaries(
    st.builds(WorkloadKey, namespaces, st.sampled_from(["a", "r"])),
    st.tuples(
        addresses,
        st.none()
        | st.builds(
            Application,
            st.sampled_from(["bolt", "odd"]),
            st.sets(st.sampled_from([*HOSTS, RPC_SERVICE])).map(lambda found: tuple(sorted(found))),
            st.sets(st.sampled_from([*HOSTS, RPC_SERVICE])).map(lambda found: tuple(sorted(found))),
            st.sampled_from([0, 12_200]),
            st.just("127.0.0.1:22200"),
            st.sampled_from(["", "127.0.0.1:12220"]),
        ),
    ),
)
EDITS = st.lists(
    st.tuples(st.integers(0, 12), st.none() | st.lists(facts, min_size=1, max_size=2), st.booleans()),
    max_size=40,
)


def ask_everything(source: Facts) -> dict[str, Any]:
    """Every question a step can ask about the few names there are."""
    keys = [ServiceKey(namespace, host) for namespace in NAMESPACES for host in (*HOSTS, RPC_SERVICE)]
    answers: dict[str, Any] = {"mesh": source.mesh(), "labels": source.client_label_names()}
    for key in keys:
        answers[f"service {key}"] = source.service(key)
        answers[f"identities {key}"] = source.identities(key) if source.service(key) else None
        for port in (80, 90, 12_200):
            answers[f"sets {key} {port}"] = [each for each in source.endpoint_sets(key, port) if len(each)]
            answers[f"targets {key} {port}"] = source.named_targets(key, port)
    for host in HOSTS:
        answers[f"of host {host}"] = source.services_of_host(host)
        answers[f"rules {host}"] = source.traffic_rules(host)
        for audience in (MESH, "shop/edge"):
            answers[f"tables {host} {audience}"] = source.route_tables(host, audience)
    for audience in (MESH, "shop/edge"):
        answers[f"tables of {audience}"] = source.route_tables_of(audience)
    for namespace in (*NAMESPACES, "*"):
        answers[f"services in {namespace}"] = source.services_in(namespace)
    for namespace in NAMESPACES:
        answers[f"policies {namespace}"] = source.policies("PeerAuthentication", namespace)
        answers[f"scopes {namespace}"] = source.scopes(namespace)
        answers[f"application {namespace}"] = source.application(WorkloadKey(namespace, "a"))
        answers[f"gateway {namespace}"] = source.gateway(ObjectKey(namespace, "edge"))
    for address in ADDRESSES:
        answers[f"instances {address}"] = source.instances(address)
    answers["gateways"] = source.gateways()
    answers["protocols"] = source.protocols()
    for name in ("bolt", "dubbo", "volt"):
        answers[f"protocol {name}"] = source.protocol(name)
    for proxy in PROXIES:
        view = compile_view(source, proxy)
        answers[f"view of {proxy.capability.software}"] = (view.versions(), view.problems)
    return answers


class Built:
    def __init__(self) -> None:
        self.graph = Graph(time.perf_counter, lambda *_: "bug")
        self.first: Input[int, tuple[Any, ...]] = self.graph.input("first")
        self.second: Input[int, tuple[Any, ...]] = self.graph.input("second")
        self.mesh: Input[str, Mesh] = self.graph.input("mesh")
        self.registrations: Input[WorkloadKey, Registration] = self.graph.input("registrations")
        self.collections = Collections(
            self.graph, [self.first, self.second], self.mesh, self.registrations, SHIPPED
        )
        self.asked: Derived[str, Any] = self.graph.derived(
            "asked",
            lambda _key, read: ask_everything(GraphFacts(self.collections, read)),
            reads=self.collections.readable,
        )
        self.mesh.set("", DEFAULT_MESH)
        self.graph.want(self.asked, "")

    def answers(self) -> Any:
        while isinstance(self.graph.settle(), More):
            pass
        assert self.graph.exceptions == 0
        return self.asked.get("")


@settings(max_examples=150, deadline=None)
@given(EDITS, st.lists(REGISTRATIONS, max_size=3))
def test_graph_and_scan_agree(
    edits: list[tuple[int, list[Any] | None, bool]],
    registrations: list[dict[WorkloadKey, tuple[str, Application | None]]],
) -> None:
    built = Built()
    registered: dict[WorkloadKey, Registration] = {}
    for told in registrations:
        for key in registered.keys() - told.keys():
            built.registrations.remove(key)
        registered = {
            key: Registration(key, ObjectKey(key.namespace, "g"), (address,), application=application)
            for key, (address, application) in told.items()
        }
        for key, registration in registered.items():
            built.registrations.set(key, registration)
        built.answers()
    content: dict[int, tuple[Any, ...]] = {}
    for origin, brought, settle in edits:
        target = built.first if origin % 2 else built.second
        if brought is None:
            content.pop(origin, None)
            target.remove(origin)
        else:
            content[origin] = tuple(brought)
            target.set(origin, tuple(brought))
        if settle:
            built.answers()
    # One claim a key: first source, then age, then origin; the scan knows no precedence, so it gets the winners.
    order = sorted(content, key=lambda origin: (origin % 2 == 0, origin))
    winners: dict[Any, Any] = {}
    united: dict[Any, list[Any]] = {}
    for first_source in (True, False):
        claims = [
            (getattr(fact, "created", 0), fact)
            for origin in order
            if (origin % 2 == 1) == first_source
            for fact in content[origin]
        ]
        for _, fact in sorted(claims, key=lambda claim: claim[0]):
            winners.setdefault((type(fact), fact.key), fact)
            united.setdefault((type(fact), fact.key), []).append(fact)
    scanned: list[Any] = [each for each in SHIPPED if (RpcProtocol, each.name) not in winners]
    for (kind, key), fact in winners.items():
        if kind.__name__ == "EndpointSet":
            fact = pack_endpoints(key, (row for each in united[(kind, key)] for row in each))
        scanned.append(fact)
    assert built.answers() == ask_everything(StaticFacts([*scanned, *registered.values()]))


def test_health_flip_of_a_workload_recomputes_only_its_service() -> None:
    built = Built()
    for number in range(50):
        app = (("app", f"app{number}"),)
        service = Service(
            ServiceKey("shop", f"s{number}"),
            (ServicePort(80, "http", PortProtocol.HTTP, 8080),),
            selector=app,
        )
        built.first.set(number, (service,))
        built.second.set(number, (Workload(WorkloadKey("shop", f"w{number}"), (f"10.0.0.{number}",), app),))
    built.answers()
    before = built.collections.members.recomputes
    built.second.set(7, (Workload(WorkloadKey("shop", "w7"), ("10.0.0.7",), (("app", "app7"),), weight=5),))
    built.answers()
    assert built.collections.members.recomputes == before + 1
