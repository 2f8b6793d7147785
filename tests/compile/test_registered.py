"""What applications register becomes endpoints for others, and listeners of their own sidecars."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mainstay._proto import pool
from mainstay.compile.capability import Capability
from mainstay.compile.facts import Fact, StaticFacts
from mainstay.compile.resource import MESSAGES, Kind
from mainstay.compile.traits import Interception, Proxy
from mainstay.compile.view import View, compile_view, consistent
from mainstay.model.application import Application
from mainstay.model.endpoints import Endpoint, Health, pack_endpoints
from mainstay.model.key import MESH, EndpointSetKey, ObjectKey, RouteTableKey, ServiceKey, WorkloadKey
from mainstay.model.protocol import PortProtocol
from mainstay.model.route import (
    Destination,
    Forward,
    HttpMatch,
    HttpRule,
    RouteTable,
    StringMatch,
    WeightedDestination,
)
from mainstay.model.rpc import RpcProtocol
from mainstay.model.scope import IngressListener, Scope
from mainstay.model.service import Service, ServicePort
from mainstay.model.workload import Registration, WorkloadGroup

HELLO = "com.example.Hello:1.0"
CLUSTER = f"outbound|12200||{HELLO}"
ROUTE = "rpc|12200||127.0.0.1_12220"
BOLT = RpcProtocol("bolt")


def registered(name: str, address: str, application: Application | None, **fields: Any) -> tuple[Fact, Fact]:
    group = WorkloadGroup(ObjectKey("shop", name), account=name)
    return group, Registration(
        WorkloadKey("shop", name), group.key, (address,), application=application, h2_tunnel=True, **fields
    )


PROVIDER = registered(
    "provider", "127.0.0.5", Application("bolt", (HELLO,), (), 12_200, "127.0.0.5:22200", "127.0.0.5:12220")
)
CALLER = registered("caller", "127.0.0.1", Application("bolt", (), (HELLO,), 0, "", "127.0.0.1:12220"))


def view_of(name: str, *facts: Fact, interception: Interception = "NONE", software: str = "mainstay") -> View:
    address = "127.0.0.5" if name == "provider" else "127.0.0.1"
    proxy = Proxy(
        f"sidecar~{address}~{name}.shop~shop.svc.cluster.local",
        "shop",
        addresses=(address,),
        interception=interception,
        capability=Capability(software),  # type: ignore[arg-type]
        group=name,
    )
    view = compile_view(StaticFacts((BOLT, *facts)), proxy)
    assert consistent(view) == ()
    return view


def shown(view: View, kind: Kind, name: str) -> dict[str, Any]:
    resource = view.get(kind, name)
    assert resource is not None, sorted(view.resources[kind])
    found: dict[str, Any] = pool.to_json(pool.parse(MESSAGES[kind], resource.body))
    return found


def endpoints(view: View, cluster: str = CLUSTER) -> list[tuple[str, int]]:
    found = []
    for locality in shown(view, "endpoint", cluster).get("endpoints", []):
        for each in locality["lb_endpoints"]:
            address = each["endpoint"]["address"]["socket_address"]
            found.append((address["address"], address["port_value"]))
    return found


def test_a_caller_has_one_listener_whose_calls_go_by_service_to_its_providers() -> None:
    view = view_of("caller", *PROVIDER, *CALLER)
    listener = shown(view, "listener", "127.0.0.1_12220")
    assert listener["address"]["socket_address"] == {"address": "127.0.0.1", "port_value": 12_220}
    [virtual_host] = shown(view, "generic_route", ROUTE)["virtual_hosts"]
    assert virtual_host["hosts"] == [HELLO]
    assert endpoints(view) == [("127.0.0.5", 12_200)]
    sockets = shown(view, "cluster", CLUSTER)["transport_socket_matches"]
    context = sockets[0]["transport_socket"]["typed_config"]
    assert context["sni"].endswith(".rpc")
    assert context["sni"].islower()
    assert "spiffe://cluster.local/ns/shop/sa/provider" in str(context)


def test_who_subscribed_to_nothing_and_who_registers_nothing() -> None:
    none = registered("caller", "127.0.0.1", Application(data="127.0.0.1:12220"))
    view = view_of("caller", *PROVIDER, *none)
    assert "virtual_hosts" not in shown(view, "generic_route", ROUTE)
    assert CLUSTER not in view.resources["cluster"]
    without = registered("caller", "127.0.0.1", None)
    assert list(view_of("caller", *PROVIDER, *without).resources["listener"]) == []


def test_subscribing_before_a_provider_exists() -> None:
    before = view_of("caller", *CALLER)
    assert "virtual_hosts" not in shown(before, "generic_route", ROUTE)
    after = view_of("caller", *CALLER, *PROVIDER)
    assert before.versions()["listener", "127.0.0.1_12220"] == after.versions()["listener", "127.0.0.1_12220"]


@pytest.mark.parametrize("health", [Health.UNHEALTHY, Health.DRAINING])
def test_a_provider_that_is_not_well_takes_no_calls(health: Health) -> None:
    group, registration = PROVIDER
    bad = msgspec.structs.replace(registration, health=health)
    assert endpoints(view_of("caller", group, bad, *CALLER)) == []


def test_a_provider_has_a_listener_for_peers_only_while_it_publishes() -> None:
    view = view_of("provider", *PROVIDER)
    listener = shown(view, "listener", "127.0.0.5_12200")
    assert "generic_proxy" in str(listener["filter_chains"])
    cluster = shown(view, "cluster", "inbound|12200||")
    assert "22200" in str(cluster["load_assignment"])
    group, registration = PROVIDER
    silent = msgspec.structs.replace(registration, application=Application(data="127.0.0.5:12220"))
    assert "127.0.0.5_12200" not in view_of("provider", group, silent).resources["listener"]


def test_an_authors_own_listener_of_the_port_takes_precedence() -> None:
    ingress = IngressListener(
        12_200, PortProtocol.TCP, "bolt", bind="127.0.0.5", endpoint="127.0.0.5:1", claims=("bolt",)
    )
    view = view_of("provider", *PROVIDER, Scope(ObjectKey("shop", "own"), ingress=(ingress,)))
    assert "'port_value': 1}" in str(shown(view, "cluster", "inbound|12200||")["load_assignment"])


def test_an_intercepted_provider_is_reached_at_its_own_port() -> None:
    view = view_of("provider", *PROVIDER, interception="REDIRECT")
    assert "127.0.0.5_12200" not in view.resources["listener"]
    assert "generic_proxy" in str(shown(view, "listener", "virtualInbound"))
    assert "127.0.0.5_12220" in view.resources["listener"]


def test_what_somebody_wrote_counts_before_what_is_published() -> None:
    port = ServicePort(12_200, "bolt", PortProtocol.TCP, 12_200, claims=("bolt",))
    written = Service(
        ServiceKey("shop", HELLO), (port,), accounts=("spiffe://x",), origin="Service/shop/hello"
    )
    view = view_of("caller", written, *PROVIDER, *CALLER)
    assert "spiffe://x" in str(shown(view, "cluster", CLUSTER))
    assert endpoints(view) == [("127.0.0.5", 12_200)]


def test_services_in_scope_are_called_there_too() -> None:
    port = ServicePort(12_200, "bolt", PortProtocol.TCP, 12_200, claims=("bolt",))
    ledger = Service(ServiceKey("shop", "ledger.shop"), (port,), origin="Service/shop/ledger")
    web = Service(
        ServiceKey("shop", "web.shop"), (ServicePort(80, "http", PortProtocol.HTTP, 80),), origin="x"
    )
    view = view_of("caller", ledger, web, *PROVIDER, *CALLER)
    hosts = [each["hosts"] for each in shown(view, "generic_route", ROUTE)["virtual_hosts"]]
    assert hosts == [["ledger.shop"], [HELLO]]


def test_rules_that_name_the_service_they_are_for_give_it_no_second_host() -> None:
    """Proxies refuse a table in which a host stands twice."""
    match = HttpMatch(authority=StringMatch("exact", HELLO), rpc_method=StringMatch("exact", "price"))
    rule = HttpRule(Forward((WeightedDestination(Destination(HELLO)),)), (match,))
    route = RouteTable(RouteTableKey(HELLO, MESH, ObjectKey("shop", "hello")), rpc=(rule,))
    view = view_of("caller", route, *PROVIDER, *CALLER)
    [virtual_host] = shown(view, "generic_route", ROUTE)["virtual_hosts"]
    assert virtual_host["hosts"] == [HELLO]
    assert virtual_host["routes"]["matcher_list"]


def test_a_protocol_that_nobody_described_gives_no_listener() -> None:
    odd = registered("caller", "127.0.0.1", Application("odd", (), (HELLO,), 0, "", "127.0.0.1:12220"))
    view = view_of("caller", *PROVIDER, *odd)
    assert list(view.resources["listener"]) == []
    [problem] = view.problems
    assert (problem.code, problem.object) == ("MS4205", "WorkloadEntry/shop/caller")
    assert "odd" in problem.reason
    silent = registered("caller", "127.0.0.1", Application("odd", data="127.0.0.1:12220"))
    assert not view_of("caller", *silent).problems, "it may never register"
    assert list(view_of("caller", *PROVIDER, *CALLER, software="envoy").resources["listener"]) == []


def publishing(name: str, address: str, service: str, *weights: tuple[str, int]) -> tuple[Fact, Fact]:
    application = Application(
        "bolt", (service,), (), 12_200, f"{address}:22200", f"{address}:12220", weights=weights
    )
    return registered(name, address, application)


def weights(view: View, cluster: str = CLUSTER) -> dict[str, int]:
    return {
        each["endpoint"]["address"]["socket_address"]["address"]: each["load_balancing_weight"]
        for locality in shown(view, "endpoint", cluster).get("endpoints", [])
        for each in locality["lb_endpoints"]
    }


def test_callers_of_a_group_reach_its_providers_alone() -> None:
    gray = f"{HELLO}@gray"
    providers = (*PROVIDER, *publishing("next", "127.0.0.6", gray))
    plain = view_of("caller", *providers, *CALLER)
    assert endpoints(plain) == [("127.0.0.5", 12_200)]
    assert f"outbound|12200||{gray}" not in plain.resources["cluster"]
    wants = registered("caller", "127.0.0.1", Application("bolt", (), (gray,), 0, "", "127.0.0.1:12220"))
    port = ServicePort(12_200, "bolt", PortProtocol.TCP, 12_200, claims=("bolt",))
    written = Service(ServiceKey("shop", HELLO), (port,), origin="Service/shop/hello")
    view = view_of("caller", written, *providers, *wants)
    [virtual_host] = shown(view, "generic_route", ROUTE)["virtual_hosts"]
    assert virtual_host["hosts"] == [HELLO], "calls name no group"
    assert endpoints(view, f"outbound|12200||{gray}") == [("127.0.0.6", 12_200)]


def test_whoever_is_intercepted_and_subscribed_to_nothing_calls_no_group() -> None:
    silent = registered("caller", "127.0.0.1", None)
    view = view_of(
        "caller", *publishing("next", "127.0.0.6", f"{HELLO}@gray"), *silent, interception="REDIRECT"
    )
    assert not [name for name in view.resources["cluster"] if HELLO in name]


def test_weights_are_shares_of_the_calls() -> None:
    half = publishing("half", "127.0.0.6", HELLO, (HELLO, 50))
    assert weights(view_of("caller", *PROVIDER, *half, *CALLER)) == {"127.0.0.5": 2, "127.0.0.6": 1}
    none = publishing("none", "127.0.0.7", HELLO, (HELLO, 0))
    assert weights(view_of("caller", *PROVIDER, *none, *CALLER)) == {"127.0.0.5": 1}


def test_weights_beside_endpoints_that_somebody_wrote() -> None:
    key = ServiceKey("shop", HELLO)
    port = ServicePort(12_200, "bolt", PortProtocol.TCP, 12_200, claims=("bolt",))
    written = Service(key, (port,), origin="ServiceEntry/shop/hello")
    rows = pack_endpoints(EndpointSetKey(key, 12_200, "ServiceEntry"), (Endpoint("10.0.0.9", 12_200, 3),))
    half = publishing("half", "127.0.0.6", HELLO, (HELLO, 50))
    assert weights(view_of("caller", written, rows, *half, *CALLER)) == {"10.0.0.9": 6, "127.0.0.6": 1}


def test_nobody_takes_over_a_host_that_was_written_in_another_namespace() -> None:
    port = ServicePort(12_200, "bolt", PortProtocol.TCP, 12_200, claims=("bolt",))
    written = Service(
        ServiceKey("bank", HELLO), (port,), origin="Service/bank/hello", created=1_700_000_000_000
    )
    group = WorkloadGroup(ObjectKey("aaa", "evil"))
    evil = Registration(
        WorkloadKey("aaa", "evil"),
        group.key,
        ("127.6.6.6",),
        application=Application("bolt", (HELLO,), (), 12_200, "127.6.6.6:1", ""),
    )
    assert endpoints(view_of("caller", written, group, evil, *CALLER)) == []
    assert endpoints(view_of("caller", group, evil, *CALLER)) == [("127.6.6.6", 12_200)]
