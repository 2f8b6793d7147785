"""RPCRoute → a ``RouteTable`` for each of its parents.

In: a decoded RPCRoute. Out: route tables whose rules are for calls alone. Which of several routes wins is settled when they
are compiled, since they do not know of each other. Source of the shape: Gateway API's GRPCRoute.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from mainstay.api.expression import check_expression
from mainstay.api.findings import Findings
from mainstay.api.hosts import complete_host, is_host
from mainstay.api.istio.translate.headers import read_name
from mainstay.api.kind import Defaults, Fact
from mainstay.api.mainstay.rpc_route import (
    RPCBackend,
    RPCHeader,
    RPCHeaderModifier,
    RPCParentReference,
    RPCRetry,
    RPCRoute,
    RPCRouteFilter,
    RPCRouteMatch,
    RPCRouteRule,
)
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.model.key import EVERYWHERE, MESH, RouteTableKey
from mainstay.model.problem import Problem
from mainstay.model.route import (
    DEFAULT_RETRY,
    Destination,
    DirectResponse,
    Forward,
    HeaderChanges,
    Headers,
    HttpMatch,
    HttpRule,
    Mirror,
    NamedMatch,
    Retry,
    RouteTable,
    StringMatch,
    WeightedDestination,
)
from mainstay.model.rpc import HTTP_STATUS, UNBEGUN_OUTCOMES

_MILLION = 10_000  # parts per million of one percent
_UNBEGUN = ("connect-failure", "reset-before-request")
_BUSY = ("refused-stream", "unavailable")
_BROKEN_OFF = ("reset",)


def translate_rpc_route(thing: Object, defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the route tables."""
    found = Findings(thing)
    route: RPCRoute = thing.spec
    facts: list[Fact] = []
    seen: set[tuple[str, int]] = set()
    for at, parent in enumerate(route.parent_refs):
        host = service_host(parent, found.namespace, defaults)
        if (host, parent.port or 0) in seen:
            found.add("MS1107", ("spec", "parentRefs", at), f"{host} is named twice", "Remove one of the two")
        seen.add((host, parent.port or 0))
    for host in dict.fromkeys(host for host, _ in seen):
        ports = {port for name, port in seen if name == host}
        rules = tuple(
            _rule(rule, host, ports, found, ("spec", "rules", index), defaults)
            for index, rule in enumerate(route.rules)
        )
        key = RouteTableKey(host, MESH, thing.key)
        facts.append(RouteTable(key, (), (), _visible_to(route, host, thing, defaults), thing.created, rules))
    unique = {(problem.code, problem.path): problem for problem in found.problems}
    return list(unique.values()) or facts


def service_host(name: RPCParentReference | RPCBackend, namespace: str, defaults: Defaults) -> str:
    """Return the host that a reference means; RPC services' names, which are no DNS names, stay as they are."""
    if not is_host(name.name):
        return name.name
    return complete_host(name.name, name.namespace or namespace, defaults)


def _visible_to(route: RPCRoute, host: str, thing: Object, defaults: Defaults) -> tuple[str, ...]:
    """A producer's route is for every caller, a consumer's for those of its own namespace (GAMMA)."""
    own = {
        parent.namespace in (None, thing.namespace)
        for parent in route.parent_refs
        if service_host(parent, thing.namespace, defaults) == host
    }
    return EVERYWHERE if own == {True} else (thing.namespace,)


def _rule(
    rule: RPCRouteRule, host: str, ports: set[int], found: Findings, path: Path, defaults: Defaults
) -> HttpRule:
    matches = [_match(match, found, (*path, "matches", at)) for at, match in enumerate(rule.matches)]
    if ports != {0} and 0 not in ports:
        matches = [
            msgspec.structs.replace(match, port=port)
            for match in matches or [HttpMatch()]
            for port in sorted(ports)
        ]
    for at, entry in enumerate(rule.filters):
        _check_filter(entry, found, (*path, "filters", at), own=True)
    action = _action(rule, host, found, path, defaults)
    headers = _headers(rule.filters, found, (*path, "filters"))
    return HttpRule(action, tuple(matches), headers, rule.name or "")


