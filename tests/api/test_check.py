"""References that dangle, conflicts with others, and rules that never apply."""

from __future__ import annotations

from pathlib import Path

import pytest
from api_reading import check
from test_translate import an

VOLT = Path(__file__).resolve().parents[1] / "protocols" / "volt.yaml"
REVIEWS = an("Service", "{ports: [{name: http, number: 80}], selector: {app: reviews}}", "reviews")
RULE = an("DestinationRule", "{host: reviews, subsets: [{name: v1}, {name: v2}]}", "reviews")
GATE = an(
    "Gateway",
    "{selector: {a: b}, servers: [{port: {number: 80, name: a, protocol: HTTP}, hosts: [a.example]}]}",
    "edge",
)


def several(*texts: str) -> str:
    return "---\n".join(texts)


def virtual(http: str, name: str = "one", rest: str = "") -> str:
    return an("VirtualService", f"{{hosts: [reviews], http: [{http}]{rest}}}", name)


def to(destination: str) -> str:
    return f"{{route: [{{destination: {destination}}}]}}"


PROBED = "{template: {}, probe: {tcpSocket: {port: 12200}}}"
HEARTBEAT = "annotations: {mainstay.dev/probe-heartbeat: PROTOCOL}, name"

SETTINGS = an("MeshSettings", "{mtls: STRICT}", "default")

