"""Whatever rules are written, the matcher that a proxy gets sends a call where the first fitting rule says."""

from __future__ import annotations

import re
from itertools import product
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay._proto import pool
from mainstay.compile.facts import StaticFacts
from mainstay.compile.resource import MESSAGES
from mainstay.compile.rpc.table import compile_rpc_route
from mainstay.compile.traits import RpcRouteTraits
from mainstay.model.key import MESH, ObjectKey, RouteTableKey, ServiceKey
from mainstay.model.protocol import PortProtocol
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
from mainstay.model.service import Service, ServicePort

KEY = ServiceKey("shop", "quotes.shop")
PORT = ServicePort(12200, "bolt", PortProtocol.RPC, 12200, "bolt")
SERVICES = ["a.B", "a.Bc", "x"]
METHODS = ["get", "getAll", "put"]


class Call(NamedTuple):
    service: str
    method: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        return f"/{self.service}/{self.method}"


def fits(text: StringMatch, value: str) -> bool:
    """What the model's matches mean."""
    if text.ignore_case and text.kind in ("exact", "prefix"):
        return fits(StringMatch(text.kind, text.value.lower()), value.lower())
    match text.kind:
        case "exact":
            return value == text.value
        case "prefix":
            return value.startswith(text.value)
        case "regex":
            return re.fullmatch(text.value, value) is not None
        case _:
            return True


def takes(match: HttpMatch, call: Call) -> bool:
    for text, value in (
        (match.authority, call.service),
        (match.rpc_method, call.method),
        (match.uri, call.path),
    ):
        if text is not None and not fits(text, value):
            return False
    for header in match.headers:
        has = header.name in call.headers and fits(header.match, call.headers[header.name])
        if has is header.invert:
            return False
    return True


def chosen(matcher: dict[str, Any], call: Call) -> str:
    """What a proxy does by the matcher: the name of the route, or nothing."""
    for entry in matcher.get("matcher_list", {}).get("matchers", ()):
        if holds(entry["predicate"], call):
            return name_of(entry["on_match"])
    return name_of(matcher["on_no_match"]) if "on_no_match" in matcher else ""


def name_of(on_match: dict[str, Any]) -> str:
    return str(on_match["action"]["typed_config"].get("name", "?"))


def holds(predicate: dict[str, Any], call: Call) -> bool:
    [(kind, value)] = predicate.items()
    if kind == "and_matcher":
        return all(holds(each, call) for each in value["predicate"])
    if kind == "not_matcher":
        return not holds(value, call)
    config = value["input"]["typed_config"]
    inputs = {"Host": call.service, "Method": call.method, "Path": call.path}
    found = inputs.get(config["@type"].rpartition(".")[2].removesuffix("MatchInput"))
    if found is None:
        found = call.headers.get(config["property_name"])
    return found is not None and compare(value["value_match"], found)


def compare(matcher: dict[str, Any], value: str) -> bool:
    if "safe_regex" in matcher:
        return re.fullmatch(matcher["safe_regex"]["regex"], value) is not None
    if matcher.get("ignore_case"):
        return compare({k: v.lower() for k, v in matcher.items() if k != "ignore_case"}, value.lower())
    return value == matcher["exact"] if "exact" in matcher else value.startswith(matcher["prefix"])


def texts(*values: str) -> st.SearchStrategy[StringMatch]:
    return st.builds(
        StringMatch,
        st.sampled_from(["exact", "prefix"]),
        st.sampled_from(values),
        ignore_case=st.booleans(),
    ) | st.builds(
        StringMatch, st.just("regex"), st.sampled_from([re.escape(value) + ".*" for value in values])
    )


uris = texts("/", "/a", "/a.B", "/a.B/", "/a.B/get", "/A.b/GET", "/a.B/getAll", "/x/p", "/a.B/get/more")
headers = st.lists(
    st.builds(NamedMatch, st.sampled_from(["one", "two"]), texts("1", "12"), st.booleans())
    | st.builds(NamedMatch, st.just("one"), st.just(StringMatch("present")), st.booleans()),
    max_size=2,
).map(tuple)
matches = st.builds(
    HttpMatch,
    uri=st.none() | uris,
    authority=st.none() | texts("a.B", "a", "A.B", "x"),
    rpc_method=st.none() | texts("get", "GET", "put"),
    headers=headers,
)
rules = st.lists(st.lists(matches, max_size=2).map(tuple), max_size=3)
CALLS = [
    Call(service, method, has)
    for service, method, has in product(
        SERVICES, METHODS, ({}, {"one": "1"}, {"one": "12", "two": "1"}, {"two": "2"})
    )
]


@settings(max_examples=300, deadline=None)
@given(rules)
def test_the_matcher_means_what_the_rules_say(written: list[tuple[HttpMatch, ...]]) -> None:
    forward = Forward((WeightedDestination(Destination(KEY.host)),))
    http = tuple(HttpRule(forward, found, name=f"rule{number}") for number, found in enumerate(written))
    table = RouteTable(RouteTableKey(KEY.host, MESH, ObjectKey("shop", "quotes")), http)
    facts = StaticFacts([Service(KEY, (PORT,)), table])
    traits = RpcRouteTraits("r", "shop", 12200, (KEY,), alone=True, rest=KEY)
    resource = compile_rpc_route(facts, traits)
    assert not resource.problems
    matcher = pool.to_json(pool.parse(MESSAGES["generic_route"], resource.body)).get("routes", {})
    for call in CALLS:
        fitting = (
            rule.name
            for rule in http
            if not rule.matches or any(takes(match, call) for match in rule.matches)
        )
        expected = next(fitting, "") if http else "default"
        assert chosen(matcher, call) == expected, call
