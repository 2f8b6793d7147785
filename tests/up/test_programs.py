"""What `up` starts, and that those programs understand what they are told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mainstay.settings import load
from mainstay.settings.serve import ServeSettings
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar.registry_api.place import check_registry
from mainstay.up.file import Load, MeshFile, Workload
from mainstay.up.plan import RUNTIMES, plan
from mainstay.up.planned import Machine, Plan
from mainstay.up.programs import Folder, Programs
from mainstay.up.read import find_file, read_file

MARK = {"MAINSTAY_REAPER": "mark"}


@pytest.fixture(scope="module")
def shop() -> Plan:
    return plan(read_file(find_file("shop")), Machine(frozenset(RUNTIMES), True, "/usr/bin/python3"))


def programs(mesh: MeshFile) -> Programs:
    return Programs(mesh, Folder(Path("/run/shop")), MARK, 1_500)


def test_the_control_plane_understands_its_flags(shop: Plan) -> None:
    command = programs(shop.mesh).control_plane({}).command
    assert command[3] == "serve"
    settings = load(ServeSettings, "serve", command[4:], {}).settings
    assert settings.state == Path("/run/shop/control-plane")
    assert (settings.api.port, settings.xds.port, settings.metrics_port) == (0, 0, 0)
    assert settings.api.context == Path("/run/shop/context.json")


def test_a_control_plane_that_starts_again_is_where_it_was(shop: Plan) -> None:
    command = programs(shop.mesh).control_plane({"api": 1, "xds": 2, "metrics": 3}).command
    settings = load(ServeSettings, "serve", command[4:], {}).settings
    assert (settings.api.port, settings.xds.port, settings.metrics_port) == (1, 2, 3)


def test_a_sidecar_understands_its_flags(shop: Plan) -> None:
    front = shop.instances[0]
    command = programs(shop.mesh).sidecar(front, "127.0.0.1:4711").command
    settings = load(SidecarSettings, "sidecar", command[4:], {}).settings
    assert (settings.workload, settings.namespace, settings.service_account) == ("front-1", "shop", "front")
    assert settings.labels == ("app=front", "version=v1", "mainstay.dev/instance=front-1")
    assert settings.addresses == (front.address,)
    assert settings.control_plane.address == "127.0.0.1:4711"
    assert settings.control_plane.join_token_file == Path("/run/shop/proxies/front-1.token")
    assert settings.ready_file == Path("/run/shop/proxies/front-1.ready")
    assert (settings.metrics.bind, settings.metrics.port) == (front.address, 15_090)
    assert settings.drain.min == 1_500


def test_a_sidecar_that_serves_the_registry_api_is_told_where() -> None:
    mesh = MeshFile("m", "/m", workloads=(Workload("quotes", ("q",), registry="own"),))
    planned = plan(mesh, Machine(frozenset(RUNTIMES), True, "/usr/bin/python3"))
    instance = planned.instances[0]
    command = programs(mesh).sidecar(instance, "127.0.0.1:4711").command
    settings = load(SidecarSettings, "sidecar", command[4:], {}).settings
    check_registry(settings, "sidecar")
    registry = settings.registry
    assert (registry.enabled, registry.bind, registry.port, registry.data_port) == (
        True,
        instance.address,
        13_330,
        12_220,
    )
    assert (registry.application_host, registry.application_port, registry.inbound_port) == (
        instance.address,
        22_200,
        12_200,
    )


def test_a_gateway_understands_its_flags(shop: Plan) -> None:
    command = programs(shop.mesh).gateway(shop.gateways[0], "127.0.0.1:4711").command
    assert command[3] == "gateway"
    settings = load(SidecarSettings, "gateway", command[4:], {}).settings
    assert (settings.workload, settings.service_account) == ("edge", "edge")
    assert "istio=edge" in settings.labels


def test_an_application_runs_beside_its_file_with_its_environment(shop: Plan) -> None:
    front = shop.instances[0]
    program = programs(shop.mesh).application(front)
    assert program.command == ("/usr/bin/python3", "front.py")
    assert Path(program.directory, "front.py").is_file()
    assert program.environment["HOST"] == front.address
    assert program.environment["MAINSTAY_REAPER"] == "mark"


def test_children_see_none_of_our_own_settings(shop: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAINSTAY_FOR", "20s")
    monkeypatch.setenv("PYTHONPATH", "src")
    made = programs(shop.mesh)
    for program in (made.control_plane({}), made.application(shop.instances[0])):
        assert "MAINSTAY_FOR" not in program.environment
        assert program.environment["PYTHONPATH"] == os.path.abspath("src")


def test_the_load_is_told_where_and_how_fast(shop: Plan) -> None:
    program = programs(shop.mesh).load(Load("edge", 20.0), 0, "http://127.1.2.3:8080/")
    assert program.command[-3:] == ("http://127.1.2.3:8080/", "20.0", "16")


def test_other_data_planes_are_started_by_flags_and_found_by_the_application() -> None:
    mesh = read_file(find_file("shop-mixed"))
    mixed = plan(mesh, Machine(frozenset(RUNTIMES), True, "python3"))
    made = Programs(mesh, Folder(Path("/run/shop")), MARK, 1_500, envoy=Path("/opt/envoy"))
    named = {each.name: each for each in mixed.instances}

    command = made.sidecar(named["front-envoy"], "127.0.0.1:4711").command
    envoy = load(SidecarSettings, "sidecar", command[4:], {}).settings
    assert (envoy.proxy, envoy.proxy_path) == ("envoy", Path("/opt/envoy"))
    command = made.gateway(mixed.gateways[0], "127.0.0.1:4711").command
    assert load(SidecarSettings, "gateway", command[4:], {}).settings.proxy == "envoy"
    command = made.sidecar(named["prices-1"], "127.0.0.1:4711").command
    assert load(SidecarSettings, "sidecar", command[4:], {}).settings.proxy == "grpc"

    environment = made.application(named["prices-1"]).environment
    assert environment["GRPC_XDS_BOOTSTRAP"] == "/run/shop/proxies/prices-1/grpc-bootstrap.json"
    assert "GRPC_XDS_BOOTSTRAP" not in made.application(named["front"]).environment
