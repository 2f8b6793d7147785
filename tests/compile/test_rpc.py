"""Calls of described protocols: matches and actions in the generic proxy's words, and who carries what."""

from __future__ import annotations

from typing import Any

import pytest

from mainstay._proto import pool
from mainstay.compile.capability import Software, capability_of
from mainstay.compile.facts import Fact, StaticFacts
from mainstay.compile.resource import MESSAGES, Ref
from mainstay.compile.rpc.action import rpc_action
from mainstay.compile.rpc.match import Inexpressible, rpc_predicate
from mainstay.compile.traits import Proxy
from mainstay.compile.view import View, compile_view, consistent
from mainstay.model.endpoints import Endpoint, pack_endpoints
from mainstay.model.had import HAD_BEFORE
from mainstay.model.key import MESH, EndpointSetKey, ObjectKey, RouteTableKey, ServiceKey
from mainstay.model.protocol import PortProtocol
from mainstay.model.published import ORIGIN
from mainstay.model.route import (
    Destination,
    Forward,
    HttpMatch,
    HttpRule,
    NamedMatch,
    RouteTable,
    StringMatch,
    WeightedDestination,
)
from mainstay.model.rpc import Opening, RpcProtocol
from mainstay.model.service import Service, ServicePort, written_port
from mainstay.protocols.kind import shipped_protocols

EXACT = StringMatch("exact", "/a.B:1.0/get")
PRICE = NamedMatch("x-id", StringMatch("exact", "7"))


def show(match: HttpMatch, *, described: bool = True) -> str:
    """A predicate in one line."""
    predicate = rpc_predicate(match, described)
    if predicate is None:
        return "every call"
    message = pool.message_class("xds.type.matcher.v3.Matcher.MatcherList.Predicate")(**predicate)
    return _line(pool.to_json(message))


def _line(predicate: dict[str, Any]) -> str:
    [(kind, value)] = predicate.items()
    if kind == "single_predicate":
        name = value["input"]["name"].removesuffix("MatchInput").lower()
        field = value["input"]["typed_config"].get("property_name", "")
        [(how, text)] = ((k, v) for k, v in value["value_match"].items() if k != "ignore_case")
        text = text["regex"] if isinstance(text, dict) else text
        return f"{name}{f'[{field}]' if field else ''} {how} {text}"
    if kind == "not_matcher":
        return f"not ({_line(value)})"
    return " and ".join(_line(each) for each in value["predicate"])


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        (HttpMatch(), "every call"),
        (HttpMatch(method=StringMatch("exact", "POST")), "every call"),
        (HttpMatch(uri=StringMatch("prefix", "/")), "every call"),
        (HttpMatch(uri=EXACT), "host exact a.B:1.0 and method exact get"),
        (HttpMatch(uri=StringMatch("prefix", "/a.B/")), "host exact a.B"),
        (HttpMatch(uri=StringMatch("prefix", "/a.B/g")), "host exact a.B and method prefix g"),
        (HttpMatch(uri=StringMatch("prefix", "/a")), "host prefix a"),
        (HttpMatch(uri=StringMatch("regex", "/a.*")), "path safe_regex /a.*"),
        (HttpMatch(uri=StringMatch("exact", "/ctx/a.B/get")), "path exact /ctx/a.B/get"),
        (HttpMatch(authority=StringMatch("prefix", "a.")), "host prefix a."),
        (HttpMatch(rpc_method=StringMatch("exact", "get")), "method exact get"),
        (HttpMatch(headers=(PRICE,)), "property[x-id] exact 7"),
        (HttpMatch(headers=(NamedMatch("x", StringMatch("present")),)), "property[x] safe_regex .*"),
        (
            HttpMatch(headers=(NamedMatch("x", StringMatch("exact", "1"), invert=True),)),
            "not (property[x] exact 1)",
        ),
        (HttpMatch(headers=(NamedMatch(":authority", StringMatch("exact", "a.B")),)), "host exact a.B"),
        (
            HttpMatch(headers=(NamedMatch(":path", EXACT, invert=True),)),
            "not (host exact a.B:1.0 and method exact get)",
        ),
    ],
)
def test_matches_in_the_generic_proxys_words(match: HttpMatch, expected: str) -> None:
    assert show(match) == expected


