"""Objects become facts as Istio means them, or are refused by path with a remedy."""

from __future__ import annotations

import msgspec
import pytest
from api_reading import facts_of, refusals

from mainstay.model.endpoints import EndpointSet, NamedTarget
from mainstay.model.gateway import Gateway
from mainstay.model.policy import Authorization, LocalRateLimit, PeerAuthentication, Policy
from mainstay.model.protocol import PortProtocol
from mainstay.model.route import Forward, Redirect, RouteTable
from mainstay.model.scope import HostPattern, Scope
from mainstay.model.service import Service
from mainstay.model.traffic import TrafficRule
from mainstay.model.workload import HttpProbe, TcpProbe, Workload, WorkloadGroup

GROUPS = {
    "ServiceEntry": "networking.istio.io/v1",
    "WorkloadEntry": "networking.istio.io/v1",
    "WorkloadGroup": "networking.istio.io/v1",
    "VirtualService": "networking.istio.io/v1",
    "DestinationRule": "networking.istio.io/v1",
    "Gateway": "networking.istio.io/v1",
    "Sidecar": "networking.istio.io/v1",
    "PeerAuthentication": "security.istio.io/v1",
    "AuthorizationPolicy": "security.istio.io/v1",
}


def an(kind: str, spec: str, name: str = "one") -> str:
    """An object of namespace ``shop``; its spec is line 4."""
    group = GROUPS.get(kind, "mainstay.dev/v1alpha1")
    return f"apiVersion: {group}\nkind: {kind}\nmetadata: {{name: {name}}}\nspec: {spec}\n"


def test_short_names_are_completed_as_istio_does() -> None:
    [table] = facts_of(
        an("VirtualService", "{hosts: [Reviews], http: [{route: [{destination: {host: ratings.data}}]}]}")
    )
    assert isinstance(table, RouteTable)
    assert table.key.host == "reviews.shop.svc.cluster.local"
    action = table.http[0].action
    assert isinstance(action, Forward)
    assert action.destinations[0].destination.host == "ratings.data"


def test_service_entry_gives_a_service_per_host_and_endpoints_per_port() -> None:
    service, endpoints = facts_of(
        an(
            "ServiceEntry",
            """
  hosts: [a.example, A.example.]
  ports: [{number: 80, name: http-web, targetPort: 8080}]
  location: MESH_INTERNAL
  resolution: STATIC
  exportTo: [.]
  endpoints: [{address: 10.0.0.1, ports: {http-web: 9000}}, {address: 10.0.0.2, serviceAccount: web}]
""",
        )
    )
    assert isinstance(service, Service)
    assert isinstance(endpoints, EndpointSet)
    assert service.key.host == "a.example"
    assert service.ports[0].protocol is PortProtocol.HTTP
    assert (service.location, service.resolution, service.visible_to) == ("internal", "endpoints", ("shop",))
    assert [(row.address, row.port, row.attributes.identity) for row in endpoints] == [
        ("10.0.0.1", 9000, ""),
        ("10.0.0.2", 8080, "spiffe://cluster.local/ns/shop/sa/web"),
    ]


def test_names_behind_a_service_are_resolved_by_the_proxy() -> None:
    facts = facts_of(
        an(
            "ServiceEntry",
            "{hosts: [a.example], ports: [{number: 80, name: http}], resolution: DNS,"
            " endpoints: [{address: one.example}, {address: 10.0.0.1}]}",
        )
    )
    assert [type(fact) for fact in facts] == [Service, NamedTarget, EndpointSet]


def test_own_service_has_the_host_that_short_names_mean() -> None:
    [service] = facts_of(an("Service", "{ports: [{name: tcp, number: 3306}], selector: {app: db}}", "db"))
    assert isinstance(service, Service)
    assert service.key.host == "db.shop.svc.cluster.local"
    assert service.selector == (("app", "db"),)
    assert service.ports[0].protocol is PortProtocol.TCP


