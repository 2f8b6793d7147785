"""Who a stream may be: its certificate decides, what somebody wrote for that account, and never the node's own words alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mainstay.compile.traits import Proxy
from mainstay.control.certificates import GatewayCertificates
from mainstay.control.streams import PERMISSION_DENIED, Streams
from mainstay.identity.authorise import judge_node
from mainstay.model.application import MARK, Application, encode_application
from mainstay.model.key import ObjectKey, WorkloadKey, labels_of
from mainstay.model.workload import Workload, WorkloadGroup
from mainstay.xds.messages import Node
from mainstay.xds.serve_grpcio import RefusedStream, Stream
from mainstay.xds.server.types import ApplicationReported, Peer

EDGE = labels_of({"istio": "edge"})


class Mesh:
    """As much of a control plane as streams see, and what they tell it."""

    def __init__(self) -> None:
        self.workloads: dict[WorkloadKey, Workload] = {}
        self.groups: dict[ObjectKey, WorkloadGroup] = {}
        self.proxies: list[Proxy] = []
        self.registered: list[Any] = []
        self.audited: list[tuple[str, ...]] = []
        told = SimpleNamespace(open=lambda _name, proxy, _subscriber: self.proxies.append(proxy))
        self.told: list[Any] = []
        registrations = SimpleNamespace(
            open_stream=lambda _name, claim: self.registered.append(claim),
            tell=lambda _name, application: self.told.append(application),
        )
        found = SimpleNamespace(find_workload=self.workloads.get, find_group=self.groups.get)
        self.streams = Streams(
            cast(Any, told),
            cast(Any, registrations),
            found,
            lambda identity, namespace, account: judge_node(identity, namespace, account, "cluster.local"),
            lambda *line: self.audited.append(line),
            lambda: True,
        )

    def write(self, name: str, account: str, group: ObjectKey | None = None) -> None:
        key = WorkloadKey("shop", name)
        self.workloads[key] = Workload(key, ("127.0.0.5",), EDGE, account=account, group=group)

    def connect(self, account: str, node: str = "router~127.0.0.5~edge.shop~x", **metadata: Any) -> Proxy:
        """Raises `RefusedStream`."""
        told = Node(node, metadata={"LABELS": {"istio": "edge"}, **metadata})
        insecure = not account
        identity = f"spiffe://cluster.local/ns/shop/sa/{account}" if account else ""
        peer = Peer(identity, "10.0.0.1", insecure=insecure)
        self.streams.opened(cast(Stream, SimpleNamespace(id=1, node=told, peer=peer)))
        return self.proxies[-1]


def refused(mesh: Mesh, account: str, node: str = "router~127.0.0.5~edge.shop~x", **metadata: Any) -> str:
    with pytest.raises(RefusedStream) as caught:
        mesh.connect(account, node, **metadata)
    assert caught.value.status == PERMISSION_DENIED
    assert not mesh.proxies
    assert mesh.audited[-1][1] == "xds"
    return caught.value.reason


def test_no_identity_becomes_a_gateway_by_its_own_word() -> None:
    assert "a gateway needs a WorkloadEntry shop/edge" in refused(Mesh(), "cart")


def test_gateway_is_the_account_its_entry_names_with_the_labels_written_there() -> None:
    mesh = Mesh()
    mesh.write("edge", "edge")
    assert "account cart, the node needs edge" in refused(mesh, "cart")
    proxy = mesh.connect("edge", LABELS={"istio": "payments"})
    assert (proxy.kind, proxy.labels, proxy.proven) == ("gateway", EDGE, True)
    assert mesh.registered == []


def test_gateways_of_a_group_have_its_account_and_labels() -> None:
    mesh = Mesh()
    key = ObjectKey("shop", "edges")
    mesh.groups[key] = WorkloadGroup(key, labels=EDGE, account="edge")
    assert "account cart" in refused(mesh, "cart", AUTO_REGISTER_GROUP="edges")
    assert "WorkloadGroup shop/others" in refused(mesh, "edge", AUTO_REGISTER_GROUP="others")
    proxy = mesh.connect("edge", LABELS={"istio": "payments"}, AUTO_REGISTER_GROUP="edges")
    assert proxy.labels == EDGE


def test_registered_workload_makes_nobody_a_gateway() -> None:
    mesh = Mesh()
    mesh.write("edge", "cart", group=ObjectKey("shop", "carts"))
    assert "needs a WorkloadEntry" in refused(mesh, "cart")


def test_member_of_a_group_does_not_take_the_name_of_another_account() -> None:
    mesh = Mesh()
    key = ObjectKey("shop", "carts")
    mesh.groups[key] = WorkloadGroup(key, account="cart")
    mesh.write("edge", "edge")
    node = "sidecar~127.0.0.5~edge.shop~x"
    assert "of another account" in refused(mesh, "cart", node, AUTO_REGISTER_GROUP="carts")
    mesh.connect("cart", "sidecar~127.0.0.5~cart-1.shop~x", AUTO_REGISTER_GROUP="carts")
    assert [each.key.name for each in mesh.registered] == ["cart-1"]


def test_an_agent_registers_for_the_proxy_beside_it_and_that_one_registers_nothing() -> None:
    mesh = Mesh()
    key = ObjectKey("shop", "carts")
    mesh.groups[key] = WorkloadGroup(key, account="cart")
    agent = mesh.connect("cart", "agent~127.0.0.5~cart-1.shop~x", AUTO_REGISTER_GROUP="carts")
    [claim] = mesh.registered
    assert (agent.kind, claim.key.name, claim.h2_tunnel) == ("agent", "cart-1", False)
    beside = mesh.connect(
        "cart", "sidecar~127.0.0.5~cart-1.shop~x", MAINSTAY_AGENT="envoy", SERVICE_ACCOUNT="cart"
    )
    assert beside.capability.has_agent
    assert len(mesh.registered) == 1, "or the end of its stream would take the workload away"


def test_a_proxy_beside_an_agent_does_not_take_the_name_of_another_account() -> None:
    mesh = Mesh()
    mesh.write("edge", "edge")
    node = "sidecar~127.0.0.5~edge.shop~x"
    assert "account cart" in refused(mesh, "cart", node, MAINSTAY_AGENT="grpc", SERVICE_ACCOUNT="cart")


def test_stream_without_a_certificate_may_get_everything_but_secrets() -> None:
    proxy = Mesh().connect("")
    assert (proxy.labels, proxy.proven) == (EDGE, False)

    def find_object(*_: str) -> None:
        raise AssertionError("a secret was looked up for somebody unknown")

    assert GatewayCertificates(find_object).find("secret://shop/tls", proxy) is None


def test_what_an_application_registered_is_taken_from_who_said_that_it_would_tell() -> None:
    mesh = Mesh()
    key = ObjectKey("shop", "carts")
    mesh.groups[key] = WorkloadGroup(key, account="cart")
    node = "sidecar~127.0.0.5~cart-1.shop~x"
    mesh.connect("cart", node, AUTO_REGISTER_GROUP="carts")
    assert mesh.registered[-1].application is None
    mesh.connect("cart", node, AUTO_REGISTER_GROUP="carts", **{MARK: True})
    assert mesh.registered[-1].application == Application()
    stream = cast(Stream, SimpleNamespace(id=1, node=Node(node), peer=Peer("", "10.0.0.1")))
    told = Application(published=("com.example.Hello:1.0",), port=12_200)
    mesh.streams.application_reported(stream, ApplicationReported(encode_application(told)))
    mesh.streams.application_reported(stream, ApplicationReported('{"published":["*"]}'))
    assert mesh.told == [told], "what cannot be is logged, and what was known stays"
