"""Routes of the generic proxy (`…generic_proxy.v3.RouteConfiguration`) to route tables, the same that HTTP's become.

The host of a call is its service, its path `/service/method`; capitals count. What a route's action has no field for stands in
its `per_filter_config["mainstay.route"]`: an HTTP route, of which counts what makes sense for a call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mainstay.sidecar import plan
from mainstay.sidecar.convert import route, values
from mainstay.sidecar.convert.filters import override
from mainstay.sidecar.convert.filters.table import open_config
from mainstay.sidecar.convert.matcher import MAX_ROUTES, rows_of
from mainstay.sidecar.convert.refuse import Known, Refused, at, check, known

CONFIGURATION = "envoy.extensions.filters.network.generic_proxy.v3.RouteConfiguration"
ACTION = "envoy.extensions.filters.network.generic_proxy.action.v3.RouteAction"
MORE = "mainstay.route"
"""The entry of `per_filter_config` with what the action has no field for."""
_MORE_TYPE = "envoy.config.route.v3.Route"
DEFAULT_TIMEOUT_MS = 15_000
RETRIED = ("connect-failure", "refused-stream", "reset-before-request", "retriable-status-codes")
"""What is tried again where nothing is said: what nobody can have seen, and what the peer was too busy for."""
_OVERLOADED = 503

_CONFIGURATION_FIELDS = known(CONFIGURATION, {"name", "virtual_hosts", "routes"})
_HOST_FIELDS = known(
    "envoy.extensions.filters.network.generic_proxy.v3.VirtualHost", {"name", "hosts", "routes"}
)
_ACTION_FIELDS = known(
    ACTION,
    {"name", "cluster", "weighted_clusters", "metadata", "per_filter_config", "timeout", "retry_policy"},
)
_RETRY_FIELDS = known("envoy.config.core.v3.RetryPolicy", {"retry_on", "num_retries", "retry_back_off"})
# Of an HTTP route, beside its own declarations.
_MORE_FIELDS = Known(
    values.ROUTE_HEADERS | {"route", "direct_response", "typed_per_filter_config", "metadata", "decorator"}
)
_MORE_ACTION_FIELDS = Known({"retry_policy", "request_mirror_policies", "idle_timeout", "priority"})
_NOT_HERE = "has no meaning for a call; see RouteAction"


class _Row(NamedTuple):
    """A route without its match."""

    name: str
    action: plan.RouteAction
    headers: plan.RouteHeaders
    filters: plan.FilterOverrides
    operation: str


def generic_route_table(message: Any) -> plan.RouteTable:
    check(message, _CONFIGURATION_FIELDS)
    hosts = []
    seen: dict[str, str] = {}
    for index, host in enumerate(message.virtual_hosts):
        with at(f"virtual_hosts[{index}]"):
            check(host, _HOST_FIELDS)
            if not host.hosts:
                raise Refused("hosts", "needs at least one")
            for name in host.hosts:
                if not name:
                    raise Refused("hosts", "a host cannot be empty")
                if name in seen:
                    raise Refused("hosts", f"{name!r} is in virtual host {seen[name]!r} already")
                seen[name] = host.name
            with at("routes"):
                hosts.append(plan.VirtualHost(host.name, tuple(host.hosts), _routes(host.routes)))
    if message.HasField("routes"):
        if "*" in seen:
            raise Refused("routes", f"cannot stand beside virtual host {seen['*']!r}, which takes all hosts")
        with at("routes"):
            hosts.append(plan.VirtualHost("routes", ("*",), _routes(message.routes)))
    if sum(len(host.routes) for host in hosts) > MAX_ROUTES:
        raise Refused("", f"comes to more than {MAX_ROUTES} routes")
    return plan.RouteTable(message.name, tuple(hosts), case_sensitive=True)


def _routes(matcher: Any) -> tuple[plan.Route, ...]:
    return tuple(
        plan.Route(
            row.name,
            plan.RouteMatch(plan.PrefixPath(""), headers=tests),
            row.action,
            row.headers,
            row.filters,
            row.operation,
        )
        for tests, row in rows_of(matcher, _act)
    )


def _act(message: Any) -> _Row:
    kind, action = open_config(message.typed_config)
    if kind != ACTION:
        raise Refused("typed_config", f"{kind} is not supported; use {ACTION}")
    with at("typed_config"):
        return _row(action)


def _row(message: Any) -> _Row:
    check(message, _ACTION_FIELDS)
    configs = {name: config for name, config in message.per_filter_config.items() if name != MORE}
    with at("per_filter_config"):
        filters = dict(override.overrides(configs, ""))
    more = _more(message)
    if more is None:
        forward = _forward(message, _retry(message))
        return _Row(message.name, forward, plan.RouteHeaders(), _in_order(filters), "")
    with at(f"per_filter_config[{MORE!r}]"):
        check(more, _MORE_FIELDS, _NOT_HERE)
        headers = values.route_headers(more)
        filters.update(override.overrides(more.typed_per_filter_config))
        action: plan.RouteAction | None = None
        if more.HasField("direct_response"):
            with at("direct_response"):
                action = plan.RespondAction(
                    route.direct_response(more.direct_response, route.MAX_DIRECT_BODY)
                )
        else:
            with at("route"):
                check(more.route, _MORE_ACTION_FIELDS, _NOT_HERE)
                idle = values.milliseconds(more.route, "idle_timeout")
                mirrors = route.mirrors(more.route.request_mirror_policies)
                with at("retry_policy"):
                    asked = more.route.HasField("retry_policy")
                    retry = route.retry_policy(more.route.retry_policy) if asked else None
                urgent = more.route.priority == 1
        operation = more.decorator.operation
    if action is None:
        retry = retry if retry is not None else _retry(message)
        action = _forward(message, retry, mirrors, idle, urgent)
    return _Row(message.name, action, headers, _in_order(filters), operation)


def _in_order(filters: dict[str, plan.HttpFilterConfig]) -> plan.FilterOverrides:
    return tuple(sorted(filters.items()))


def _more(message: Any) -> Any | None:
    if MORE not in message.per_filter_config:
        return None
    with at(f"per_filter_config[{MORE!r}]"):
        kind, found = open_config(message.per_filter_config[MORE], "")
        if kind != _MORE_TYPE:
            raise Refused("", f"{kind} is not supported; use {_MORE_TYPE}")
        return found


def _forward(
    message: Any,
    retry: plan.RetryPolicy | None,
    mirrors: tuple[plan.Mirror, ...] = (),
    idle: int | None = None,
    urgent: bool = False,
) -> plan.ForwardAction:
    return plan.ForwardAction(
        upstreams=route.upstreams(message),
        path_rewrite=None,
        host_rewrite=None,
        append_forwarded_host=False,
        timeout=values.limit(message, "timeout", DEFAULT_TIMEOUT_MS),
        idle_timeout=idle or None,
        unlimited_idle=idle == 0,
        max_duration=None,
        grpc_timeout_max=None,
        retry=retry,
        mirrors=tuple(plan.Mirror(each.cluster, each.fraction, False) for each in mirrors),
        upgrades=(),
        cluster_not_found_status=503,
        high_priority=urgent,
        internal_redirect=None,
    )


def _retry(message: Any) -> plan.RetryPolicy | None:
    """The action's own policy: how often, and perhaps what."""
    if not message.HasField("retry_policy"):
        return None
    with at("retry_policy"):
        found = message.retry_policy
        check(found, _RETRY_FIELDS)
        classes = route.retry_classes(found.retry_on)
        return plan.RetryPolicy(
            retry_on=classes or RETRIED,
            attempts=values.wrapped(found, "num_retries", 1),
            per_try_timeout=None,
            per_try_idle_timeout=None,
            back_off=route.back_off(found),
            retriable_statuses=() if classes else (_OVERLOADED,),
            retriable_headers=(),
            retriable_request_headers=(),
            avoid_previous_hosts=True,
            host_selection_attempts=3,
        )