def _match(match: RPCRouteMatch, found: Findings, path: Path) -> HttpMatch:
    service = method = None
    if match.method is not None:
        here = (*path, "method")
        if match.method.service is None and match.method.method is None:
            found.add(
                "MS1010", here, "neither service nor method is given", "Add one of them, or remove method"
            )
        service = _text(match.method.type, match.method.service, found, (*here, "service"))
        method = _text(match.method.type, match.method.method, found, (*here, "method"))
    headers: dict[str, NamedMatch] = {}
    for at, header in enumerate(match.headers):
        name = read_name(header.name, found, (*path, "headers", at, "name"))
        text = _text(header.type, header.value, found, (*path, "headers", at, "value"))
        if name in headers:
            reason = f"the header {name} is matched twice"
            found.add("MS1107", (*path, "headers", at, "name"), reason, "Keep one, or use an expression")
        if text is not None:
            headers[name] = NamedMatch(name, text)
    return HttpMatch(
        authority=service,
        rpc_method=method,
        headers=tuple(entry for _, entry in sorted(headers.items())),
    )


def _text(type_: str, value: str | None, found: Findings, path: Path) -> StringMatch | None:
    if value is None:
        return None
    if type_ == "Exact":
        return StringMatch("exact", value)
    check_expression(value, found, path)
    return StringMatch("regex", value)


def _check_filter(entry: RPCRouteFilter, found: Findings, path: Path, *, own: bool) -> None:
    fields = {
        "RequestHeaderModifier": entry.request_header_modifier,
        "ResponseHeaderModifier": entry.response_header_modifier,
        "RequestMirror": entry.request_mirror,
        "Reply": entry.reply,
    }
    if fields[entry.type] is None:
        name = entry.type[0].lower() + entry.type[1:]
        found.add("MS1106", (*path, "type"), f"{name} is not given", f"Add {name}, or correct the type")
    if not own and entry.type in ("RequestMirror", "Reply"):
        reason = f"{entry.type} is for a rule, not for one of its destinations"
        found.add("MS1106", (*path, "type"), reason, "Move it to the rule's filters")


def _action(
    rule: RPCRouteRule, host: str, found: Findings, path: Path, defaults: Defaults
) -> Forward | DirectResponse:
    replies = [(at, entry.reply) for at, entry in enumerate(rule.filters) if entry.reply is not None]
    if len(replies) > 1:
        found.add("MS1107", (*path, "filters", replies[1][0]), "there are two replies", "Keep one")
    if replies:
        for name, value in (("backendRefs", rule.backend_refs), ("retry", rule.retry)):
            if value:
                reason = f"{name} has no meaning beside a reply, which has no destination"
                found.add("MS1106", (*path, name), reason, f"Remove {name}, or the reply")
        return DirectResponse(HTTP_STATUS[replies[0][1].outcome])
    timeouts = rule.timeouts
    retry = _retry(rule.retry, found, (*path, "retry")) if rule.retry is not None else DEFAULT_RETRY
    if timeouts is not None and timeouts.backend_request:
        retry = msgspec.structs.replace(retry, per_try_timeout=timeouts.backend_request)
        if timeouts.request and timeouts.backend_request > timeouts.request:
            reason = "one attempt may take longer than the whole call"
            found.add("MS1106", (*path, "timeouts", "backendRequest"), reason, "Make it shorter than request")
    return Forward(
        _destinations(rule, host, found, path, defaults),
        timeout=(timeouts.request or None) if timeouts is not None else None,
        retry=retry,
        mirrors=tuple(
            Mirror(
                _destination(entry.request_mirror.backend_ref, found.namespace, defaults),
                round(entry.request_mirror.percent * _MILLION),
            )
            for entry in rule.filters
            if entry.request_mirror is not None
        ),
    )


