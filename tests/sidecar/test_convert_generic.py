"""The generic proxy: codecs, routes, filters; what is taken, what is refused, and where the refusal points."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from mainstay._proto import pool
from mainstay.protocols.read import shipped_texts
from mainstay.protocols.shipped import shipped_plan
from mainstay.sidecar import plan
from mainstay.sidecar.convert import described, matcher
from mainstay.sidecar.convert.gathered import Gathered
from mainstay.sidecar.convert.generic_route import RETRIED, generic_route_table
from mainstay.sidecar.convert.listener import listener
from mainstay.sidecar.convert.references import needs_of
from mainstay.sidecar.convert.refuse import Refused
from mainstay.sidecar.convert.source import File
from mainstay.sidecar.convert.table import convert

Fields = dict[str, Any]
URL = "type.googleapis.com/"
GENERIC = URL + "envoy.extensions.filters.network.generic_proxy."
ROUTE = "envoy.config.route.v3.Route"
ROUTER: Fields = {"name": "router", "typed_config": {"@type": GENERIC + "router.v3.Router"}}
VOLT = (Path(__file__).parents[1] / "protocols" / "volt.yaml").read_text()
CONFIGURATION = "envoy.extensions.filters.network.generic_proxy.v3.RouteConfiguration"


def struct(kind: str, value: Fields) -> Fields:
    return {
        "@type": URL + "xds.type.v3.TypedStruct",
        "type_url": f"{URL}mainstay.dev.v1alpha1.{kind}",
        "value": value,
    }


def codec(**value: Any) -> Fields:
    return {"name": "mainstay.codecs.described", "typed_config": struct("DescribedCodec", value)}


def convert_listener(
    listener_filters: list[Fields] | None = None, **fields: Any
) -> tuple[plan.Listener, Gathered]:
    proxy = {
        "@type": GENERIC + "v3.GenericProxy",
        "stat_prefix": "rpc",
        "codec_config": codec(protocol="bolt"),
        "generic_rds": {"route_config_name": "routes", "config_source": {"ads": {}}},
        "filters": [ROUTER],
    } | fields
    if "route_config" in fields:
        del proxy["generic_rds"]
    value = {
        "name": "rpc",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "rpc", "typed_config": proxy}]}],
        "listener_filters": listener_filters or [],
    }
    gathered = Gathered("rpc")
    return listener(pool.from_json("envoy.config.listener.v3.Listener", value), gathered), gathered


def manager(**fields: Any) -> plan.HttpConnectionManager:
    terminal = convert_listener(**fields)[0].chains[0].terminal
    assert isinstance(terminal, plan.HttpTerminal)
    return terminal.manager


def refused(**fields: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        convert_listener(**fields)
    assert caught.value.path.startswith("filter_chains[0].filters[0].typed_config")
    path = caught.value.path.removeprefix("filter_chains[0].filters[0].typed_config").removeprefix(".")
    return Refused(path, caught.value.reason)


# --- codecs -------------------------------------------------------------------------------------------------------


def test_a_protocol_that_is_shipped_needs_its_name_alone() -> None:
    found = manager()
    assert (found.protocol, found.server_name, found.generate_request_id) == ("rpc", None, False)
    assert [protocol.name for protocol in found.rpc] == ["bolt"]
    dubbo = {"@type": GENERIC + "codecs.dubbo.v3.DubboCodecConfig"}
    assert manager(codec_config={"name": "dubbo", "typed_config": dubbo}).rpc[0].name == "dubbo"


def test_a_description_is_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(VOLT.encode()).hexdigest()
    monkeypatch.setattr(described, "_compiled", {})
    first = manager(codec_config=codec(protocol="volt", description=VOLT, sha256=digest)).rpc[0]
    assert first.name == "volt"
    monkeypatch.setattr(described, "_read", lambda *_: pytest.fail("read again"))
    assert manager(codec_config=codec(protocol="volt", description=VOLT)).rpc[0] is first


def test_the_text_of_a_shipped_protocol_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(described, "_read", lambda *_: pytest.fail("read"))
    text = shipped_texts()["bolt"]
    assert manager(codec_config=codec(protocol="bolt", description=text)).rpc[0] is manager().rpc[0]


def test_a_description_of_ones_own_takes_the_place_of_a_shipped_one() -> None:
    shipped = shipped_plan("bolt")
    assert shipped is not None
    text = shipped_texts()["bolt"].replace("detection: certain", "detection: declared-only")
    found = manager(codec_config=codec(protocol="bolt", description=text)).rpc[0]
    assert shipped.plan.detection
    assert found.detection == ()


@pytest.mark.parametrize(
    ("value", "path", "words"),
    [
        ({}, "protocol", "is required"),
        ({"protocol": "nobody"}, "description", "does not come with Mainstay, as bolt, dubbo, thrift do"),
        ({"protocol": "bolt", "sha256": "00"}, "sha256", "is not that of the bolt that comes"),
        (
            {"protocol": "volt", "description": VOLT, "sha256": "00"},
            "sha256",
            "is not that of the description",
        ),
        ({"protocol": "bolt", "description": VOLT}, "description", "is of the protocol 'volt', not 'bolt'"),
        ({"protocol": "x", "description": "a: [1"}, "description", "description:2:"),
        (
            {"protocol": "volt", "description": VOLT.replace("kind: Protocol", "kind: Route")},
            "description",
            "is no description of a protocol",
        ),
        ({"protocol": "volt", "description": f"{VOLT}---\n{VOLT}"}, "description", "two protocols volt"),
        (
            {"protocol": "volt", "description": "#" * 65_537},
            "description",
            "has 65537 bytes, more than 65536",
        ),
        ({"protocol": "bolt", "text": "a"}, "text", "is not a field of it"),
        ({"protocol": 1}, "protocol", "must be text"),
    ],
)
def test_a_codec_that_cannot_be_had_is_refused_by_path(value: Fields, path: str, words: str) -> None:
    found = refused(codec_config=codec(**value))
    assert found.path == f"codec_config.typed_config.value.{path}"
    assert words in found.reason


def test_a_contradiction_is_told_in_the_readers_words_with_its_line() -> None:
    wrong = VOLT.replace("detection: certain", "detection: certainly")
    assert wrong != VOLT
    found = refused(codec_config=codec(protocol="volt", description=wrong))
    line = 1 + wrong[: wrong.index("certainly")].count("\n")
    assert found.reason.startswith(f"description:{line}:")
    assert "spec.detection" in found.reason


def test_a_typed_struct_that_is_none_is_refused() -> None:
    value = pool.from_json("google.protobuf.Any", {"@type": URL + "google.protobuf.Duration", "value": "1s"})
    value.type_url, value.value = URL + "xds.type.v3.TypedStruct", b"\xff"
    config = pool.message_class("envoy.config.core.v3.TypedExtensionConfig")(name="x", typed_config=value)
    with pytest.raises(Refused, match=r"not a xds\.type\.v3\.TypedStruct"):
        described.codec(config)


def test_other_codecs_are_refused() -> None:
    config = {"@type": GENERIC + "router.v3.Router"}
    found = refused(codec_config={"name": "x", "typed_config": config})
    assert (found.path, "use mainstay.dev" in found.reason) == ("codec_config.typed_config", True)
    assert refused(codec_config={}).path == "codec_config.typed_config"


# --- the inspector ------------------------------------------------------------------------------------------------


def inspector(*protocols: Fields) -> list[Fields]:
    return [
        {
            "name": "mainstay.listener.protocol_inspector",
            "typed_config": struct("ProtocolInspector", {"protocols": list(protocols)}),
        }
    ]


def test_the_inspector_knows_described_protocols() -> None:
    found, _ = convert_listener(inspector({"protocol": "bolt"}, {"protocol": "dubbo"}))
    (only,) = found.listener_filters
    assert isinstance(only, plan.ProtocolInspector)
    assert [protocol.name for protocol in only.protocols] == ["bolt", "dubbo"]


DECLARED = VOLT.replace("detection: certain", "detection: declared-only").replace("name: volt", "name: watt")


@pytest.mark.parametrize(
    ("protocols", "path", "words"),
    [
        ([], "protocols", "needs at least one"),
        ([{"protocol": "volt"}], "protocols[0].value.description", "is required"),
        ([{"protocol": "watt", "description": DECLARED}], "protocols[0]", "a port must declare it"),
        ([{"protocol": "bolt"}, {"protocol": "bolt"}], "protocols[1]", "fit both bolt and bolt"),
    ],
)
def test_what_first_bytes_cannot_tell_is_refused(protocols: list[Fields], path: str, words: str) -> None:
    with pytest.raises(Refused) as caught:
        convert_listener(inspector(*protocols))
    assert caught.value.path == f"listener_filters[0].typed_config.value.{path}"
    assert words in caught.value.reason


# --- routes -------------------------------------------------------------------------------------------------------


def action(cluster: str = "a", **fields: Any) -> Fields:
    config: Fields = {"@type": GENERIC + "action.v3.RouteAction"} | fields
    if "weighted_clusters" not in fields and cluster:
        config["cluster"] = cluster
    return {"action": {"name": "route", "typed_config": config}}


def predicate(kind: str, match: Fields, **config: Any) -> Fields:
    chosen = {"name": "i", "typed_config": {"@type": f"{GENERIC}matcher.v3.{kind}MatchInput"} | config}
    return {"single_predicate": {"input": chosen, "value_match": match}}


def matchers(*pairs: tuple[Fields, Fields], otherwise: Fields | None = None) -> Fields:
    entries = [{"predicate": asked, "on_match": then} for asked, then in pairs]
    made: Fields = {"matcher_list": {"matchers": entries}} if entries else {}
    return made if otherwise is None else made | {"on_no_match": otherwise}


def table(**fields: Any) -> plan.RouteTable:
    return generic_route_table(pool.from_json(CONFIGURATION, {"name": "routes"} | fields))


def routes(matcher: Fields) -> tuple[plan.Route, ...]:
    (host,) = table(routes=matcher).virtual_hosts
    return host.routes


def conditions(route: plan.Route) -> tuple[plan.HeaderMatch, ...]:
    assert route.matches.path == plan.PrefixPath("")
    return route.matches.headers


def exact(name: str, text: str) -> plan.HeaderMatch:
    return plan.HeaderMatch(name, plan.TextTest(plan.StringMatch(plan.ExactText(text))))


def test_virtual_hosts_are_services_in_which_capitals_count() -> None:
    one = {"name": "one", "hosts": ["shop.Cart", "shop.cart"], "routes": matchers(otherwise=action())}
    found = table(virtual_hosts=[one], routes=matchers(otherwise=action("rest")))
    assert found.case_sensitive
    assert [host.domains for host in found.virtual_hosts] == [("shop.Cart", "shop.cart"), ("*",)]


def test_a_tree_becomes_rows_in_its_order() -> None:
    inner = matchers((predicate("Property", {"prefix": "k"}, property_name="X-User"), action("canary")))
    found = routes(
        matchers(
            (predicate("Method", {"exact": "add"}), {"matcher": inner}),
            (predicate("Service", {"suffix": ".Cart"}), action("carts")),
            otherwise=action("rest"),
        )
    )
    user = plan.HeaderMatch("x-user", plan.TextTest(plan.StringMatch(plan.PrefixText("k"))))
    cart = plan.HeaderMatch(":authority", plan.TextTest(plan.StringMatch(plan.SuffixText(".Cart"))))
    assert [conditions(route) for route in found] == [(exact(":rpc-method", "add"), user), (cart,), ()]


def test_longer_prefixes_go_first() -> None:
    tree = {
        "input": predicate("Path", {})["single_predicate"]["input"],
        "prefix_match_map": {"map": {"/a": action("short"), "/a/b": action("long")}},
    }
    clusters = [route.action.upstreams for route in routes({"matcher_tree": tree})]  # type: ignore[union-attr]
    assert clusters == [plan.OneCluster("long"), plan.OneCluster("short")]


def test_what_contradicts_itself_becomes_no_row() -> None:
    add, remove = (predicate("Method", {"exact": name}) for name in ("add", "remove"))
    both = {"and_matcher": {"predicate": [add, remove]}}
    assert routes(matchers((both, action()))) == ()
    # A header may come twice.
    left, right = (predicate("Property", {"exact": value}, property_name="x") for value in "ab")
    assert len(routes(matchers(({"and_matcher": {"predicate": [left, right]}}, action())))) == 1


def nested(depth: int) -> Fields:
    found: Fields = matchers(otherwise=action())
    for _ in range(depth):
        found = matchers(otherwise={"matcher": found})
    return found


def alternatives(count: int) -> Fields:
    """Each doubles the rows."""
    several = [
        {
            "or_matcher": {
                "predicate": [
                    predicate("Property", {"exact": value}, property_name=f"x{number}") for value in "ab"
                ]
            }
        }
        for number in range(count)
    ]
    return matchers(({"and_matcher": {"predicate": several}}, action()))


def test_trees_are_bounded() -> None:
    assert len(routes(nested(matcher.MAX_DEPTH - 1))) == 1
    assert len(routes(alternatives(12))) == matcher.MAX_ROUTES == 4_096
    for tree, words in (
        (nested(matcher.MAX_DEPTH), "nested deeper than 16"),
        (alternatives(13), "more than 4096"),
    ):
        with pytest.raises(Refused, match=words):
            routes(tree)
    hosts = [{"name": name, "hosts": [name], "routes": alternatives(12)} for name in "ab"]
    with pytest.raises(Refused, match="more than 4096 routes"):
        table(virtual_hosts=hosts)


METHOD = predicate("Method", {"exact": "a"})
WHOLE = {"name": "i", "typed_config": {"@type": GENERIC + "matcher.v3.RequestMatchInput"}}
FIRST = "routes.matcher_list.matchers[0]"
SINGLE = f"{FIRST}.predicate.single_predicate"


@pytest.mark.parametrize(
    ("matcher", "path"),
    [
        (matchers((METHOD, {})), f"{FIRST}.on_match"),
        (matchers(({}, action())), f"{FIRST}.predicate"),
        (matchers((METHOD, action() | {"keep_matching": True})), f"{FIRST}.on_match.keep_matching"),
        (
            matchers(({"or_matcher": {"predicate": [METHOD]}}, action())),
            f"{FIRST}.predicate.or_matcher.predicate",
        ),
        (matchers((predicate("Method", {}), action())), f"{SINGLE}.value_match.match_pattern"),
        (
            matchers((predicate("Property", {"exact": "a"}), action())),
            f"{SINGLE}.input.typed_config.property_name",
        ),
        (
            matchers((predicate("Property", {"exact": "a"}, property_name="Host"), action())),
            f"{SINGLE}.input.typed_config.property_name",
        ),
        (
            matchers(({"single_predicate": {"input": WHOLE, "value_match": {"exact": "a"}}}, action())),
            f"{SINGLE}.value_match",
        ),
        (
            matchers(({"single_predicate": METHOD["single_predicate"] | {"value_match": None}}, action())),
            SINGLE,
        ),
        (
            {"matcher_tree": {"input": WHOLE, "exact_match_map": {"map": {"a": action()}}}},
            "routes.matcher_tree.input.typed_config",
        ),
        (
            {"matcher_tree": {"input": METHOD["single_predicate"]["input"]}},
            "routes.matcher_tree.tree_type",
        ),
        (
            matchers((METHOD, {"action": {"name": "x", "typed_config": ROUTER["typed_config"]}})),
            f"{FIRST}.on_match.action.typed_config",
        ),
        (matchers(otherwise=action("")), "routes.on_no_match.action.typed_config.cluster_specifier"),
    ],
)
def test_what_is_not_understood_is_refused_by_path(matcher: Fields, path: str) -> None:
    with pytest.raises(Refused) as caught:
        table(routes=matcher)
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"virtual_hosts": [{"name": "a", "routes": {}}]}, "virtual_hosts[0].hosts"),
        ({"virtual_hosts": [{"name": n, "hosts": ["x"]} for n in "ab"]}, "virtual_hosts[1].hosts"),
        ({"virtual_hosts": [{"name": "a", "hosts": ["*"]}], "routes": {}}, "routes"),
    ],
)
def test_hosts_are_unambiguous(fields: Fields, path: str) -> None:
    with pytest.raises(Refused) as caught:
        table(**fields)
    assert caught.value.path == path


def forward(**fields: Any) -> plan.ForwardAction:
    (only,) = routes(matchers(otherwise=action(**fields)))
    assert isinstance(only.action, plan.ForwardAction)
    return only.action


def test_an_action_says_where_to_how_long_and_how_often() -> None:
    assert (forward().timeout, forward().retry) == (15_000, None)
    assert forward(timeout="0s").timeout is None
    weights = {"clusters": [{"name": "a", "weight": 1}, {"name": "b", "weight": 3}]}
    chosen = forward(weighted_clusters=weights).upstreams
    assert isinstance(chosen, plan.WeightedClusters)
    assert [(each.name, each.weight) for each in chosen.clusters] == [("a", 1), ("b", 3)]
    retry = forward(retry_policy={"num_retries": 3}).retry
    assert retry is not None
    assert (retry.attempts, retry.retry_on, retry.retriable_statuses) == (3, RETRIED, (503,))
    said = forward(retry_policy={"retry_on": "5xx", "retry_back_off": {"base_interval": "0.1s"}}).retry
    assert said is not None
    assert (said.attempts, said.retry_on, said.retriable_statuses) == (1, ("5xx",), ())
    assert said.back_off == plan.BackOff(100, 1_000)


def more(**fields: Any) -> Fields:
    return {"mainstay.route": {"@type": URL + ROUTE} | fields}


def test_what_an_action_has_no_field_for_stands_in_an_http_route() -> None:
    rbac = {"@type": URL + "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"}
    given = more(
        route={
            "retry_policy": {"retry_on": "reset", "num_retries": 5},
            "request_mirror_policies": [{"cluster": "shadow"}],
            "idle_timeout": "7s",
        },
        request_headers_to_add=[{"header": {"key": "x-a", "value": "1"}}],
        typed_per_filter_config={"rbac": rbac},
    )
    (found,) = routes(matchers(otherwise=action(per_filter_config=given | {"other": rbac})))
    assert isinstance(found.action, plan.ForwardAction)
    assert found.action.retry is not None
    assert (found.action.retry.retry_on, found.action.retry.attempts) == (("reset",), 5)
    assert found.action.mirrors == (plan.Mirror("shadow", None, False),)
    assert (found.action.idle_timeout, found.action.upstreams) == (7_000, plan.OneCluster("a"))
    assert [change.name for change in found.headers.request] == ["x-a"]
    assert [name for name, _ in found.filters] == ["other", "rbac"]


def test_a_route_may_answer_by_itself() -> None:
    given = more(direct_response={"status": 503, "body": {"inline_string": "closed"}})
    (found,) = routes(matchers(otherwise=action("", per_filter_config=given)))
    assert found.action == plan.RespondAction(plan.DirectResponse(503, b"closed"))


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"match": {"prefix": "/"}}, "match"),
        ({"route": {"cluster": "b"}}, "route.cluster"),
        ({"route": {"prefix_rewrite": "/"}}, "route.prefix_rewrite"),
        ({"redirect": {}}, "redirect"),
        ({"direct_response": {"status": 99}}, "direct_response.status"),
    ],
)
def test_of_an_http_route_only_that_counts_which_makes_sense(fields: Fields, path: str) -> None:
    with pytest.raises(Refused) as caught:
        routes(matchers(otherwise=action(per_filter_config=more(**fields))))
    assert (
        caught.value.path
        == f"routes.on_no_match.action.typed_config.per_filter_config['mainstay.route'].{path}"
    )


# --- the proxy ----------------------------------------------------------------------------------------------------


def test_a_listener_needs_its_generic_routes() -> None:
    assert needs_of(convert_listener()[0]) == {("generic_route", "routes")}
    inline = {"name": "r", "routes": matchers(otherwise=action())}
    assert needs_of(convert_listener(route_config=inline)[0]) == {("cluster", "a")}


def test_routes_may_come_from_a_file_but_from_no_service_of_their_own() -> None:
    file = {"path_config_source": {"path": "/routes.yaml"}}
    _, gathered = convert_listener(generic_rds={"route_config_name": "r", "config_source": file})
    assert gathered.sources == {("generic_route", "r"): File("/routes.yaml")}
    service = {
        "api_config_source": {"api_type": "GRPC", "grpc_services": [{"envoy_grpc": {"cluster_name": "c"}}]}
    }
    found = refused(generic_rds={"route_config_name": "r", "config_source": service})
    assert found.path == "generic_rds.config_source.api_config_source"


def test_filters_are_those_of_http_and_end_with_the_router() -> None:
    rbac = {
        "name": "rbac",
        "typed_config": {"@type": URL + "envoy.extensions.filters.http.rbac.v3.RBAC", "rules": {}},
    }
    found = manager(filters=[rbac, ROUTER]).filters
    assert [(each.name, type(each.config)) for each in found] == [("rbac", plan.RbacFilter)]
    assert refused(filters=[rbac]).path == "filters"
    assert refused(filters=[ROUTER, rbac]).path == "filters[1]"
    http = {"name": "r", "typed_config": {"@type": URL + "envoy.extensions.filters.http.router.v3.Router"}}
    assert refused(filters=[http]).path == "filters[0].typed_config"


def test_the_kind_of_a_table_is_its_messages() -> None:
    body = pool.from_json(CONFIGURATION, {"name": "r", "routes": matchers(otherwise=action())})
    found = convert(CONFIGURATION, body.SerializeToString()).resource
    assert (found.kind, found.name, found.needs) == ("generic_route", "r", {("cluster", "a")})
