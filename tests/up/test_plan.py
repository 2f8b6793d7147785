"""What is started where: addresses, ports, environments, objects."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from mainstay.up.file import Gateway, MeshFile, Port, Service, Workload
from mainstay.up.plan import RUNTIMES, plan
from mainstay.up.planned import INSTANCE_LABEL, Machine, Plan
from mainstay.up.programs import expand

LINUX = Machine(frozenset(RUNTIMES), own_addresses=True, python="/usr/bin/python3")
SHARED = Machine(frozenset(RUNTIMES), own_addresses=False, python="python3")

FRONT = Workload("front", ("$PYTHON", "front.py"), "front", calls=("cart", "cart-db"), instances=2)
CART = Workload("cart", ("cart",), "cart", version="v2", env={"COLOUR": "red"})
MESH = MeshFile(
    "shop",
    "/shop",
    namespace="shop",
    settings={"mtls": "STRICT"},
    services=(
        Service("front", (Port(8000, "http", "http"),)),
        Service("cart", (Port(9000, "", "grpc"), Port(9001))),
        Service("cart-db", (Port(60000, "tcp"),)),
    ),
    workloads=(FRONT, CART, Workload("db", ("db",), "cart-db", proxy="none")),
    gateways=(Gateway("edge"),),
)


def objects(planned: Plan, kind: str) -> dict[str, dict[str, Any]]:
    found = {}
    for each in planned.objects:
        if each["kind"] == kind:
            metadata, spec = each["metadata"], each["spec"]
            assert isinstance(metadata, dict)
            assert isinstance(spec, dict)
            found[str(metadata["name"])] = spec
    return found


def addresses_of(planned: Plan) -> list[str]:
    return [*(each.address for each in planned.instances), *(each.address for each in planned.gateways)]


def test_addresses_stay_the_same_and_are_nobody_elses() -> None:
    first, again = plan(MESH, LINUX), plan(MESH, LINUX)
    addresses = addresses_of(first)
    assert addresses == addresses_of(again)
    assert len(set(addresses)) == 5
    assert all(address.startswith("127.") and not address.startswith("127.0.0.") for address in addresses)


def test_a_taken_address_is_passed_over() -> None:
    taken = plan(MESH, LINUX).instances[0].address
    assert plan(MESH, LINUX, lambda address: address != taken).instances[0].address != taken


def test_an_application_finds_its_place_and_its_services_in_its_environment() -> None:
    front = plan(MESH, LINUX).instances[0]
    assert front.name == "front-1"
    assert front.environment == {
        "HOST": front.address,
        "PORT": "18000",
        "VERSION": "v1",
        "INSTANCE": "front-1",
        "PYTHON": "/usr/bin/python3",
        "CART_ADDR": f"{front.address}:20001",
        "CART_9001_ADDR": f"{front.address}:20002",
        "CART_DB_ADDR": f"{front.address}:20003",
    }


def test_a_port_too_high_for_the_offset_goes_below() -> None:
    mesh = msgspec.structs.replace(MESH, workloads=(msgspec.structs.replace(CART, service="cart-db"),))
    assert plan(mesh, LINUX).instances[0].environment["PORT"] == "50000"


def test_a_workload_without_a_sidecar_serves_its_ports_itself() -> None:
    planned = plan(MESH, LINUX)
    db = next(each for each in planned.instances if each.name == "db")
    assert db.environment["PORT"] == "60000"
    assert objects(planned, "WorkloadEntry")["db"]["address"] == db.address
    assert "db" not in objects(planned, "Sidecar")


def test_missing_run_times_leave_workloads_out_with_the_reason() -> None:
    mesh = msgspec.structs.replace(MESH, workloads=(msgspec.structs.replace(CART, needs=("java",)),))
    planned = plan(mesh, msgspec.structs.replace(LINUX, runtimes=frozenset({"python"})))
    assert planned.instances == ()
    assert planned.left_out[0].reason == "needs java, which this machine does not have"


def test_objects_are_ordinary_ones() -> None:
    planned = plan(MESH, LINUX)
    front = planned.instances[0]
    assert objects(planned, "MeshSettings") == {"default": {"mtls": "STRICT"}}
    assert objects(planned, "Service")["cart"] == {
        "ports": [
            {"name": "grpc", "number": 9000, "appProtocol": "grpc"},
            {"name": "port-9001", "number": 9001},
        ],
        "selector": {"app": "cart"},
    }
    sidecar = objects(planned, "Sidecar")["front-1"]
    assert sidecar["workloadSelector"] == {"labels": {INSTANCE_LABEL: "front-1"}}
    [ingress] = sidecar["ingress"]
    assert ingress["bind"] == front.address
    assert ingress["defaultEndpoint"] == f"{front.address}:18000"
    hosts = [each["hosts"] for each in sidecar["egress"]]
    assert hosts[2] == ["./cart-db.shop.svc.cluster.local"]
    assert objects(planned, "Sidecar")["cart"]["egress"] == [{"hosts": ["~/*"]}]
    assert objects(planned, "Gateway")["edge"]["selector"] == {INSTANCE_LABEL: "edge"}


def test_what_the_author_wrote_counts() -> None:
    planned = plan(msgspec.structs.replace(MESH, authored=frozenset({"Gateway/shop/edge"})), LINUX)
    assert objects(planned, "Gateway") == {}


def test_on_one_shared_address_no_two_listeners_share_a_port() -> None:
    planned = plan(MESH, SHARED)
    ports = [
        number
        for each in planned.instances
        for number in (
            *(p for i in each.inbound for p in {i.listener, i.application}),
            *(o.listener for o in each.outbound),
            *(each.ports.admin, each.ports.health, each.ports.metrics),
        )
    ]
    assert len(ports) == len(set(ports))
    group = objects(planned, "WorkloadGroup")["cart"]
    template = group["template"]
    assert isinstance(template, dict)
    cart = next(each for each in planned.instances if each.name == "cart")
    assert template["ports"] == {"grpc": cart.inbound[0].listener, "port-9001": cart.inbound[1].listener}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$PYTHON", "py"),
        ("${PYTHON}-x", "py-x"),
        ("$MISSING", ""),
        ("a$", "a$"),
        ("--port=$PORT", "--port=1"),
    ],
)
def test_commands_may_name_variables(text: str, expected: str) -> None:
    assert expand(text, {"PYTHON": "py", "PORT": "1"}) == expected


def test_a_library_that_takes_part_by_itself_is_called_where_it_listens_and_calls_by_target() -> None:
    prices = Workload("prices", ("p",), "prices", calls=("rates",), proxy="grpc")
    rates = Workload("rates", ("r",), "rates")
    grpc = (Port(9000, "grpc", "grpc"),)
    mesh = msgspec.structs.replace(
        MESH, services=(Service("prices", grpc), Service("rates", grpc)), workloads=(prices, rates)
    )
    planned = plan(mesh, LINUX)
    instance = planned.instances[0]
    assert (instance.has_proxy, instance.has_sidecar) == (True, False)
    assert [(each.listener, each.application) for each in instance.inbound] == [(9000, 9000)]
    assert instance.environment["RATES_ADDR"] == "xds:///rates.shop.svc.cluster.local:9000"
    assert objects(planned, "Sidecar")["prices"] == {
        "workloadSelector": {"labels": {INSTANCE_LABEL: "prices"}},
        "egress": [{"hosts": ["./rates.shop.svc.cluster.local"]}],
    }
    assert objects(planned, "WorkloadGroup")["prices"]["probe"]["tcpSocket"] == {
        "port": 9000,
        "host": instance.address,
    }


def test_an_envoy_beside_an_application_takes_the_place_of_a_sidecar() -> None:
    services = MESH.services[1:2]
    ours = msgspec.structs.replace(MESH, workloads=(CART,), services=services)
    theirs = msgspec.structs.replace(
        ours, workloads=(msgspec.structs.replace(CART, proxy="envoy"),), services=services
    )
    assert plan(theirs, LINUX).objects == plan(ours, LINUX).objects


def test_a_workload_that_registers_itself_finds_the_api_and_its_own_port() -> None:
    one = Workload("quotes", ("q",), registry="own")
    [instance] = plan(MeshFile("m", "/m", workloads=(one,)), LINUX).instances
    assert instance.registry is not None
    assert instance.environment["REGISTRY_ADDR"] == f"{instance.address}:13330"
    assert instance.environment["REGISTRY_DATA_ADDR"] == f"{instance.address}:12220"
    assert instance.environment["RPC_PORT"] == "22200"
    localhost = msgspec.structs.replace(one, registry="localhost")
    [instance] = plan(MeshFile("m", "/m", workloads=(localhost,)), LINUX).instances
    assert instance.environment["REGISTRY_ADDR"] == "127.0.0.1:13330"
    two = msgspec.structs.replace(one, instances=2)
    first, second = plan(MeshFile("m", "/m", workloads=(two,)), SHARED).instances
    assert first.registry is not None
    assert second.registry is not None
    ports = [port for each in (first.registry, second.registry) for port in msgspec.structs.astuple(each)[1:]]
    assert len(set(ports)) == len(ports) == 8
    assert "REGISTRY_ADDR" not in plan(MESH, LINUX).instances[0].environment
