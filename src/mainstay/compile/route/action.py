"""Actions of HTTP rules as Route fields: forward, redirect, answer; and header changes.

In: ``Forward``, ``Redirect``, ``DirectResponse`` with a ``Client`` that says for whom. Out: Route fields without the match, and
references to clusters. A destination that does not exist answers 503: alone by a direct response, among others by a
share for the cluster without endpoints.
"""

import msgspec

from mainstay.compile import names
from mainstay.compile.facts import Facts
from mainstay.compile.lookup import find_cluster, find_service
from mainstay.compile.names import ClusterName
from mainstay.compile.resource import Fields, Ref, duration
from mainstay.model.key import Labels
from mainstay.model.protocol import PortProtocol
from mainstay.model.route import (
    DEFAULT_RETRY,
    Destination,
    DirectResponse,
    Forward,
    HeaderChanges,
    Headers,
    HttpRule,
    Mirror,
    Redirect,
    Retry,
    StringMatch,
)
from mainstay.model.service import Service

HOST_ATTEMPTS = 5
"""How often a retry looks for a host it has not tried (Istio's)."""

_PREVIOUS_HOSTS = "envoy.retry_host_predicates.previous_hosts"
_PREVIOUS_HOSTS_TYPE = "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}

INBOUND_RETRY = Retry(
    attempts=2, retry_on=("reset-before-request",), statuses=(), ignore_previous_hosts=False
)
"""The application may close an idle connection just as a request is sent; nothing of it was read then (Istio's)."""


class Client(msgspec.Struct, frozen=True, gc=False):
    """For whom routes are made: namespace, the labels matches speak of, the port it uses, and the authority every
    request is given unless a rule says another (``""``: kept). ``calls``: RPC, which enters ports of detected protocol as
    byte streams do (``ClusterName.stream``)."""

    namespace: str
    labels: Labels
    port: int
    authority: str = ""
    calls: bool = False


def route_action(
    facts: Facts, rule: HttpRule, uri: StringMatch | None, client: Client, refs: list[Ref]
) -> Fields:
    """Return the action part of a Route (``route``, ``redirect`` or ``direct_response``) and its header changes."""
    action = rule.action
    match action:
        case Redirect():
            fields = {"redirect": _redirect(action)}
        case DirectResponse():
            fields = {"direct_response": _direct(action)}
        case Forward():
            fields = _forward(facts, action, uri, client, refs)
    host = _host_of(rule.headers)
    if host and "route" in fields:
        fields["route"]["host_rewrite_literal"] = host
    fields |= header_changes(rule.headers)
    return fields


def default_action(cluster: str, client: Client, refs: list[Ref]) -> Fields:
    """Return the action for a service without rules: its cluster, no time limit, Istio's two retries."""
    refs.append(Ref("cluster", cluster))
    route: Fields = {"cluster": cluster, "timeout": {}, "retry_policy": retry_policy(DEFAULT_RETRY)}
    if client.authority:
        route["host_rewrite_literal"] = client.authority
    return {"route": route}


def header_changes(headers: Headers) -> Fields:
    """Return the four header fields that Route and weighted clusters share; Host is not among them (host rewrite)."""
    fields: Fields = {}
    for name, changes in (("request", headers.request), ("response", headers.response)):
        options = _options(changes, name == "request")
        if options:
            fields[f"{name}_headers_to_add"] = options
        if changes.remove:
            fields[f"{name}_headers_to_remove"] = list(changes.remove)
    return fields


def retry_policy(retry: Retry) -> Fields:
    """Return a RetryPolicy."""
    fields: Fields = {
        "retry_on": ",".join(retry.retry_on),
        "num_retries": {"value": retry.attempts},
    }
    if retry.ignore_previous_hosts:
        predicate = {"type_url": f"type.googleapis.com/{_PREVIOUS_HOSTS_TYPE}", "value": b""}
        fields["host_selection_retry_max_attempts"] = HOST_ATTEMPTS
        fields["retry_host_predicate"] = [{"name": _PREVIOUS_HOSTS, "typed_config": predicate}]
    if retry.statuses:
        fields["retriable_status_codes"] = list(retry.statuses)
    if retry.per_try_timeout is not None:
        fields["per_try_timeout"] = duration(retry.per_try_timeout)
    if retry.backoff is not None:
        fields["retry_back_off"] = {"base_interval": duration(retry.backoff)}
    return fields


def unavailable(reason: str, status: int = 503) -> Fields:
    """Return the action for what does not exist."""
    return {"direct_response": {"status": status, "body": {"inline_string": reason}}}