def test_workloads_carry_their_objects_labels_and_their_own() -> None:
    text = an("WorkloadEntry", "{address: 10.0.0.1, labels: {app: b, security.istio.io/tlsMode: istio}}")
    [workload] = facts_of(text.replace("{name: one}", "{name: one, labels: {app: a, team: t}}"))
    assert isinstance(workload, Workload)
    assert dict(workload.labels) == {"app": "b", "team": "t", "security.istio.io/tlsMode": "istio"}
    assert workload.meshed


def test_workload_group_keeps_its_probe() -> None:
    [group] = facts_of(
        an(
            "WorkloadGroup",
            "{metadata: {labels: {app: a}}, template: {serviceAccount: web},"
            " probe: {periodSeconds: 2, httpGet: {path: /ready, port: 80, scheme: HTTPS}}}",
        )
    )
    assert isinstance(group, WorkloadGroup)
    assert group.account == "web"
    assert group.probe is not None
    assert group.probe.period == 2_000
    assert group.probe.check == HttpProbe(80, "/ready", "", "https")


HEARTBEAT = "annotations: {mainstay.dev/probe-heartbeat: bolt}, name"


def test_an_annotation_lets_a_probe_by_connecting_want_a_heartbeat_answered() -> None:
    text = an("WorkloadGroup", "{template: {}, probe: {tcpSocket: {port: 12200}}}")
    [group] = facts_of(text.replace("name", HEARTBEAT, 1))
    assert isinstance(group, WorkloadGroup)
    assert group.probe is not None
    assert group.probe.check == TcpProbe(12_200, "", "bolt")


def test_matches_that_name_gateways_count_for_these_only() -> None:
    tables = facts_of(
        an(
            "VirtualService",
            """
  hosts: [shop.example]
  gateways: [mesh, edge]
  http:
  - match: [{uri: {prefix: /inside}, gateways: [mesh]}, {uri: {prefix: /both}}]
    route: [{destination: {host: a}}]
  - match: [{gateways: [other/gate]}]
    redirect: {authority: elsewhere.example}
  - route: [{destination: {host: b}, weight: 0}]
""",
        )
    )
    seen = {}
    for table in tables:
        assert isinstance(table, RouteTable)
        seen[table.key.audience] = [
            [m.uri.value if m.uri else "*" for m in rule.matches] for rule in table.http
        ]
    assert seen == {
        "mesh": [["/inside", "/both"], []],
        "shop/edge": [["/both"], []],
        "other/gate": [["*"]],
    }


def test_retries_have_istios_defaults_and_words() -> None:
    def retry(spec: str) -> tuple[int, tuple[str, ...], tuple[int, ...]]:
        route = f"[{{route: [{{destination: {{host: a}}}}]{spec}}}]"
        [table] = facts_of(an("VirtualService", f"{{hosts: [a], http: {route}}}"))
        assert isinstance(table, RouteTable)
        action = table.http[0].action
        assert isinstance(action, Forward)
        return action.retry.attempts, action.retry.retry_on, action.retry.statuses

    classes = ("cancelled", "connect-failure", "refused-stream", "retriable-status-codes", "unavailable")
    assert retry("") == (2, classes, (503,))
    assert retry(", retries: {attempts: 0}") == (0, classes, (503,))
    assert retry(", retries: {attempts: 3, retryOn: 'reset, 502,5xx'}") == (
        3,
        ("5xx", "reset", "retriable-status-codes"),
        (502,),
    )


def test_a_timeout_of_zero_is_none() -> None:
    [table] = facts_of(
        an("VirtualService", "{hosts: [a], http: [{timeout: 0s, route: [{destination: {host: a}}]}]}")
    )
    assert isinstance(table, RouteTable)
    action = table.http[0].action
    assert isinstance(action, Forward)
    assert action.timeout is None


def test_redirects_know_where_their_port_comes_from() -> None:
    [table] = facts_of(
        an(
            "VirtualService",
            "{hosts: [a], http: [{redirect: {scheme: https, derivePort: FROM_PROTOCOL_DEFAULT, redirectCode: 308}}]}",
        )
    )
    assert isinstance(table, RouteTable)
    assert table.http[0].action == Redirect(scheme="https", port_from="protocol", status=308)


