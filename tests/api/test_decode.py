"""Documents become typed objects, or every problem they have, each by file, line, path and remedy."""

from __future__ import annotations

import pytest
from api_reading import kind, read_all

from mainstay.api.encode import MASK, encode
from mainstay.model.problem import Problem

ENTRY = """\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one}
spec:
  address: 10.0.0.1
"""


def only(text: str) -> Problem:
    _, [problem] = read_all(text)
    return problem


def test_an_unknown_field_names_the_nearest_one() -> None:
    problem = only(ENTRY + "  wieght: 3\n")
    assert str(problem) == (
        "mesh.yaml:6:3: error MS1008 [WorkloadEntry/one] spec.wieght: there is no field 'wieght'. Did you mean weight?"
    )


GROUP = """\
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: group}
spec:
  template: {serviceAccount: group}
  probe: {tcpSocket: {port: 80}, %s}
"""


@pytest.mark.parametrize("spoilt", ["successThreshold: 0", "failureThreshold: 1001"])
def test_a_field_has_its_own_range_where_its_type_has_a_wider_one(spoilt: str) -> None:
    problem = only(GROUP % spoilt)
    assert (problem.code, problem.path) == ("MS1012", f"spec.probe.{spoilt.split(':')[0]}")
    assert problem.remedy == "Give a number from 1 to 1000"


@pytest.mark.parametrize(
    ("line", "code", "path", "remedy"),
    [
        ("weight: many", "MS1011", "spec.weight", "Write a whole number without quotes"),
        ("weight: '3'", "MS1011", "spec.weight", "Write a whole number without quotes"),
        ("weight: 70000", "MS1012", "spec.weight", "Give a number from 0 to 65535"),
        ("labels: [a]", "MS1011", "spec.labels", "Write a mapping of names to values"),
        ("labels: {a: }", "MS1011", "spec.labels.a", "Write text"),
        ("ports: {http: 0}", "MS1012", "spec.ports.http", "Give a number from 1 to 65535"),
        ("network: {}", "MS1011", "spec.network", "Write text"),
    ],
)
def test_values_are_of_their_fields_type(line: str, code: str, path: str, remedy: str) -> None:
    problem = only(ENTRY + f"  {line}\n")
    assert (problem.code, problem.path, problem.remedy, problem.line) == (code, path, remedy, 6)


def test_all_problems_are_found_in_one_walk() -> None:
    _, problems = read_all(
        """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: Reviews}
sepc: {}
spec:
  http:
  - match: [{uri: {exact: /a, prefix: /b}}]
    fault: {abort: {}}
    timeout: 5
  - {}
"""
    )
    assert [(p.code, p.path, p.line) for p in problems] == [
        ("MS1012", "metadata.name", 3),
        ("MS1008", "sepc", 4),
        ("MS1013", "spec.http[0].match[0].uri.prefix", 7),
        ("MS1009", "spec.http[0].fault", 8),
        ("MS1011", "spec.http[0].timeout", 9),
        ("MS1013", "spec.http[0]", 7),
        ("MS1013", "spec.http[1]", 10),
        ("MS1010", "spec", 6),
    ]


def test_fields_and_values_that_do_not_work_yet_are_refused_by_path() -> None:
    problem = only(
        """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: one}
spec: {hosts: [a.example], resolution: DYNAMIC_DNS}
"""
    )
    assert problem.code == "MS1009"
    assert problem.reason == "DYNAMIC_DNS is not supported yet: resolution per request"
    assert problem.remedy == "Use one of NONE, STATIC, DNS"


@pytest.mark.parametrize(
    ("head", "code", "path", "remedy"),
    [
        ("kind: ServiceEntry", "MS1010", "", "Add apiVersion"),
        ("apiVersion: v1", "MS1010", "", "Add kind"),
        (
            "apiVersion: networking.istio.io/v2\nkind: ServiceEntry",
            "MS1007",
            "apiVersion",
            "Write networking.istio.io/v1 or networking.istio.io/v1beta1 or networking.istio.io/v1alpha3",
        ),
        (
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntri",
            "MS1007",
            "kind",
            "Did you mean ServiceEntry?",
        ),
    ],
)
def test_unknown_kinds_are_refused(head: str, code: str, path: str, remedy: str) -> None:
    problem = only(head + "\nmetadata: {name: one}\n")
    assert (problem.code, problem.path, problem.remedy) == (code, path, remedy)


def test_metadata_that_servers_write_is_taken() -> None:
    objects, problems = read_all(
        ENTRY.replace(
            "{name: one}",
            "{name: one, uid: x, resourceVersion: '7', managedFields: [{a: 1}], finalizers: [f]}",
        )
    )
    assert not problems
    assert objects[0].metadata.resource_version == "7"


def test_all_versions_are_one_shape() -> None:
    for version in ("v1", "v1beta1", "v1alpha3"):
        objects, problems = read_all(ENTRY.replace("/v1\n", f"/{version}\n"))
        assert not problems
        assert encode(objects[0])["apiVersion"] == "networking.istio.io/v1"


def test_spec_of_a_kind_that_has_none_is_refused() -> None:
    text = "apiVersion: mainstay.dev/v1alpha1\nkind: GatewaySecret\nmetadata: {name: edge}\nspec: {type: Opaque}\n"
    objects, problems = read_all(text)
    assert objects == []
    assert [(problem.code, problem.path) for problem in problems] == [("MS1008", "spec")]


def test_secrets_are_masked_unless_the_store_asks() -> None:
    objects, problems = read_all(
        """\
apiVersion: mainstay.dev/v1alpha1
kind: GatewaySecret
metadata: {name: edge}
stringData: {tls.crt: CERT, tls.key: KEY}
"""
    )
    assert not problems
    assert encode(objects[0])["stringData"] == {"tls.crt": MASK, "tls.key": MASK}
    assert encode(objects[0], reveal_secrets=True)["stringData"] == {"tls.crt": "CERT", "tls.key": "KEY"}
    assert "KEY" not in repr(objects[0].spec)


def test_kind_names_are_unique_among_groups() -> None:
    assert kind("Service").group == "mainstay.dev"
