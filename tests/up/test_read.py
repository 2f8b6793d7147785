"""The file of `up`: what is wrong with it is told by file, line, path and remedy, before anything starts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.settings import OperatorError
from mainstay.up.main import main
from mainstay.up.read import FileRefused, find_file, list_examples, read_file

HEAD = "apiVersion: mainstay.dev/v1alpha1\nkind: Mesh\nmetadata: {name: shop}\nspec:\n"
GOOD = """\
  services: [{name: a, ports: [{number: 80}]}]
  workloads: [{name: w, service: a, command: [w]}]
"""


def refusals(folder: Path, text: str) -> list[tuple[str, int, str]]:
    file = folder / "mesh.yaml"
    file.write_text(text)
    with pytest.raises(FileRefused) as refused:
        read_file(file)
    assert all(problem.remedy for problem in refused.value.problems)
    return [(problem.code, problem.line, problem.path) for problem in refused.value.problems]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("  workloads: []\n", [("MS1012", 5, "spec.workloads")]),
        ("  workloads: [{name: w, command: [w], servce: a}]\n", [("MS1008", 5, "spec.workloads[0].servce")]),
        (
            "  workloads: [{name: w, command: [w], service: a}]\n",
            [("MS2006", 5, "spec.workloads[0].service")],
        ),
        (
            "  workloads: [{name: w, command: [w], calls: [a]}]\n",
            [("MS2006", 5, "spec.workloads[0].calls[0]")],
        ),
        (
            "  workloads: [{name: w, command: [w]}]\n  services: [{name: s, ports: [{number: 1, protocol: blot}]}]\n",
            [("MS1012", 6, "spec.services[0].ports[0].protocol")],
        ),
        (
            "  workloads: [{name: w, command: [w], proxy: grpc, service: s}]\n"
            "  services: [{name: s, ports: [{number: 1, protocol: http}]}]\n",
            [("MS1120", 5, "spec.workloads[0].service")],
        ),
        (
            "  workloads: [{name: w, command: [w]}, {name: w, command: [w]}]\n",
            [("MS1107", 5, "spec.workloads[1].name")],
        ),
        (GOOD + "  gateways: [{name: a}]\n", [("MS1107", 7, "spec.gateways[0].name")]),
        (GOOD + "  load: [{to: edge, rate: 1}]\n", [("MS2006", 7, "spec.load[0].to")]),
        (GOOD + "  config: [gone.yaml]\n", [("MS2006", 7, "spec.config[0]")]),
        (GOOD + "  config: [[]]\n", [("MS1011", 7, "spec.config[0]")]),
        (GOOD + "  settings: {detectionTimeout: 0s}\n", [("MS1105", 7, "spec.settings")]),
    ],
)
def test_a_mistake_is_told_at_its_place(
    tmp_path: Path, spec: str, expected: list[tuple[str, int, str]]
) -> None:
    assert refusals(tmp_path, HEAD + spec) == expected


def test_objects_in_the_file_are_checked_like_the_control_plane_would(tmp_path: Path) -> None:
    config = """\
  config:
  - apiVersion: networking.istio.io/v1
    kind: VirtualService
    metadata: {name: v}
    spec:
      hosts: [a]
      http:
      - route: [{destination: {host: b}}]
"""
    lines = config.replace("host: b", "host: a, subset: v9").splitlines()[1:]
    step = "  steps:\n  - after: 1s\n    apply:\n" + "".join(f"  {line}\n" for line in lines)
    assert refusals(tmp_path, HEAD + GOOD + config) == [
        ("IST0101", 14, "spec.http[0].route[0].destination.host")
    ]
    assert refusals(tmp_path, HEAD + GOOD + step) == [
        ("IST0101", 16, "spec.http[0].route[0].destination.subset")
    ]


def test_files_beside_it_are_read_and_checked(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "rules.yaml").write_text("apiVersion: x/v1\nkind: Nothing\nmetadata: {name: a}\n")
    assert refusals(tmp_path, HEAD + GOOD + "  config: [config]\n") == [("MS1007", 2, "kind")]


def test_other_documents_are_refused(tmp_path: Path) -> None:
    assert refusals(tmp_path, "") == [("MS1006", 1, "")]
    assert refusals(tmp_path, HEAD + GOOD + "---\n" + HEAD + GOOD) == [("MS1006", 8, "")]
    other = "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\n"
    assert refusals(tmp_path, other) == [("MS1007", 2, "kind")]


def test_a_file_a_folder_or_an_example_is_found(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(HEAD + GOOD)
    assert find_file(str(tmp_path)) == tmp_path / "mesh.yaml"
    assert find_file(str(tmp_path / "mesh.yaml")) == tmp_path / "mesh.yaml"
    assert find_file("shop").parent.name == "shop"
    with pytest.raises(OperatorError, match=r"examples are: .*shop"):
        find_file("no-such-mesh")


@pytest.mark.parametrize("name", sorted(list_examples()))
def test_examples_are_well(name: str) -> None:
    mesh = read_file(list_examples()[name])
    for workload in mesh.workloads:
        script = next(
            (part for part in workload.command if part.endswith((".py", ".js", ".go", ".java"))), None
        )
        assert script is None or (Path(mesh.directory) / script).is_file(), script


def test_the_shop_is_what_it_promises() -> None:
    shop = read_file(find_file("shop"))
    assert len(shop.workloads) >= 6
    protocols = {port.protocol for service in shop.services for port in service.ports}
    assert protocols == {"http", "grpc", "bolt", "tcp"}
    assert {need for workload in shop.workloads for need in workload.needs} == {"node", "java", "go"}
    assert shop.gateways
    assert shop.load
    assert shop.steps
    assert shop.settings["mtls"] == "STRICT"
    assert len(shop.hints) == 3


def test_a_refused_file_is_shown_with_its_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mesh.yaml").write_text(HEAD + "  workload: []\n")
    assert main([str(tmp_path)]) == 3
    shown = capsys.readouterr().err
    assert "5 |   workload: []" in shown
    assert "Did you mean workloads?" in shown
    assert "nothing was started" in shown


def test_the_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--print-schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "Mesh"


def test_usage_is_told() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    command = [sys.executable, "-m", "mainstay", "up"]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert run.returncode == 2
    assert "mainstay up shop" in run.stderr


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_bytes(b"kind: \xff\n")
    with pytest.raises(OperatorError, match=r"mesh\.yaml is not UTF-8 \(byte 6\): save it as UTF-8"):
        read_file(tmp_path / "mesh.yaml")
