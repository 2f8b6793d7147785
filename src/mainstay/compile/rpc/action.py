"""Actions of rules as those of the generic proxy's routes.

In: the fields of an HTTP Route, as ``route.action`` makes them. Out: an action with cluster, weights, timeout and number of
retries; what the generic proxy has no field for (retry conditions, mirrors, header changes, answers) goes beside it, as the
HTTP Route that a proxy of ours reads it from. Nothing of a rule is lost silently: what a proxy cannot do is returned.
"""

import msgspec

from mainstay.compile import names
from mainstay.compile.resource import Fields, Ref, extension, pack

_ACTION = "envoy.extensions.filters.network.generic_proxy.action.v3.RouteAction"
_ROUTE = "envoy.config.route.v3.Route"
BESIDE = "mainstay.route"
"""Key of ``per_filter_config`` for the HTTP Route beside the action."""

_OF_ACTION = ("cluster", "weighted_clusters", "timeout")
_OF_HTTP = {
    "host_rewrite_literal": "a rewritten authority",
    "prefix_rewrite": "a rewritten path",
    "regex_rewrite": "a rewritten path",
}
_WORDS = {
    "request_mirror_policies": "mirrors",
    "request_headers_to_add": "header changes",
    "request_headers_to_remove": "header changes",
    "response_headers_to_add": "header changes",
    "response_headers_to_remove": "header changes",
    "direct_response": "answers without a destination",
}
_BUSY = 503
_UNBEGUN = frozenset(
    {
        "",
        "cancelled",
        "connect-failure",
        "refused-stream",
        "reset-before-request",
        "resource-exhausted",
        "retriable-status-codes",
        "unavailable",
    }
)
"""Reasons to try again that say nothing about calls that may have happened (of statuses, ``_BUSY`` alone does not)."""

_WEIGHT_FIELDS = ("name", "weight")


class Made(msgspec.Struct, frozen=True):
    """An action as an extension, and in words what of its rule is left out."""

    action: Fields
    missing: tuple[str, ...] = ()


def rpc_action(name: str, fields: Fields, described: bool, refs: list[Ref]) -> Made:
    """Return the action for the fields of an HTTP Route without a match."""
    missing: dict[str, None] = {}
    beside = dict(fields)
    if beside.pop("redirect", None) is not None:
        missing["redirects"] = None
        beside["direct_response"] = {"status": 404}
    route: Fields = dict(beside.pop("route", {}))
    action: Fields = {key: route.pop(key) for key in _OF_ACTION if key in route}
    for key, words in _OF_HTTP.items():
        if route.pop(key, None) is not None:
            missing[words] = None
    if name:
        action["name"] = name
    if "direct_response" in beside:
        # An action has to have a cluster: one that answers nothing, where a proxy does not know of answers.
        refs.append(Ref("cluster", names.BLACK_HOLE))
        action["cluster"] = names.BLACK_HOLE
    retry: Fields = route.get("retry_policy", {})
    if described and retry:
        action["retry_policy"] = {"num_retries": retry["num_retries"]}
    elif not described:
        # Envoy's generic proxy knows no conditions: it repeats whatever was reset, once if nothing is said.
        may_repeat = not _UNBEGUN.issuperset(retry.get("retry_on", "").split(",")) or (
            set(retry.get("retriable_status_codes", ())) - {_BUSY}
        )
        action["retry_policy"] = {
            "num_retries": retry["num_retries"] if retry and may_repeat else {"value": 0}
        }
    if route:
        beside["route"] = route
    if described:
        if beside:
            action["per_filter_config"] = {BESIDE: pack(_ROUTE, beside)}
    else:
        _bare(action, missing)
        missing.update((_WORDS[key], None) for key in (*route, *beside) if key in _WORDS)
    return Made(extension("route", _ACTION, action), tuple(missing))


def _bare(action: Fields, missing: dict[str, None]) -> None:
    """Leaves of weighted clusters what Envoy's generic proxy reads."""
    clusters = action.get("weighted_clusters", {}).get("clusters", [])
    if any(key in _WORDS for entry in clusters for key in entry):
        missing["header changes"] = None
    if clusters:
        bare = [{key: entry[key] for key in _WEIGHT_FIELDS} for entry in clusters]
        action["weighted_clusters"] = {"clusters": bare}