CASES = [
    (SETTINGS, []),
    (
        several(SETTINGS.replace("{name:", "{namespace: istio-system, name:"), SETTINGS),
        [
            (
                "MS2001",
                "metadata.namespace",
                f"Change that one: mainstay get meshsettings default -n {other} -o yaml",
            )
            for other in ("shop", "istio-system")
        ],
    ),
    (an("WorkloadGroup", PROBED).replace("name", HEARTBEAT.replace("PROTOCOL", "bolt"), 1), []),
    (
        an("WorkloadGroup", PROBED).replace("name", HEARTBEAT.replace("PROTOCOL", "blot"), 1),
        [
            (
                "IST0101",
                'metadata.annotations["mainstay.dev/probe-heartbeat"]',
                "Apply a Protocol of that name, or name one of bolt, dubbo, thrift, thrift-compact",
            )
        ],
    ),
    (several(REVIEWS, RULE, virtual(to("{host: reviews, subset: v2, port: {number: 80}}"))), []),
    (
        several(REVIEWS, RULE, virtual(to("{host: reviews, subset: v3}"))),
        [
            (
                "IST0101",
                "spec.http[0].route[0].destination.subset",
                "Use one of v1, v2, or add it to the DestinationRule",
            )
        ],
    ),
    (
        several(REVIEWS, virtual(to("{host: reviews, subset: v3}"))),
        [("IST0101", "spec.http[0].route[0].destination.subset", "Add a DestinationRule with a subset v3")],
    ),
    (
        several(REVIEWS, virtual(to("{host: review}"))),
        [
            (
                "IST0101",
                "spec.http[0].route[0].destination.host",
                "Did you mean reviews.shop.svc.cluster.local?",
            )
        ],
    ),
    (
        several(REVIEWS, virtual(to("{host: reviews, port: {number: 81}}"))),
        [("MS2003", "spec.http[0].route[0].destination.port.number", "Use one of 80")],
    ),
    (
        several(REVIEWS, virtual("{mirror: {host: nobody}, " + to("{host: reviews}")[1:])),
        [
            (
                "IST0101",
                "spec.http[0].mirror.host",
                "Add a ServiceEntry or Service for it, or correct the name",
            )
        ],
    ),
    (
        several(REVIEWS, virtual(to("{host: reviews}"), rest=", gateways: [edge]")),
        [("IST0101", "spec.gateways[0]", "Add the Gateway, or correct the name")],
    ),
    (
        several(REVIEWS, GATE, virtual(to("{host: reviews}"), rest=", gateways: [edge]")),
        [("IST0132", "spec.hosts[0]", "Add the host to one of its servers")],
    ),
    (
        several(REVIEWS, virtual(to("{host: reviews}") + ", " + to("{host: reviews}"))),
        [("IST0130", "spec.http[1]", "Move it before http[0], or remove it")],
    ),
    (
        several(
            REVIEWS,
            virtual(
                ", ".join(["{match: [{uri: {exact: /a}}], " + to("{host: reviews}")[1:]] * 2),
            ),
        ),
        [("IST0131", "spec.http[1].match[0]", "Remove one of them")],
    ),
    (
        several(REVIEWS, virtual(to("{host: reviews}")), virtual(to("{host: reviews}"), "two")),
        [
            ("IST0109", "spec.hosts[0]", "Join the two, or limit them to different namespaces with exportTo"),
            ("IST0109", "spec.hosts[0]", "Join the two, or limit them to different namespaces with exportTo"),
        ],
    ),
    (
        several(
            an("Service", "{ports: [{name: a, number: 1}, {name: b, number: 2}], selector: {a: b}}", "db"),
            an("VirtualService", "{hosts: [db], tcp: [{route: [{destination: {host: db}}]}]}"),
        ),
        [("IST0112", "spec.tcp[0].route[0].destination", "Add port.number")],
    ),
    (
        an("DestinationRule", "{host: nobody}"),
        [("IST0174", "spec.host", "Add the service, or correct the name")],
    ),
    (
        several(REVIEWS, RULE, RULE.replace("name: reviews}", "name: two}")),
        [("MS2002", "spec.host", "Join the two"), ("MS2002", "spec.host", "Join the two")],
    ),
    (
        several(
            REVIEWS,
            an(
                "DestinationRule",
                "{host: reviews, trafficPolicy: {portLevelSettings: [{port: {number: 9}}]}}",
            ),
        ),
        [("MS2003", "spec.trafficPolicy.portLevelSettings[0].port.number", "Use one of 80")],
    ),
    (
        several(REVIEWS, an("DestinationRule", "{host: reviews, trafficPolicy: {tls: {mode: SIMPLE}}}")),
        [("IST0128", "spec.trafficPolicy.tls", "Add caCertificates, or say insecureSkipVerify: true")],
    ),
    (
        an(
            "Gateway",
            "{servers: [{port: {number: 443, name: a, protocol: HTTPS}, hosts: ['*'],"
            " tls: {mode: SIMPLE, credentialName: gone}}]}",
        ),
        [("IST0161", "spec.servers[0].tls.credentialName", "Add it, or correct the name")],
    ),
    (
        several(GATE, GATE.replace("name: edge}", "name: two}")),
        [
            ("IST0145", "spec.servers[0]", "Keep one of the two"),
            ("IST0145", "spec.servers[0]", "Keep one of the two"),
        ],
    ),
    (
        several(an("Sidecar", "{}"), an("Sidecar", "{}", "two")),
        [("IST0111", "spec", "Give one of them a workloadSelector")] * 2,
    ),
    (
        several(
            REVIEWS,
            an("Sidecar", "{egress: [{hosts: [./reviews.shop.svc.cluster.local, other/gone.example]}]}"),
        ),
        [("MS2005", "spec.egress[0].hosts[1]", "Add the service, or correct the name")],
    ),
    (
        several(
            an("ServiceEntry", "{hosts: [a.b], ports: [{number: 80, name: http}]}"),
            an("ServiceEntry", "{hosts: [a.b], ports: [{number: 80, name: tcp}]}", "two"),
        ),
        [
            ("MS2004", "spec.hosts[0]", "Join the two"),
            ("IST0177", "spec.ports[0]", "Agree on one protocol"),
            ("MS2004", "spec.hosts[0]", "Join the two"),
            ("IST0177", "spec.ports[0]", "Agree on one protocol"),
        ],
    ),
    (
        an("Service", "{ports: [{name: a, number: 1, appProtocol: smoke}], selector: {a: b}}"),
        [
            (
                "IST0101",
                "spec.ports[0].appProtocol",
                "Use http, http2, grpc, https, tls, tcp, mongo, mysql or redis, one that is described (bolt, dubbo, thrift,"
                " thrift-compact), or apply a Protocol of that name",
            )
        ],
    ),
    (
        several(
            an(
                "Service", "{ports: [{name: a, number: 1, appProtocol: mainstay.dev/volt}], selector: {a: b}}"
            ),
            VOLT.read_text(),
        ),
        [],
    ),
    (
        several(VOLT.read_text(), VOLT.read_text().replace("name: volt", "name: ampere")),
        [
            ("MS1113", "spec.detection", "Say declared-only in one of them, or add fixed bytes"),
            ("MS1113", "spec.detection", "Say declared-only in one of them, or add fixed bytes"),
        ],
    ),
]


@pytest.mark.parametrize(("text", "expected"), CASES)
def test_what_dangles_or_conflicts_is_reported(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert [(problem.code, problem.path, problem.remedy) for problem in check(text)] == expected


def test_a_hidden_service_is_told_apart_from_a_missing_one() -> None:
    hidden = REVIEWS.replace("}, selector", "}, exportTo: [other], selector").replace(
        "number: 80}], selector", "number: 80}], exportTo: [other], selector"
    )
    [problem] = check(several(hidden, virtual(to("{host: reviews}"))))
    assert problem.reason == "reviews.shop.svc.cluster.local is not visible in namespace shop"
    assert problem.remedy == "Add shop to exportTo of Service/shop/reviews"