def test_traffic_settings_keep_their_levels_apart() -> None:
    [rule] = facts_of(
        an(
            "DestinationRule",
            """
  host: a
  trafficPolicy:
    loadBalancer: {simple: RANDOM}
    connectionPool: {tcp: {maxConnections: 0, connectTimeout: 1s}, http: {maxRetries: 7}}
    portLevelSettings: [{port: {number: 81}, tls: {mode: DISABLE}}]
    retryBudget: {percent: 25}
  subsets:
  - {name: v2, labels: {version: v2}}
  - {name: v1, labels: {version: v1}, trafficPolicy: {outlierDetection: {consecutive5xxErrors: 0, interval: 1s}}}
""",
        )
    )
    assert isinstance(rule, TrafficRule)
    assert rule.policy.balancing == "RANDOM"
    assert rule.policy.pool is not None
    assert (rule.policy.pool.max_connections, rule.policy.pool.connect_timeout) == (None, 1_000)
    assert rule.policy.pool.max_retries == 7
    assert rule.policy.retry_budget is not None
    assert rule.policy.retry_budget.share == 250_000
    assert rule.ports[0].policy.tls is not None
    assert [subset.name for subset in rule.subsets] == ["v1", "v2"]
    outlier = rule.subsets[0].policy.outlier
    assert outlier is not None
    assert (outlier.consecutive_5xx, outlier.interval, outlier.base_ejection_time) == (0, 1_000, 30_000)


def test_gateways_take_hosts_of_namespaces() -> None:
    [gateway] = facts_of(
        an(
            "Gateway",
            "{selector: {istio: edge}, servers: [{port: {number: 443, name: https, protocol: HTTPS},"
            " hosts: [./a.example, b.example], tls: {mode: SIMPLE, credentialName: cert, minProtocolVersion: TLSV1_3}}]}",
        )
    )
    assert isinstance(gateway, Gateway)
    [server] = gateway.servers
    assert server.hosts == (HostPattern("*", "b.example"), HostPattern("shop", "a.example"))
    assert server.tls is not None
    assert server.tls.credential is not None
    assert (server.tls.credential.resource_name, server.tls.min_version) == ("secret://shop/cert", "1.3")


def test_sidecars_may_see_nothing() -> None:
    [scope] = facts_of(an("Sidecar", "{egress: [{hosts: ['~/*']}], outboundTrafficPolicy: {}}"))
    assert isinstance(scope, Scope)
    assert scope.egress[0].hosts == ()
    assert scope.outbound == "REGISTRY_ONLY"


def test_policies_are_found_by_kind_and_name() -> None:
    peer, allow, limit = facts_of(
        an(
            "PeerAuthentication",
            "{selector: {matchLabels: {app: a}}, mtls: {mode: STRICT}, portLevelMtls: {8080: {mode: DISABLE}}}",
        )
        + "---\n"
        + an(
            "AuthorizationPolicy",
            "{action: DENY, rules: [{from: [{source: {serviceAccounts: [web, other/db]}}],"
            " to: [{operation: {paths: ['/a/{*}'], ports: ['80']}}]}]}",
        )
        + "---\n"
        + an("LocalRateLimit", "{tokens: 5, interval: 1s, ports: [8080]}")
    )
    assert isinstance(peer, Policy)
    assert peer.body == PeerAuthentication("STRICT", ((8080, "DISABLE"),))
    assert isinstance(allow, Policy)
    assert isinstance(allow.body, Authorization)
    assert allow.body.action == "DENY"
    assert allow.body.rules[0].sources[0].service_accounts == ("other/db", "shop/web")
    assert isinstance(limit, Policy)
    assert limit.body == LocalRateLimit(5, 1_000, 5, (8080,), 429)


def test_settings_change_only_what_they_say() -> None:
    [mesh] = facts_of(an("MeshSettings", "{mtls: STRICT, connectTimeout: 3s}", "default"))
    from mainstay.model.mesh import DEFAULT_MESH

    assert mesh == msgspec.structs.replace(DEFAULT_MESH, mtls="STRICT", connect_timeout=3_000)