@pytest.mark.parametrize(
    "match",
    [
        HttpMatch(scheme=StringMatch("exact", "http")),
        HttpMatch(query=(NamedMatch("a", StringMatch("exact", "b")),)),
        HttpMatch(method=StringMatch("exact", "GET")),
        HttpMatch(headers=(NamedMatch(":scheme", StringMatch("exact", "http")),)),
        HttpMatch(headers=(NamedMatch(":path", StringMatch("prefix", "/"), invert=True),)),
    ],
)
def test_what_no_call_can_fit_is_told(match: HttpMatch) -> None:
    with pytest.raises(Inexpressible):
        rpc_predicate(match, described=True)


def test_envoys_codec_has_no_path_of_service_and_method() -> None:
    assert show(HttpMatch(uri=EXACT), described=False) == "host exact a.B:1.0 and method exact get"
    with pytest.raises(Inexpressible, match="no path"):
        rpc_predicate(HttpMatch(uri=StringMatch("regex", "/a.*")), described=False)


@pytest.mark.parametrize(
    ("retry_on", "statuses", "expected"),
    [
        ("connect-failure,refused-stream,retriable-status-codes", [503], 0),
        ("connect-failure,reset", [], 3),
        ("retriable-status-codes", [504], 3),
        ("5xx", [], 3),
    ],
)
def test_envoy_repeats_only_what_may_happen_twice(retry_on: str, statuses: list[int], expected: int) -> None:
    policy = {"retry_on": retry_on, "num_retries": {"value": 3}, "retriable_status_codes": statuses}
    refs: list[Ref] = []
    made = rpc_action("", {"route": {"cluster": "c", "retry_policy": policy}}, False, refs)
    action = pool.unpack(_any(made.action))
    assert action is not None
    assert action.retry_policy.num_retries.value == expected
    assert not action.per_filter_config


def _any(extension: dict[str, Any]) -> Any:
    return pool.message_class("google.protobuf.Any")(**extension["typed_config"])


QUOTES = ServiceKey("shop", "quotes.shop.svc.cluster.local")


def view_of(*facts: Fact, software: Software = "mainstay", had: tuple[str, ...] | None = None) -> View:
    agents = {"mainstay": "mainstay", "envoy": "envoy", "grpc": "gRPC C++"}
    capability = capability_of(agents[software], protocols=had)
    proxy = Proxy("sidecar~10.0.0.1~a.shop~x", "shop", addresses=("10.0.0.1",), capability=capability)
    view = compile_view(StaticFacts([*shipped_protocols(), *facts]), proxy)
    assert consistent(view) == ()
    return view


def service(host: str, *ports: ServicePort, origin: str = "") -> Service:
    return Service(ServiceKey("shop", host), ports, origin=origin)


def routes(view: View, name: str) -> dict[str, Any]:
    resource = view.get("generic_route", name)
    assert resource is not None
    return pool.to_json(pool.parse(MESSAGES["generic_route"], resource.body))


def test_what_applications_publish_is_called_by_its_own_name_alone() -> None:
    bolt = ServicePort(12200, "bolt", PortProtocol.TCP, 12200, claims=("bolt",))
    view = view_of(*(service(name, bolt, origin=f"{ORIGIN}/shop/{name}") for name in ("a.A:1.0", "a.B:1.0")))
    made = routes(view, "rpc|12200||")
    assert [host["hosts"] for host in made["virtual_hosts"]] == [["a.A:1.0"], ["a.B:1.0"]]
    assert "routes" not in made, "a service that nobody publishes is found nowhere"

    view = view_of(service(QUOTES.host, bolt), service("a.A:1.0", bolt, origin=f"{ORIGIN}/shop/a.A:1.0"))
    made = routes(view, "rpc|12200||")
    rest = made["routes"]["on_no_match"]["action"]["typed_config"]["cluster"]
    assert rest == f"outbound|12200||{QUOTES.host}"


def test_rules_for_an_rpc_service_that_nobody_publishes_are_no_hosts_of_http() -> None:
    forward = Forward((WeightedDestination(Destination("a.A:1.0")),))
    names = ("a.A:1.0", "a.shop")
    view = view_of(
        *(
            RouteTable(RouteTableKey(name, MESH, ObjectKey("shop", "x")), (HttpRule(forward),))
            for name in names
        )
    )
    made = view.get("route", "80")
    assert made is not None
    hosts = pool.to_json(pool.parse(MESSAGES["route"], made.body))["virtual_hosts"]
    assert [host["name"] for host in hosts] == ["a.shop:80", "allow_any"]


