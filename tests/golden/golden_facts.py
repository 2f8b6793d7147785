"""Objects of the golden cases as facts, read by hand.

Stands in for ``mainstay.api`` until that room is there; then ``golden_case.facts_of`` goes through ``read``, ``decode`` and
``translate``, whose facts must give the same expectations, and this module goes. Knows only what the cases use, checks
nothing: a field it does not know is silently without effect, which is why it must not outlive its purpose.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec
import yaml

from mainstay.compile.facts import Fact
from mainstay.model import route as r
from mainstay.model.endpoints import Endpoint, NamedTarget, pack_endpoints
from mainstay.model.gateway import Gateway, Server, ServerTls
from mainstay.model.key import (
    EVERYWHERE,
    MESH,
    EndpointSetKey,
    Labels,
    NamedTargetKey,
    ObjectKey,
    PolicyKey,
    RouteTableKey,
    ServiceKey,
    Visibility,
    WorkloadKey,
    labels_of,
)
from mainstay.model.locality import parse_locality
from mainstay.model.membership import attributes_of
from mainstay.model.mesh import Mesh
from mainstay.model.policy import (
    Authorization,
    AuthorizationRule,
    Condition,
    LocalRateLimit,
    Operation,
    PeerAuthentication,
    Policy,
    PolicyBody,
    Source,
)
from mainstay.model.protocol import PortProtocol, declared_protocol, protocol_of_port
from mainstay.model.scope import EgressListener, HostPattern, IngressListener, Scope
from mainstay.model.secret import SecretRef
from mainstay.model.service import Service, ServicePort
from mainstay.model.traffic import (
    ClientTls,
    ConnectionPool,
    KeepAlive,
    OutlierDetection,
    PortPolicy,
    Subset,
    TrafficPolicy,
    TrafficRule,
)
from mainstay.model.workload import TLS_MODE_LABEL, Workload

Spec = Mapping[str, Any]
_Part = TypeVar("_Part", Source, Operation)
_UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_RESOLUTIONS = {"STATIC": "endpoints", "DNS": "dns", "NONE": "none"}


def facts_of_text(text: str) -> list[Fact]:
    """Return the facts of a YAML stream of objects."""
    facts: list[Fact] = []
    for document in yaml.safe_load_all(text):
        metadata = document["metadata"]
        key = ObjectKey(metadata["namespace"], metadata["name"])
        translate = _KINDS[document["kind"]]
        facts += translate(key, document.get("spec") or {}, metadata.get("annotations", {}))
    return facts


def _service_entry(key: ObjectKey, spec: Spec, _annotations: Spec) -> Iterator[Fact]:
    resolution = _RESOLUTIONS[spec["resolution"]]
    for host in spec["hosts"]:
        service = ServiceKey(key.namespace, host)
        ports = tuple(
            ServicePort(port["number"], port["name"], _protocol(port), port.get("targetPort", port["number"]))
            for port in spec["ports"]
        )
        yield Service(
            service,
            ports,
            tuple(spec.get("addresses", ())),
            resolution,  # type: ignore[arg-type]
            "external" if spec["location"] == "MESH_EXTERNAL" else "internal",
            _visibility(spec, key),
            selector=_labels(spec.get("workloadSelector", {}).get("labels")),
            origin=f"ServiceEntry/{key}",
        )
        for port in ports:
            yield from _endpoints(service, port, resolution, spec.get("endpoints", ()))


def _endpoints(
    service: ServiceKey, port: ServicePort, resolution: str, entries: Iterable[Spec]
) -> Iterator[Fact]:
    rows: list[Endpoint] = []
    for entry in entries:
        workload = _workload(WorkloadKey(service.namespace, ""), entry)
        attributes = attributes_of(workload, "cluster.local")
        if not workload.meshed and "serviceAccount" not in entry:
            attributes = msgspec.structs.replace(attributes, identity="")
        number = dict(workload.ports).get(port.name, port.target)
        if resolution == "dns":
            target = NamedTargetKey(service, port.number, "golden", entry["address"])
            yield NamedTarget(target, number, workload.weight, attributes)
        else:
            rows.append(Endpoint(entry["address"], number, workload.weight, attributes=attributes))
    if rows:
        yield pack_endpoints(EndpointSetKey(service, port.number, "golden"), rows)


def _workload(key: WorkloadKey, spec: Spec) -> Workload:
    labels = spec.get("labels", {})
    return Workload(
        key,
        (spec["address"],),
        _labels(labels),
        tuple(sorted(spec.get("ports", {}).items())),
        spec.get("serviceAccount", "default"),
        parse_locality(spec.get("locality", "")),
        weight=spec.get("weight", 1),
        meshed=labels.get(TLS_MODE_LABEL) == "istio",
    )


def _workload_entry(key: ObjectKey, spec: Spec, _annotations: Spec) -> Iterator[Fact]:
    yield _workload(WorkloadKey(key.namespace, key.name), spec)


def _virtual_service(key: ObjectKey, spec: Spec, _annotations: Spec) -> Iterator[Fact]:
    http = tuple(_http_rule(rule, key) for rule in spec.get("http", ()))
    tcp = tuple(
        r.TcpRule(
            _destinations(rule["route"], key),
            tuple(
                r.TcpMatch(tuple(match.get("destinationSubnets", ())), match.get("port", 0))
                for match in rule.get("match", ())
            ),
        )
        for rule in spec.get("tcp", ())
    )
    for host in spec["hosts"]:
        for audience in spec.get("gateways") or [MESH]:
            table = RouteTableKey(_qualified(host, key), audience, key)
            yield r.RouteTable(table, http, tcp, _visibility(spec, key))


def _http_rule(rule: Spec, key: ObjectKey) -> r.HttpRule:
    matches = tuple(_http_match(match) for match in rule.get("match", ()))
    return r.HttpRule(_action(rule, key), matches, _headers(rule.get("headers")), rule.get("name", ""))


def _http_match(match: Spec) -> r.HttpMatch:
    def text(name: str) -> r.StringMatch | None:
        return (
            _string(match[name], match.get("ignoreUriCase", False) and name == "uri")
            if name in match
            else None
        )

    headers = [r.NamedMatch(name, _string(value)) for name, value in match.get("headers", {}).items()]
    headers += [
        r.NamedMatch(name, _string(value), True) for name, value in match.get("withoutHeaders", {}).items()
    ]
    query = [r.NamedMatch(name, _string(value)) for name, value in match.get("queryParams", {}).items()]
    return r.HttpMatch(
        text("uri"),
        text("scheme"),
        text("method"),
        text("authority"),
        tuple(sorted(headers, key=lambda entry: entry.name)),
        tuple(sorted(query, key=lambda entry: entry.name)),
        match.get("port", 0),
        _labels(match.get("sourceLabels")),
        match.get("sourceNamespace", ""),
        match.get("name", ""),
    )


def _action(rule: Spec, key: ObjectKey) -> r.Forward | r.Redirect | r.DirectResponse:
    if to := rule.get("redirect"):
        derived = "protocol" if to.get("derivePort") == "FROM_PROTOCOL_DEFAULT" else ""
        texts = (to.get(name, "") for name in ("uri", "prefixRewrite", "authority", "scheme"))
        return r.Redirect(*texts, to.get("port", 0), derived, to.get("redirectCode", 301))  # type: ignore[arg-type]
    if answer := rule.get("directResponse"):
        return r.DirectResponse(answer["status"], answer.get("body", {}).get("string", "").encode())
    rewrite = rule.get("rewrite", {})
    regex = rewrite.get("uriRegexRewrite", {})
    mirrors = (
        r.Mirror(_destination(entry, key), int(entry.get("percentage", {"value": 100})["value"] * 10_000))
        for entry in rule.get("mirrors", ())
    )
    return r.Forward(
        _destinations(rule["route"], key),
        r.Rewrite(
            rewrite.get("uri", ""),
            rewrite.get("authority", ""),
            regex.get("match", ""),
            regex.get("rewrite", ""),
        ),
        _duration(rule.get("timeout")),
        _retry(rule.get("retries")),
        tuple(mirrors),
    )


def _retry(retries: Spec | None) -> r.Retry:
    if retries is None:
        return r.DEFAULT_RETRY
    if "retryOn" not in retries:
        return r.Retry(retries["attempts"], per_try_timeout=_duration(retries.get("perTryTimeout")))
    words = retries["retryOn"].split(",")
    statuses = tuple(int(word) for word in words if word.isdecimal())
    classes = {word for word in words if not word.isdecimal()}
    classes |= {"retriable-status-codes"} if statuses else set()
    return r.Retry(
        retries["attempts"], tuple(sorted(classes)), statuses, _duration(retries.get("perTryTimeout"))
    )


def _destination_rule(key: ObjectKey, spec: Spec, _annotations: Spec) -> Iterator[Fact]:
    policy = spec.get("trafficPolicy", {})
    subsets = tuple(
        Subset(entry["name"], _labels(entry["labels"]), _traffic_policy(entry.get("trafficPolicy", {})))
        for entry in spec.get("subsets", ())
    )
    ports = tuple(
        PortPolicy(entry["port"]["number"], _traffic_policy(entry))
        for entry in policy.get("portLevelSettings", ())
    )
    yield TrafficRule(key, _qualified(spec["host"], key), _traffic_policy(policy), ports, subsets)


def _traffic_policy(policy: Spec) -> TrafficPolicy:
    return TrafficPolicy(
        policy.get("loadBalancer", {}).get("simple"),
        _pool(policy["connectionPool"]) if "connectionPool" in policy else None,
        _outlier(policy["outlierDetection"]) if "outlierDetection" in policy else None,
        _client_tls(policy["tls"]) if "tls" in policy else None,
    )


def _pool(pool: Spec) -> ConnectionPool:
    tcp, http = pool.get("tcp", {}), pool.get("http", {})
    alive = tcp.get("tcpKeepalive")
    return ConnectionPool(
        tcp.get("maxConnections"),
        _duration(tcp.get("connectTimeout")),
        KeepAlive(alive["probes"], _duration(alive["time"]), _duration(alive["interval"])) if alive else None,
        tcp_idle_timeout=_duration(tcp.get("idleTimeout")),
        max_pending_requests=http.get("http1MaxPendingRequests"),
        max_requests=http.get("http2MaxRequests"),
        max_requests_per_connection=http.get("maxRequestsPerConnection"),
        max_retries=http.get("maxRetries"),
        http_idle_timeout=_duration(http.get("idleTimeout")),
        h2_upgrade=http.get("h2UpgradePolicy"),
    )


def _outlier(outlier: Spec) -> OutlierDetection:
    return OutlierDetection(
        outlier["consecutive5xxErrors"],
        outlier["consecutiveGatewayErrors"],
        interval=_duration(outlier["interval"]) or 0,
        base_ejection_time=_duration(outlier["baseEjectionTime"]) or 0,
        max_ejection_percent=outlier["maxEjectionPercent"],
        min_health_percent=outlier["minHealthPercent"],
    )


def _client_tls(tls: Spec) -> ClientTls:
    files = (tls.get(name, "") for name in ("clientCertificate", "privateKey", "caCertificates"))
    return ClientTls(tls["mode"], *files, None, tuple(tls.get("subjectAltNames", ())), tls.get("sni", ""))


def _peer_authentication(key: ObjectKey, spec: Spec, _annotations: Spec) -> Iterator[Fact]:
    ports = tuple(sorted((int(port), entry["mode"]) for port, entry in spec.get("portLevelMtls", {}).items()))
    yield _policy("PeerAuthentication", key, spec, PeerAuthentication(spec["mtls"]["mode"], ports))


def _authorization_policy(key: ObjectKey, spec: Spec, annotations: Spec) -> Iterator[Fact]:
    rules = tuple(
        AuthorizationRule(
            tuple(_part(Source, entry["source"]) for entry in rule.get("from", ())),
            tuple(_part(Operation, entry["operation"]) for entry in rule.get("to", ())),
            tuple(
                Condition(when["key"], tuple(when.get("values", ())), tuple(when.get("notValues", ())))
                for when in rule.get("when", ())
            ),
        )
        for rule in spec.get("rules", ())
    )
    body = Authorization(spec.get("action", "ALLOW"), rules, annotations.get("istio.io/dry-run") == "true")
    yield _policy("AuthorizationPolicy", key, spec, body)


def _part(kind: type[_Part], spec: Spec) -> _Part:
    return kind(
        **{re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", name): tuple(sorted(v)) for name, v in spec.items()}
    )


def _local_rate_limit(key: ObjectKey, spec: Spec, _annotations: Spec) -> Iterator[Fact]:
    body = LocalRateLimit(spec["tokens"], _duration(spec["interval"]) or 0, spec["burst"])
    yield _policy("LocalRateLimit", key, spec, body)


def _policy(kind: str, key: ObjectKey, spec: Spec, body: PolicyBody) -> Policy:
    selector = _labels(spec.get("selector", {}).get("matchLabels"))
    return Policy(PolicyKey(kind, key.namespace, key.name), body, selector)


def _sidecar(key: ObjectKey, spec: Spec, _annotations: Spec) -> Iterator[Fact]:
    egress = tuple(
        EgressListener(
            tuple(_pattern(host, key) for host in entry["hosts"]),
            entry.get("port", {}).get("number", 0),
            _protocol(entry["port"]) if "port" in entry else PortProtocol.AUTO,
            entry.get("port", {}).get("name", ""),
            entry.get("bind", ""),
            entry.get("captureMode", "DEFAULT"),
        )
        for entry in spec.get("egress", ())
    )
    ingress = tuple(
        IngressListener(
            entry["port"]["number"],
            _protocol(entry["port"]),
            entry["port"]["name"],
            entry.get("bind", ""),
            entry.get("captureMode", "DEFAULT"),
            entry["defaultEndpoint"],
        )
        for entry in spec.get("ingress", ())
    )
    selector = _labels(spec.get("workloadSelector", {}).get("labels"))
    yield Scope(key, selector, egress, ingress, spec.get("outboundTrafficPolicy", {}).get("mode"))


def _gateway(key: ObjectKey, spec: Spec, _annotations: Spec) -> Iterator[Fact]:
    servers = tuple(
        Server(
            entry["port"]["number"],
            declared_protocol(entry["port"]["protocol"]) or PortProtocol.AUTO,
            tuple(sorted(_pattern(host, key) for host in entry["hosts"])),
            entry["port"]["name"],
            tls=_server_tls(entry["tls"], key) if "mode" in entry.get("tls", {}) else None,
            https_redirect=entry.get("tls", {}).get("httpsRedirect", False),
        )
        for entry in spec["servers"]
    )
    yield Gateway(key, servers, _labels(spec["selector"]))


def _server_tls(tls: Spec, key: ObjectKey) -> ServerTls:
    return ServerTls(
        tls["mode"],
        SecretRef(key.namespace, tls["credentialName"]) if "credentialName" in tls else None,
        subject_alt_names=tuple(tls.get("subjectAltNames", ())),
        min_version="1.3" if tls.get("minProtocolVersion") == "TLSV1_3" else "AUTO",
    )


def _mesh_settings(_key: ObjectKey, spec: Spec, _annotations: Spec) -> Iterator[Fact]:
    yield Mesh(access_log=spec["accessLog"])


def _labels(labels: Mapping[str, str] | None) -> Labels:
    return labels_of(dict(labels or {}))


def _duration(text: str | None) -> int | None:
    if text is None:
        return None
    parts = re.fullmatch(r"([0-9.]+)(ms|s|m|h)", text)
    assert parts, text
    return int(float(parts[1]) * _UNITS[parts[2]])


def _protocol(port: Spec) -> PortProtocol:
    return protocol_of_port(port["number"], port.get("name", ""), port.get("protocol", ""))


def _qualified(host: str, key: ObjectKey) -> str:
    return host if "." in host or host == "*" else f"{host}.{key.namespace}.svc.cluster.local"


def _visibility(spec: Spec, key: ObjectKey) -> Visibility:
    return (
        tuple(key.namespace if at == "." else at for at in spec["exportTo"])
        if "exportTo" in spec
        else EVERYWHERE
    )


def _pattern(text: str, key: ObjectKey) -> HostPattern:
    namespace, slash, host = text.partition("/")
    if not slash:
        return HostPattern("*", text)
    return HostPattern(key.namespace if namespace == "." else namespace, host)


def _string(match: Spec, ignore_case: bool = False) -> r.StringMatch:
    if not match:
        return r.StringMatch("present")
    ((kind, value),) = match.items()
    return r.StringMatch(kind, value, ignore_case)


def _destination(entry: Spec, key: ObjectKey) -> r.Destination:
    to = entry["destination"]
    return r.Destination(_qualified(to["host"], key), to.get("subset", ""), to["port"]["number"])


def _destinations(entries: Iterable[Spec], key: ObjectKey) -> tuple[r.WeightedDestination, ...]:
    return tuple(
        r.WeightedDestination(
            _destination(entry, key), entry.get("weight", 1), _headers(entry.get("headers"))
        )
        for entry in entries
    )


def _headers(headers: Spec | None) -> r.Headers:
    def changes(spec: Spec) -> r.HeaderChanges:
        pairs = (
            tuple(sorted((n.lower(), v) for n, v in spec.get(part, {}).items())) for part in ("set", "add")
        )
        return r.HeaderChanges(*pairs, tuple(sorted(spec.get("remove", ()))))

    if headers is None:
        return r.NO_HEADERS
    return r.Headers(changes(headers.get("request", {})), changes(headers.get("response", {})))


_KINDS: dict[str, Callable[[ObjectKey, Spec, Spec], Iterator[Fact]]] = {
    "AuthorizationPolicy": _authorization_policy,
    "DestinationRule": _destination_rule,
    "Gateway": _gateway,
    "LocalRateLimit": _local_rate_limit,
    "MeshSettings": _mesh_settings,
    "PeerAuthentication": _peer_authentication,
    "ServiceEntry": _service_entry,
    "Sidecar": _sidecar,
    "VirtualService": _virtual_service,
    "WorkloadEntry": _workload_entry,
}