def _forward(
    facts: Facts, action: Forward, uri: StringMatch | None, client: Client, refs: list[Ref]
) -> Fields:
    found = [(entry, _cluster(facts, entry.destination, client)) for entry in action.destinations]
    if not any(cluster for _, cluster in found):
        missing = ", ".join(_text(entry.destination) for entry, _ in found)
        # Of a call 503 means that we are busy.
        return unavailable(f"no such destination: {missing}", 502 if client.calls else 503)
    route: Fields = {"timeout": duration(action.timeout) if action.timeout is not None else {}}
    extra: Fields = {}
    clusters = [cluster or names.BLACK_HOLE for _, cluster in found]
    if len(found) == 1:
        route["cluster"] = clusters[0]
        extra = header_changes(found[0][0].headers)
    else:
        route["weighted_clusters"] = {
            "clusters": [
                _weighted(cluster, entry.weight, entry.headers)
                for cluster, (entry, _) in zip(clusters, found, strict=True)
            ]
        }
    refs += [Ref("cluster", cluster) for cluster in clusters]
    if action.retry.attempts:
        route["retry_policy"] = retry_policy(action.retry)
    authority = action.rewrite.authority or client.authority
    if authority:
        route["host_rewrite_literal"] = authority
    if len(found) == 1 and (host := _host_of(found[0][0].headers)):
        route["host_rewrite_literal"] = host
    route |= _path_rewrite(action, uri)
    mirrors = [entry for mirror in action.mirrors if (entry := _mirror(facts, mirror, client, refs))]
    if mirrors:
        route["request_mirror_policies"] = mirrors
    return {"route": route, **extra}


def _path_rewrite(action: Forward, uri: StringMatch | None) -> Fields:
    rewrite = action.rewrite
    if rewrite.regex:
        pattern = {"pattern": {"regex": rewrite.regex}, "substitution": rewrite.substitution}
        return {"regex_rewrite": pattern}
    if not rewrite.uri:
        return {}
    if uri is not None and uri.kind == "regex":
        # A regex match has no prefix to replace: the whole path is what was matched.
        return {"regex_rewrite": {"pattern": {"regex": uri.value}, "substitution": rewrite.uri}}
    return {"prefix_rewrite": rewrite.uri}


def _weighted(cluster: str, weight: int, headers: Headers) -> Fields:
    fields: Fields = {"name": cluster, "weight": {"value": weight}, **header_changes(headers)}
    if host := _host_of(headers):
        fields["host_rewrite_literal"] = host
    return fields


def _mirror(facts: Facts, mirror: Mirror, client: Client, refs: list[Ref]) -> Fields | None:
    cluster = _cluster(facts, mirror.destination, client)
    if cluster is None or not mirror.share:
        return None
    refs.append(Ref("cluster", cluster))
    share = {"numerator": mirror.share, "denominator": "MILLION"}
    return {"cluster": cluster, "runtime_fraction": {"default_value": share}}


def _redirect(action: Redirect) -> Fields:
    fields: Fields = {"response_code": _REDIRECT_CODES[action.status]}
    if action.uri:
        fields["path_redirect"] = action.uri
    elif action.prefix:
        fields["prefix_rewrite"] = action.prefix
    if action.authority:
        fields["host_redirect"] = action.authority
    if action.scheme:
        fields["scheme_redirect"] = action.scheme
    if action.port:
        fields["port_redirect"] = action.port
    elif action.port_from == "protocol" and action.scheme:
        fields["port_redirect"] = 443 if action.scheme == "https" else 80
    if action.strip_query:
        fields["strip_query"] = True
    return fields


def _direct(action: DirectResponse) -> Fields:
    fields: Fields = {"status": action.status}
    if action.body:
        fields["body"] = {"inline_bytes": action.body}
    return fields


def _cluster(facts: Facts, destination: Destination, client: Client) -> str | None:
    name = find_cluster(facts, destination, client.namespace, client.labels, client.port)
    if name is None:
        return None
    service = find_service(facts, name.host, client.namespace) if client.calls else None
    return str(name if service is None else stream_cluster(service, name.port, name.subset))


def stream_cluster(service: Service, port: int, subset: str = "") -> ClusterName:
    """Return the cluster for byte streams to a service port: ports of detected protocol have one of their own."""
    found = service.port(port)
    detected = found is not None and found.protocol is PortProtocol.AUTO
    return ClusterName(service.key.host, port, subset, detected)


def _text(destination: Destination) -> str:
    subset = f" subset {destination.subset}" if destination.subset else ""
    return f"{destination.host}{subset}"


def _is_host(name: str) -> bool:
    return name.lower() in ("host", ":authority")


def _host_of(headers: Headers) -> str:
    """The Host header cannot be set like others: setting it is a rewrite of the authority."""
    return next((value for name, value in headers.request.set if _is_host(name)), "")


def _options(changes: HeaderChanges, request: bool) -> list[Fields]:
    kinds = (("OVERWRITE_IF_EXISTS_OR_ADD", changes.set), ("APPEND_IF_EXISTS_OR_ADD", changes.add))
    return [
        {"header": {"key": name, "value": value}, "append_action": action}
        for action, pairs in kinds
        for name, value in pairs
        if not (request and _is_host(name))
    ]