def test_ports_of_one_number_and_two_protocols_are_told_apart_by_first_bytes() -> None:
    view = view_of(
        service("a.shop", written_port(7000, "bolt", "", 7000)),
        service("b.shop", written_port(7000, "dubbo", "", 7000)),
    )
    listener = view.get("listener", "0.0.0.0_7000")
    assert listener is not None
    chains = pool.to_json(pool.parse(MESSAGES["listener"], listener.body))["filter_chains"]
    told = [chain["filter_chain_match"]["application_protocols"] for chain in chains]
    assert told == [["bolt"], ["dubbo"], ["thrift"], ["thrift-compact"]]
    assert not view.problems


def test_an_older_sidecar_is_sent_no_protocol_that_it_lacks() -> None:
    """It would refuse the listener."""
    compact = written_port(9090, "thrift-compact", "", 9090)
    undeclared = ServicePort(7000, "any", PortProtocol.AUTO, 7000)
    instance = pack_endpoints(EndpointSetKey(QUOTES, 7000, "entry"), [Endpoint("10.0.0.1", 7000)])
    facts = (service(QUOTES.host, undeclared), instance, service("b.shop", compact, origin="Service/shop/b"))
    new, old = view_of(*facts), view_of(*facts, had=HAD_BEFORE)
    for name in new.resources["listener"]:
        listener = old.get("listener", name)
        assert listener is not None
        assert b"thrift-compact" not in listener.body
    assert any(b"thrift-compact" in each.body for each in new.resources["listener"].values())
    assert any(b"dubbo" in each.body for each in old.resources["listener"].values())
    assert not new.problems
    [problem] = old.problems
    assert (problem.code, problem.object) == ("MS4203", "Service/shop/b")
    assert problem.reason.startswith(
        "port 9090 speaks thrift-compact, and a sidecar of an older version has no"
    )
    described = RpcProtocol("thrift-compact", "its description", "00", created=1)
    assert not view_of(*facts, described, had=HAD_BEFORE).problems


def test_a_protocol_that_first_bytes_cannot_tell_gives_way_to_the_first_service() -> None:
    view = view_of(
        RpcProtocol("plain", "text", "00"),
        service("a.shop", written_port(7000, "bolt", "", 7000)),
        service("b.shop", written_port(7000, "plain", "", 7000)),
    )
    assert [problem.code for problem in view.problems] == ["MS4201"]
    assert list(view.resources["generic_route"]) == ["rpc|7000||a.shop"]


def test_calls_of_an_undeclared_port_enter_a_peer_as_byte_streams_do() -> None:
    view = view_of(service("a.shop", ServicePort(7000, "any", PortProtocol.AUTO, 7000)))
    made = routes(view, "rpc|7000||a.shop")
    assert made["routes"]["on_no_match"]["action"]["typed_config"]["cluster"] == "outbound-tcp|7000||a.shop"


def test_a_grpc_librarys_port_that_speaks_bolt_is_reported() -> None:
    members = pack_endpoints(EndpointSetKey(QUOTES, 12200, "entry"), [Endpoint("10.0.0.1", 12200)])
    view = view_of(service(QUOTES.host, written_port(12200, "bolt", "", 12200)), members, software="grpc")
    [problem] = view.problems
    assert problem.code == "MS4203"
    assert "port 12200 speaks bolt, and gRPC's library speaks none" in problem.reason


@pytest.mark.parametrize(
    ("software", "protocol", "speaks"),
    [
        ("mainstay", "bolt", True),
        ("envoy", "dubbo", True),
        ("envoy", "bolt", False),
        ("envoy", "thrift", False),
        ("grpc", "dubbo", False),
    ],
)
def test_who_speaks_what(software: Software, protocol: str, speaks: bool) -> None:
    assert capability_of({"grpc": "gRPC"}.get(software, software)).speaks(RpcProtocol(protocol)) is speaks


def test_protocols_that_begin_alike_do_not_make_a_listener_that_is_refused() -> None:
    opening = Opening(b"\xff\xff", b"\x01\x01")
    view = view_of(
        RpcProtocol("late", "text", "00", (opening,), created=5),
        service("a.shop", ServicePort(7000, "any", PortProtocol.AUTO, 7000)),
    )
    listener = view.get("listener", "0.0.0.0_7000")
    assert listener is not None
    shown = str(pool.to_json(pool.parse(MESSAGES["listener"], listener.body)))
    assert "'bolt'" in shown
    assert "late" not in shown