def _destinations(
    rule: RPCRouteRule, host: str, found: Findings, path: Path, defaults: Defaults
) -> tuple[WeightedDestination, ...]:
    if not rule.backend_refs:
        return (WeightedDestination(Destination(host)),)
    if not any(entry.weight for entry in rule.backend_refs):
        found.add(
            "MS1104", (*path, "backendRefs"), "all weights are 0, so nothing would be chosen", "Give weights"
        )
    made = []
    for at, entry in enumerate(rule.backend_refs):
        here = (*path, "backendRefs", at, "filters")
        for index, each in enumerate(entry.filters):
            _check_filter(each, found, (*here, index), own=False)
        to = _destination(entry, found.namespace, defaults)
        made.append(WeightedDestination(to, entry.weight, _headers(entry.filters, found, here)))
    return tuple(made)


def _destination(to: RPCBackend, namespace: str, defaults: Defaults) -> Destination:
    return Destination(service_host(to, namespace, defaults), to.subset or "", to.port or 0)


def _retry(retry: RPCRetry, found: Findings, path: Path) -> Retry:
    for at, outcome in enumerate(retry.outcomes):
        if outcome == "success":
            found.add("MS1109", (*path, "outcomes", at), "success is no reason to try again", "Remove it")
        elif outcome not in UNBEGUN_OUTCOMES and not retry.idempotent:
            reason = f"after {outcome} the call may have happened"
            found.add("MS1109", (*path, "outcomes", at), reason, "Say idempotent: true, or remove it")
    if retry.backoff == 0:
        found.add("MS1105", (*path, "backoff"), "0s is no time limit", "Give at least 1ms, or leave it out")
    classes = [*_UNBEGUN]
    classes += _BUSY if not UNBEGUN_OUTCOMES.isdisjoint(retry.outcomes) else ()
    classes += _BROKEN_OFF if retry.idempotent else ()
    statuses = tuple(sorted({HTTP_STATUS[each] for each in retry.outcomes if each not in UNBEGUN_OUTCOMES}))
    classes += ["retriable-status-codes"] if statuses else []
    return Retry(retry.attempts, tuple(sorted(classes)), statuses, backoff=retry.backoff or None)


def _headers(filters: Iterable[RPCRouteFilter], found: Findings, path: Path) -> Headers:
    requests, responses = HeaderChanges(), HeaderChanges()
    for at, entry in enumerate(filters):
        if entry.request_header_modifier is not None:
            here = (*path, at, "requestHeaderModifier")
            requests = _both(requests, _changes(entry.request_header_modifier, found, here))
        if entry.response_header_modifier is not None:
            here = (*path, at, "responseHeaderModifier")
            responses = _both(responses, _changes(entry.response_header_modifier, found, here))
    return Headers(requests, responses)


def _both(one: HeaderChanges, other: HeaderChanges) -> HeaderChanges:
    """Two filters of one type, the later one above the earlier."""
    return HeaderChanges(
        tuple(sorted({**dict(one.set), **dict(other.set)}.items())),
        tuple(sorted({**dict(one.add), **dict(other.add)}.items())),
        tuple(sorted({*one.remove, *other.remove})),
    )


def _changes(modifier: RPCHeaderModifier, found: Findings, path: Path) -> HeaderChanges:
    removed = {read_name(name, found, (*path, "remove", at)) for at, name in enumerate(modifier.remove)}
    return HeaderChanges(
        _pairs(modifier.set, found, (*path, "set")),
        _pairs(modifier.add, found, (*path, "add")),
        tuple(sorted(removed)),
    )


def _pairs(headers: tuple[RPCHeader, ...], found: Findings, path: Path) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for at, header in enumerate(headers):
        name = read_name(header.name, found, (*path, at, "name"))
        if name in pairs:
            found.add("MS1107", (*path, at, "name"), f"the header {name} is given twice", "Keep one of them")
        pairs[name] = header.value
    return tuple(sorted(pairs.items()))