def route(text: str) -> str:
    return an("VirtualService", f"{{hosts: [a], http: [{text}]}}")


TO_A = "route: [{destination: {host: a}}]"
POLICY = "{rules: [%s]}"

REFUSED = [
    # ServiceEntry
    (an("ServiceEntry", "{hosts: ['*']}"), "MS1101", "spec.hosts[0]"),
    (an("ServiceEntry", "{hosts: [a_b!]}"), "MS1101", "spec.hosts[0]"),
    (an("ServiceEntry", "{hosts: ['*.a.b'], resolution: DNS}"), "MS1106", "spec.hosts[0]"),
    (an("ServiceEntry", "{hosts: [a.b], addresses: [x]}"), "MS1103", "spec.addresses[0]"),
    (an("ServiceEntry", "{hosts: [a.b], endpoints: [{address: 10.0.0.1}]}"), "MS1106", "spec.endpoints"),
    (
        an("ServiceEntry", "{hosts: [a.b], resolution: STATIC, endpoints: [{address: b.c}]}"),
        "MS1103",
        "spec.endpoints[0].address",
    ),
    (
        an("ServiceEntry", "{hosts: [a.b], resolution: STATIC, endpoints: [{}]}"),
        "MS1010",
        "spec.endpoints[0]",
    ),
    (
        an(
            "ServiceEntry",
            "{hosts: [a.b], resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {x: 1}}]}",
        ),
        "MS2003",
        "spec.endpoints[0].ports.x",
    ),
    (
        an("ServiceEntry", "{hosts: [a.b], ports: [{number: 1, name: a}, {number: 1, name: b}]}"),
        "MS1107",
        "spec.ports[1].number",
    ),
    (
        an("ServiceEntry", "{hosts: [a.b], workloadSelector: {labels: {a: b}}}"),
        "MS1106",
        "spec.workloadSelector",
    ),
    (an("ServiceEntry", "{hosts: [a.b], exportTo: ['a/b']}"), "MS1012", "spec.exportTo[0]"),
    # Workloads
    (an("WorkloadEntry", "{}"), "MS1010", "spec"),
    (an("WorkloadEntry", "{address: 'unix:///x'}"), "MS1009", "spec.address"),
    (an("WorkloadEntry", "{address: 'a b'}"), "MS1103", "spec.address"),
    (an("WorkloadGroup", "{template: {address: 10.0.0.1}}"), "MS1106", "spec.template.address"),
    (
        an("WorkloadGroup", "{template: {}}").replace("name", HEARTBEAT, 1),
        "MS1106",
        'metadata.annotations["mainstay.dev/probe-heartbeat"]',
    ),
    # VirtualService
    (an("VirtualService", "{hosts: [a]}"), "MS1010", "spec"),
    (an("VirtualService", f"{{hosts: [a/b], http: [{{{TO_A}}}]}}"), "MS1101", "spec.hosts[0]"),
    (
        an("VirtualService", f"{{hosts: [a], gateways: ['a/b/c'], http: [{{{TO_A}}}]}}"),
        "MS1012",
        "spec.gateways[0]",
    ),
    (route(f"{{match: [{{uri: {{regex: '(?=a)'}}}}], {TO_A}}}"), "MS1102", "spec.http[0].match[0].uri.regex"),
    (route(f"{{match: [{{uri: {{}}}}], {TO_A}}}"), "MS1013", "spec.http[0].match[0].uri"),
    (
        route(f"{{match: [{{headers: {{'a b': {{exact: c}}}}}}], {TO_A}}}"),
        "MS1108",
        'spec.http[0].match[0].headers["a b"]',
    ),
    (
        route(f"{{match: [{{queryParams: {{a: {{prefix: b}}}}}}], {TO_A}}}"),
        "MS1012",
        "spec.http[0].match[0].queryParams.a.prefix",
    ),
    (
        route("{route: [{destination: {host: a}}, {destination: {host: b}}]}"),
        "MS1104",
        "spec.http[0].route",
    ),
    (route(f"{{rewrite: {{}}, {TO_A}}}"), "MS1010", "spec.http[0].rewrite"),
    (
        route(f"{{rewrite: {{uriRegexRewrite: {{match: '[', rewrite: x}}}}, {TO_A}}}"),
        "MS1102",
        "spec.http[0].rewrite.uriRegexRewrite.match",
    ),
    (
        route(f"{{retries: {{attempts: 1, retryOn: sometimes}}, {TO_A}}}"),
        "MS1109",
        "spec.http[0].retries.retryOn",
    ),
    (
        route(f"{{retries: {{attempts: 1, retryOn: '700'}}, {TO_A}}}"),
        "MS1109",
        "spec.http[0].retries.retryOn",
    ),
    (
        route(f"{{retries: {{attempts: 1, perTryTimeout: 0s}}, {TO_A}}}"),
        "MS1105",
        "spec.http[0].retries.perTryTimeout",
    ),
    (route(f"{{mirrorPercentage: {{value: 1}}, {TO_A}}}"), "MS1106", "spec.http[0].mirrorPercentage"),
    (route("{redirect: {redirectCode: 304, uri: /a}}"), "MS1012", "spec.http[0].redirect.redirectCode"),
    (route("{redirect: {}}"), "MS1010", "spec.http[0].redirect"),
    (route("{redirect: {uri: /a}, retries: {attempts: 1}}"), "MS1106", "spec.http[0].retries"),
    (
        route(f"{{headers: {{request: {{add: {{host: b}}}}}}, {TO_A}}}"),
        "MS1108",
        "spec.http[0].headers.request.add.host",
    ),
    (
        route(f"{{headers: {{response: {{set: {{x: 'a\\nb'}}}}}}, {TO_A}}}").replace("'a\\nb'", '"a\\nb"'),
        "MS1108",
        "spec.http[0].headers.response.set.x",
    ),
    (
        an(
            "VirtualService",
            "{hosts: [a], tcp: [{match: [{destinationSubnets: [x]}], route: [{destination: {host: a}}]}]}",
        ),
        "MS1103",
        "spec.tcp[0].match[0].destinationSubnets[0]",
    ),
    # DestinationRule
    (an("DestinationRule", "{host: 'a b'}"), "MS1101", "spec.host"),
    (an("DestinationRule", "{host: a, subsets: [{name: x}, {name: x}]}"), "MS1107", "spec.subsets[1].name"),
    (
        an("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: MUTUAL, privateKey: k}}}"),
        "MS1010",
        "spec.trafficPolicy.tls",
    ),
    (
        an("DestinationRule", "{host: a, trafficPolicy: {tls: {mode: ISTIO_MUTUAL, caCertificates: k}}}"),
        "MS1106",
        "spec.trafficPolicy.tls.caCertificates",
    ),
    (
        an(
            "DestinationRule",
            "{host: a, trafficPolicy: {connectionPool: {tcp: {tcpKeepalive: {time: 1500ms}}}}}",
        ),
        "MS1105",
        "spec.trafficPolicy.connectionPool.tcp.tcpKeepalive.time",
    ),
    (
        an("DestinationRule", "{host: a, trafficPolicy: {connectionPool: {http: {idleTimeout: 0s}}}}"),
        "MS1105",
        "spec.trafficPolicy.connectionPool.http.idleTimeout",
    ),
    # Gateway
    (
        an("Gateway", "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*']}]}"),
        "MS1010",
        "spec.servers[0]",
    ),
    (
        an(
            "Gateway",
            "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'], tls: {mode: SIMPLE}}]}",
        ),
        "MS1010",
        "spec.servers[0].tls",
    ),
    (
        an(
            "Gateway",
            "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: ['*'], tls: {credentialName: x}}]}",
        ),
        "MS1106",
        "spec.servers[0].tls.credentialName",
    ),
    (
        an(
            "Gateway",
            "{servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a]},"
            " {port: {number: 80, name: b, protocol: TCP}, hosts: [b]}]}",
        ),
        "MS1106",
        "spec.servers[1].port",
    ),
    # Sidecar
    (an("Sidecar", "{egress: [{hosts: [reviews]}]}"), "MS1101", "spec.egress[0].hosts[0]"),
    (an("Sidecar", "{egress: [{bind: 127.0.0.1, hosts: ['*/*']}]}"), "MS1106", "spec.egress[0].bind"),
    (
        an("Sidecar", "{ingress: [{port: {number: 80}, defaultEndpoint: '10.0.0.1:80'}]}"),
        "MS1103",
        "spec.ingress[0].defaultEndpoint",
    ),
    (
        an("Sidecar", "{ingress: [{port: {number: 80}}, {port: {number: 80}}]}"),
        "MS1107",
        "spec.ingress[1]",
    ),
    # Policies
    (an("PeerAuthentication", "{portLevelMtls: {80: {mode: STRICT}}}"), "MS1106", "spec.portLevelMtls"),
    (
        an("PeerAuthentication", "{selector: {matchLabels: {a: b}}, portLevelMtls: {http: {}}}"),
        "MS1012",
        "spec.portLevelMtls.http",
    ),
    (
        an("AuthorizationPolicy", POLICY % "{from: [{source: {}}]}"),
        "MS1010",
        "spec.rules[0].from[0].source",
    ),
    (
        an("AuthorizationPolicy", POLICY % "{from: [{source: {ipBlocks: [x]}}]}"),
        "MS1103",
        "spec.rules[0].from[0].source.ipBlocks[0]",
    ),
    (
        an("AuthorizationPolicy", POLICY % "{from: [{source: {principals: ['spiffe://a']}}]}"),
        "MS1012",
        "spec.rules[0].from[0].source.principals",
    ),
    (
        an("AuthorizationPolicy", POLICY % "{to: [{operation: {ports: [http]}}]}"),
        "MS1012",
        "spec.rules[0].to[0].operation.ports[0]",
    ),
    (
        an("AuthorizationPolicy", POLICY % "{to: [{operation: {paths: ['/{x}']}}]}"),
        "MS1012",
        "spec.rules[0].to[0].operation.paths[0]",
    ),
    (
        an("AuthorizationPolicy", POLICY % "{when: [{key: source.color, values: [a]}]}"),
        "MS1110",
        "spec.rules[0].when[0].key",
    ),
    (
        an("AuthorizationPolicy", POLICY % "{when: [{key: 'request.auth.claims[a]', values: [a]}]}"),
        "MS1009",
        "spec.rules[0].when[0].key",
    ),
    (
        an("AuthorizationPolicy", POLICY % "{when: [{key: source.ip, values: [a]}]}"),
        "MS1103",
        "spec.rules[0].when[0].values[0]",
    ),
    # Own kinds
    (
        an("Service", "{ports: [{name: a, number: 1}, {name: a, number: 2}], selector: {a: b}}"),
        "MS1107",
        "spec.ports[1].name",
    ),
    (an("Service", "{ports: [{name: a, number: 1}], selector: {a: b}}", "a.b"), "MS1101", "metadata.name"),
    (an("LocalRateLimit", "{tokens: 1, interval: 1ms}"), "MS1012", "spec.interval"),
    (an("LocalRateLimit", "{tokens: 3, burst: 2}"), "MS1106", "spec.burst"),
    (an("MeshSettings", "{}", "other"), "MS1012", "metadata.name"),
    (an("MeshSettings", "{detectionTimeout: 0s}", "default"), "MS1105", "spec.detectionTimeout"),
]


@pytest.mark.parametrize(("text", "code", "path"), REFUSED, ids=lambda value: value if "." in value else None)
def test_what_could_not_work_is_refused_at_its_place(text: str, code: str, path: str) -> None:
    problems = refusals(text)
    assert [(problem.code, problem.path) for problem in problems] == [(code, path)]
    [problem] = problems
    assert (problem.file, problem.severity) == ("mesh.yaml", "error")
    assert problem.line >= 3
    assert problem.remedy
