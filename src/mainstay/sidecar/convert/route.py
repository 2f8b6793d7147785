"""Route configurations (`envoy.config.route.v3.RouteConfiguration`) to route tables."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.filters import override
from mainstay.sidecar.convert.refuse import Known, Refused, at, check, known, unsupported
from mainstay.sidecar.convert.values import ROUTE_HEADERS

DEFAULT_TIMEOUT_MS = 15_000
MAX_DIRECT_BODY = 4_096
RETRY_CLASSES = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "envoy-ratelimited",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
_TABLE = ROUTE_HEADERS | {
    "name",
    "virtual_hosts",
    "validate_clusters",
    "ignore_port_in_host_matching",
    "most_specific_header_mutations_wins",
    "internal_only_headers",
    "max_direct_response_body_size_bytes",
    "metadata",
}
_HOST = ROUTE_HEADERS | {
    "name",
    "domains",
    "routes",
    "require_tls",
    "retry_policy",
    "request_mirror_policies",
    "include_request_attempt_count",
    "include_attempt_count_in_response",
    "typed_per_filter_config",
    "metadata",
}
_ROUTE = ROUTE_HEADERS | {
    "name",
    "match",
    "route",
    "redirect",
    "direct_response",
    "non_forwarding_action",
    "metadata",
    "decorator",
    "typed_per_filter_config",
    "stat_prefix",
}
_MATCH = {
    "prefix",
    "path",
    "safe_regex",
    "path_separated_prefix",
    "case_sensitive",
    "runtime_fraction",
    "headers",
    "query_parameters",
    "grpc",
}
_ACTION = {
    "cluster",
    "cluster_header",
    "weighted_clusters",
    "cluster_not_found_response_code",
    "prefix_rewrite",
    "regex_rewrite",
    "host_rewrite_literal",
    "auto_host_rewrite",
    "host_rewrite_header",
    "host_rewrite_path_regex",
    "append_x_forwarded_host",
    "timeout",
    "idle_timeout",
    "retry_policy",
    "request_mirror_policies",
    "priority",
    "max_stream_duration",
    "upgrade_configs",
    "internal_redirect_policy",
    "max_grpc_timeout",
}
_RETRY = {
    "retry_on",
    "num_retries",
    "per_try_timeout",
    "per_try_idle_timeout",
    "retry_back_off",
    "retriable_status_codes",
    "retriable_headers",
    "retriable_request_headers",
    "retry_host_predicate",
    "host_selection_retry_max_attempts",
}
_PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"


_ROUTE_CONFIGURATION_FIELDS = known("envoy.config.route.v3.RouteConfiguration", _TABLE)
_VIRTUAL_HOST_FIELDS = known("envoy.config.route.v3.VirtualHost", _HOST)
_ROUTE_FIELDS = known("envoy.config.route.v3.Route", _ROUTE)
_ROUTE_MATCH_FIELDS = known("envoy.config.route.v3.RouteMatch", _MATCH)
_ROUTE_ACTION_FIELDS = known("envoy.config.route.v3.RouteAction", _ACTION)
_WEIGHTED_CLUSTER_FIELDS = known(
    "envoy.config.route.v3.WeightedCluster", {"clusters", "total_weight", "runtime_key_prefix"}
)
_REDIRECT_ACTION_FIELDS = known(
    "envoy.config.route.v3.RedirectAction",
    {
        "https_redirect",
        "scheme_redirect",
        "host_redirect",
        "port_redirect",
        "path_redirect",
        "prefix_rewrite",
        "regex_rewrite",
        "response_code",
        "strip_query",
    },
)
_DIRECT_RESPONSE_ACTION_FIELDS = known("envoy.config.route.v3.DirectResponseAction", {"status", "body"})
_RETRY_POLICY_FIELDS = known("envoy.config.route.v3.RetryPolicy", _RETRY)
_ROUTE_ACTION_MAX_STREAM_DURATION_FIELDS = known(
    "envoy.config.route.v3.RouteAction.MaxStreamDuration", {"max_stream_duration", "grpc_timeout_header_max"}
)
_INTERNAL_REDIRECT_POLICY_FIELDS = known(
    "envoy.config.route.v3.InternalRedirectPolicy", {"max_internal_redirects", "redirect_response_codes"}
)
_ROUTE_ACTION_REQUEST_MIRROR_POLICY_FIELDS = known(
    "envoy.config.route.v3.RouteAction.RequestMirrorPolicy",
    {"cluster", "runtime_fraction", "trace_sampled", "disable_shadow_host_suffix_append"},
)
_NOTHING = Known()
_CLUSTER_WEIGHT_FIELDS = known(
    "envoy.config.route.v3.WeightedCluster.ClusterWeight",
    ROUTE_HEADERS | {"name", "weight", "host_rewrite_literal", "typed_per_filter_config", "metadata_match"},
)


_NOT_FOUND_STATUSES = {1: 404, 2: 500}
"""`cluster_not_found_response_code`; 0 is SERVICE_UNAVAILABLE."""


def route_table(message: Any) -> plan.RouteTable:
    """A whole table. Duplicate domains are refused, as in Envoy."""
    check(message, _ROUTE_CONFIGURATION_FIELDS)
    most = values.wrapped(message, "max_direct_response_body_size_bytes", MAX_DIRECT_BODY)
    hosts = []
    seen: dict[str, str] = {}
    for index, host in enumerate(message.virtual_hosts):
        with at(f"virtual_hosts[{index}]"):
            for domain in host.domains:
                folded = domain.lower()
                if folded in seen:
                    raise Refused("domains", f"{domain!r} is in virtual host {seen[folded]!r} already")
                seen[folded] = host.name
            hosts.append(virtual_host(host, most))
    return plan.RouteTable(
        message.name,
        tuple(hosts),
        values.route_headers(message),
        message.ignore_port_in_host_matching,
        message.most_specific_header_mutations_wins,
        tuple(name.lower() for name in message.internal_only_headers),
    )


def virtual_host(message: Any, most: int) -> plan.VirtualHost:
    check(message, _VIRTUAL_HOST_FIELDS)
    if not message.domains:
        raise Refused("domains", "needs at least one")
    if message.require_tls == 1:
        unsupported("require_tls", "EXTERNAL_ONLY is not supported; use ALL")
    routes = []
    for index, entry in enumerate(message.routes):
        with at(f"routes[{index}]"):
            routes.append(route(entry, most))
    with at("retry_policy"):
        retry = retry_policy(message.retry_policy) if message.HasField("retry_policy") else None
    return plan.VirtualHost(
        message.name,
        tuple(message.domains),
        tuple(routes),
        values.route_headers(message),
        retry,
        mirrors(message.request_mirror_policies),
        message.include_request_attempt_count,
        message.include_attempt_count_in_response,
        message.require_tls == 2,
        override.overrides(message.typed_per_filter_config),
    )


def route(message: Any, most: int) -> plan.Route:
    check(message, _ROUTE_FIELDS)
    with at("match"):
        matches = route_match(message.match)
    action: plan.RouteAction
    match message.WhichOneof("action"):
        case "route":
            with at("route"):
                action = forward(message.route)
        case "redirect":
            with at("redirect"):
                action = plan.RedirectAction(redirect(message.redirect))
        case "direct_response":
            with at("direct_response"):
                action = plan.RespondAction(direct_response(message.direct_response, most))
        case "non_forwarding_action":
            action = plan.NonForwardingAction()
        case other:
            raise Refused(other or "action", "is not supported" if other else "is required")
    operation = message.decorator.operation if message.HasField("decorator") else ""
    overrides = override.overrides(message.typed_per_filter_config)
    return plan.Route(message.name, matches, action, values.route_headers(message), overrides, operation)


def route_match(message: Any) -> plan.RouteMatch:
    check(message, _ROUTE_MATCH_FIELDS)
    path: plan.PathMatch
    match message.WhichOneof("path_specifier"):
        case "prefix":
            path = plan.PrefixPath(message.prefix)
        case "path":
            path = plan.ExactPath(message.path)
        case "safe_regex":
            path = plan.RegexPath(message.safe_regex.regex)
        case "path_separated_prefix":
            path = plan.SeparatedPrefixPath(message.path_separated_prefix)
        case other:
            raise Refused(other or "path_specifier", "is not supported" if other else "is required")
    headers, query = [], []
    for index, header in enumerate(message.headers):
        with at(f"headers[{index}]"):
            headers.append(values.header_match(header))
    for index, parameter in enumerate(message.query_parameters):
        with at(f"query_parameters[{index}]"):
            query.append(query_match(parameter))
    share = (
        values.runtime_fraction(message.runtime_fraction) if message.HasField("runtime_fraction") else None
    )
    ignore_case = not values.wrapped(message, "case_sensitive", True)
    return plan.RouteMatch(path, ignore_case, tuple(headers), tuple(query), message.HasField("grpc"), share)


def query_match(message: Any) -> plan.QueryMatch:
    match message.WhichOneof("query_parameter_match_specifier"):
        case "string_match":
            with at("string_match"):
                test: plan.PresentTest | plan.TextTest = plan.TextTest(
                    values.string_match(message.string_match)
                )
        case "present_match":
            test = plan.PresentTest(message.present_match)
        case _:
            test = plan.PresentTest(True)
    return plan.QueryMatch(message.name, test)


def forward(message: Any) -> plan.ForwardAction:
    check(message, _ROUTE_ACTION_FIELDS)
    idle = values.milliseconds(message, "idle_timeout")
    duration, grpc_max = max_durations(message)
    retry = None
    if message.HasField("retry_policy"):
        with at("retry_policy"):
            retry = retry_policy(message.retry_policy)
    redirect_policy = None
    if message.HasField("internal_redirect_policy"):
        with at("internal_redirect_policy"):
            check(message.internal_redirect_policy, _INTERNAL_REDIRECT_POLICY_FIELDS)
            policy = message.internal_redirect_policy
            statuses = tuple(policy.redirect_response_codes) or (302,)
            redirect_policy = plan.InternalRedirect(
                values.wrapped(policy, "max_internal_redirects", 1), statuses
            )
    upgrades = tuple(
        (each.upgrade_type.lower(), values.wrapped(each, "enabled", True)) for each in message.upgrade_configs
    )
    if any(name == "connect" for name, _ in upgrades):
        unsupported("upgrade_configs", "CONNECT is not supported yet")
    return plan.ForwardAction(
        upstreams(message),
        path_rewrite(message),
        host_rewrite(message),
        message.append_x_forwarded_host,
        values.limit(message, "timeout", DEFAULT_TIMEOUT_MS),
        idle or None,
        idle == 0,
        duration,
        grpc_max,
        retry,
        mirrors(message.request_mirror_policies),
        upgrades,
        _NOT_FOUND_STATUSES.get(message.cluster_not_found_response_code, 503),
        message.priority == 1,
        redirect_policy,
    )


def max_durations(message: Any) -> tuple[int | None, int | None]:
    """Maximum stream duration, and the cap on grpc-timeout (0: no cap, `None`: the header is ignored)."""
    grpc_max = values.milliseconds(message, "max_grpc_timeout")
    if not message.HasField("max_stream_duration"):
        return None, grpc_max
    with at("max_stream_duration"):
        check(message.max_stream_duration, _ROUTE_ACTION_MAX_STREAM_DURATION_FIELDS)
        stream = values.limit(message.max_stream_duration, "max_stream_duration", None)
        header = values.milliseconds(message.max_stream_duration, "grpc_timeout_header_max")
        return stream, grpc_max if header is None else header


def upstreams(message: Any) -> plan.Upstreams:
    match message.WhichOneof("cluster_specifier"):
        case "cluster":
            return plan.OneCluster(message.cluster)
        case "cluster_header":
            return plan.HeaderCluster(message.cluster_header.lower())
        case "weighted_clusters":
            with at("weighted_clusters"):
                return plan.WeightedClusters(weighted(message.weighted_clusters))
        case other:
            raise Refused(other or "cluster_specifier", "is not supported" if other else "is required")


def weighted(message: Any) -> tuple[plan.WeightedCluster, ...]:
    check(message, _WEIGHTED_CLUSTER_FIELDS)
    entries = []
    for index, entry in enumerate(message.clusters):
        with at(f"clusters[{index}]"):
            check(entry, _CLUSTER_WEIGHT_FIELDS)
            check(entry.metadata_match, _NOTHING)
            host = entry.host_rewrite_literal or None
            headers = values.route_headers(entry)
            filters = override.overrides(entry.typed_per_filter_config)
            weight = values.wrapped(entry, "weight", 0)
            entries.append(plan.WeightedCluster(entry.name, weight, headers, host, filters))
    if sum(entry.weight for entry in entries) <= 0:
        raise Refused("clusters", "the sum of weights must be at least 1")
    return tuple(entries)


def path_rewrite(message: Any) -> plan.PathRewrite | None:
    if message.HasField("regex_rewrite"):
        if message.prefix_rewrite:
            raise Refused("regex_rewrite", "cannot stand beside prefix_rewrite")
        return plan.RegexRewrite(message.regex_rewrite.pattern.regex, message.regex_rewrite.substitution)
    return plan.PrefixRewrite(message.prefix_rewrite) if message.prefix_rewrite else None


def host_rewrite(message: Any) -> plan.HostRewrite | None:
    match message.WhichOneof("host_rewrite_specifier"):
        case "host_rewrite_literal":
            return plan.LiteralHost(message.host_rewrite_literal)
        case "auto_host_rewrite":
            return plan.EndpointHost() if message.auto_host_rewrite.value else None
        case "host_rewrite_header":
            return plan.HeaderHost(message.host_rewrite_header.lower())
        case "host_rewrite_path_regex":
            found = message.host_rewrite_path_regex
            return plan.PathRegexHost(found.pattern.regex, found.substitution)
        case None:
            return None
        case other:
            raise Refused(other, "is not supported")


def redirect(message: Any) -> plan.Redirect:
    check(
        message,
        _REDIRECT_ACTION_FIELDS,
    )
    kind = message.WhichOneof("path_rewrite_specifier")
    rewrite = path_rewrite(message) if kind in ("prefix_rewrite", "regex_rewrite") else None
    return plan.Redirect(
        "https" if message.https_redirect else message.scheme_redirect,
        message.host_redirect,
        message.port_redirect or None,
        message.path_redirect if kind == "path_redirect" else None,
        rewrite,
        (301, 302, 303, 307, 308)[message.response_code],
        message.strip_query,
    )


def direct_response(message: Any, most: int) -> plan.DirectResponse:
    check(message, _DIRECT_RESPONSE_ACTION_FIELDS)
    if not 200 <= message.status <= 599:
        raise Refused("status", "must be from 200 to 599")
    body = b""
    if message.HasField("body"):
        match message.body.WhichOneof("specifier"):
            case "inline_string":
                body = message.body.inline_string.encode()
            case "inline_bytes":
                body = message.body.inline_bytes
            case other:
                raise Refused(f"body.{other}", "is not supported; give the body inline")
    if len(body) > most:
        raise Refused(
            "body", f"has {len(body)} bytes, more than the {most} that the route configuration allows"
        )
    return plan.DirectResponse(message.status, body)


def mirrors(messages: Any) -> tuple[plan.Mirror, ...]:
    found = []
    for index, message in enumerate(messages):
        with at(f"request_mirror_policies[{index}]"):
            check(message, _ROUTE_ACTION_REQUEST_MIRROR_POLICY_FIELDS)
            share = (
                values.runtime_fraction(message.runtime_fraction)
                if message.HasField("runtime_fraction")
                else None
            )
            found.append(plan.Mirror(message.cluster, share, not message.disable_shadow_host_suffix_append))
    return tuple(found)


def retry_classes(text: str) -> tuple[str, ...]:
    """`retry_on`."""
    classes = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in classes:
        if name not in RETRY_CLASSES:
            # Numbers and unknown words: Envoy passes unknown ones over, we do not guess.
            raise Refused("retry_on", f"{name!r} is not a class of retries that Mainstay knows")
    return classes


def back_off(message: Any) -> plan.BackOff:
    """`retry_back_off` of a retry policy."""
    base, most = 25, 250
    if message.HasField("retry_back_off"):
        base = max(values.milliseconds(message.retry_back_off, "base_interval", base) or base, 1)
        most = values.milliseconds(message.retry_back_off, "max_interval", base * 10) or base * 10
        if most < base:
            raise Refused("retry_back_off.max_interval", "is below base_interval")
    return plan.BackOff(base, most)


def retry_policy(message: Any) -> plan.RetryPolicy:
    check(message, _RETRY_POLICY_FIELDS)
    classes = retry_classes(message.retry_on)
    avoid = False
    for index, predicate in enumerate(message.retry_host_predicate):
        if predicate.name != _PREVIOUS_HOSTS:
            unsupported(f"retry_host_predicate[{index}]", f"{predicate.name!r} is not supported")
        avoid = True
    return plan.RetryPolicy(
        classes,
        values.wrapped(message, "num_retries", 1),
        values.limit(message, "per_try_timeout", None),
        values.limit(message, "per_try_idle_timeout", None),
        back_off(message),
        tuple(message.retriable_status_codes),
        tuple(values.header_match(each) for each in message.retriable_headers),
        tuple(values.header_match(each) for each in message.retriable_request_headers),
        avoid,
        max(1, message.host_selection_retry_max_attempts),
    )
