"""Who is told what: only those a change concerns, nothing while somebody has to be waited for, then the newest whole."""

from __future__ import annotations

import time
from typing import Any

from mainstay.compile.capability import Capability
from mainstay.compile.resource import Kind, Resource
from mainstay.compile.traits import Proxy
from mainstay.control.collections import Collections
from mainstay.control.proxies import Names, Proxies, ProxyView
from mainstay.control.views import Views, describe_bug
from mainstay.graph import Graph, Settled
from mainstay.model.endpoints import Endpoint, pack_endpoints
from mainstay.model.key import EndpointSetKey, ObjectKey, ServiceKey, labels_of
from mainstay.model.protocol import PortProtocol
from mainstay.model.scope import EgressListener, HostPattern, Scope
from mainstay.model.service import Service, ServicePort
from mainstay.xds.server.types import KindStatus, Refused

CART = ServiceKey("shop", "cart.shop.svc.cluster.local")
PRICES = ServiceKey("shop", "prices.shop.svc.cluster.local")


class Listener:
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[ProxyView, Names]] = []

    def view_changed(self, view: ProxyView, changed: Names) -> None:
        self.told.append((view, changed))

    def status(self) -> dict[Kind, KindStatus]:
        refused = (Refused("c", b"", "bad"),)
        return {"cluster": KindStatus(applied=2, pending=1, refused=refused, wildcard=True, names=())}

    def applied(self, kind: Kind) -> dict[str, Resource]:  # noqa: ARG002
        return {}


class NoSecrets:
    def find(self, name: str, proxy: Proxy) -> Resource | None:  # noqa: ARG002
        return None


class Mesh:
    """A graph with two services; `front` uses cart, `back` uses prices."""

    def __init__(self) -> None:
        self.graph = Graph(time.perf_counter, describe_bug)
        self.facts: Any = self.graph.input("facts")
        mesh: Any = self.graph.input("mesh")
        collections = Collections(self.graph, [self.facts], mesh)
        self.waiting = ""
        self.proxies = Proxies(
            self.graph,
            Views(self.graph, collections),
            NoSecrets(),
            lambda: self.waiting,
            lambda: None,
            lambda: 0,
        )
        for key in (CART, PRICES):
            ports = (ServicePort(80, "http", PortProtocol.HTTP, 8080),)
            self.facts.set(key, (Service(key, ports),))
            self.place(key, "10.0.0.1")
        for app, host in (("front", CART.host), ("back", PRICES.host)):
            egress = EgressListener(
                (HostPattern("shop", host),), 80, PortProtocol.HTTP, "http", "127.2.0.1", "NONE"
            )
            self.facts.set(app, (Scope(ObjectKey("shop", app), labels_of({"app": app}), egress=(egress,)),))
        self.settle()

    def place(self, key: ServiceKey, *addresses: str) -> None:
        rows = [Endpoint(address, 8080) for address in addresses]
        self.facts.set(("rows", key), (pack_endpoints(EndpointSetKey(key, 80, "test"), rows),))

    def settle(self) -> None:
        settled = self.graph.settle()
        assert isinstance(settled, Settled)
        self.proxies.publish(settled)

    def connect(self, app: str) -> Listener:
        listener = Listener()
        proxy = Proxy(
            node=f"sidecar~127.0.0.1~{app}.shop~shop",
            namespace="shop",
            labels=labels_of({"app": app}),
            addresses=("127.0.0.1",),
            interception="NONE",
            capability=Capability("mainstay"),
        )
        self.proxies.open(f"stream of {app}", proxy, listener)
        self.settle()
        return listener


def test_first_view_names_everything() -> None:
    listener = Mesh().connect("front")
    ((view, changed),) = listener.told
    assert {f"outbound|80||{CART.host}"} <= changed["cluster"]
    assert changed["endpoint"] == {f"outbound|80||{CART.host}"}
    assert all(view.get(kind, name) for kind, names in changed.items() for name in names)


def test_only_those_who_use_a_service_hear_of_its_endpoints() -> None:
    mesh = Mesh()
    front, back = mesh.connect("front"), mesh.connect("back")
    mesh.place(CART, "10.0.0.2")
    mesh.settle()
    assert front.told[-1][1] == {"endpoint": frozenset({f"outbound|80||{CART.host}"})}
    assert len(back.told) == 1
    mesh.place(CART, "10.0.0.2")
    mesh.settle()
    assert len(front.told) == 2


def test_nothing_is_told_while_waiting_and_then_the_newest_whole() -> None:
    mesh = Mesh()
    mesh.waiting = "the source files"
    listener = mesh.connect("front")
    mesh.place(CART, "10.0.0.9")
    mesh.settle()
    assert listener.told == []
    mesh.waiting = ""
    mesh.settle()
    ((view, changed),) = listener.told
    found = view.get("endpoint", f"outbound|80||{CART.host}")
    assert "listener" in changed
    assert found is not None
    assert b"10.0.0.9" in found.body


def test_service_that_goes_leaves_as_a_changed_name_without_resource() -> None:
    mesh = Mesh()
    listener = mesh.connect("front")
    mesh.facts.remove(CART)
    mesh.settle()
    view, changed = listener.told[-1]
    assert f"outbound|80||{CART.host}" in changed["cluster"]
    assert view.get("cluster", f"outbound|80||{CART.host}") is None


def test_closed_stream_is_told_nothing_and_its_demand_ends() -> None:
    mesh = Mesh()
    listener = mesh.connect("front")
    mesh.proxies.close("stream of front")
    mesh.place(CART, "10.0.0.2")
    mesh.settle()
    assert len(listener.told) == 1
    assert mesh.proxies.nodes() == []
    assert mesh.proxies.stream_count() == 0


def test_status_shows_the_proxys_reason_and_resources_their_state() -> None:
    mesh = Mesh()
    mesh.connect("front")
    (node,) = mesh.proxies.nodes()
    status = mesh.proxies.show_status(node)
    assert status["types"] == {
        "clusters": {"sent": 3, "pending": 1, "refused": [{"name": "c", "reason": "bad"}]}
    }
    shown = mesh.proxies.show_resources(node, "cluster")
    assert {each["state"] for each in shown} == {"pending"}
    assert mesh.proxies.show_resources(node, "route")[0]["state"] == "not asked for"
    assert shown[0]["resource"]["name"] == shown[0]["name"]
    assert mesh.proxies.find_keys(node, f"outbound|80||{CART.host}")
