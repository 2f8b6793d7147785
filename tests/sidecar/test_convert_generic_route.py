"""Routes of the generic proxy: matchers, actions; what is taken, what is refused, and where the refusal points."""

from __future__ import annotations

from typing import Any

import pytest
from generic_messages import GENERIC, ROUTER, URL, Fields, action, matchers, predicate, routes, table

from mainstay.sidecar import plan
from mainstay.sidecar.convert import matcher
from mainstay.sidecar.convert.generic_route import RETRIED
from mainstay.sidecar.convert.refuse import Refused

ROUTE = "envoy.config.route.v3.Route"


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
