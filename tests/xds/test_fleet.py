"""Many streams in one process, machines alone: who is told of a change, who is not, and in which turn."""

from __future__ import annotations

from model_mesh import NODE, SmallResource, SmallView, make, url

from mainstay.xds import messages
from mainstay.xds.server.schedule import CLASSES, SHARE, Ring
from mainstay.xds.server.stream import ServerStream
from mainstay.xds.server.types import (
    Event,
    RequestReceived,
    Send,
    TurnCame,
    ViewChanged,
    Work,
    WriteFinished,
)
from mainstay.xds.types import ORDER, Kind

PROXIES = 200
SERVICES = 40
USED = 4


class Fleet:
    """Each proxy uses a few services of all; the ring gives turns as `serve_grpcio` does, verdicts come at once."""

    def __init__(self) -> None:
        self.streams = [ServerStream("delta", ORDER) for _ in range(PROXIES)]
        self.ring: Ring[int] = Ring()
        self.sent: list[tuple[int, Kind, int]] = []
        self.views = [SmallView(*resources(number)) for number in range(PROXIES)]
        for number in range(PROXIES):
            self.tell(number, ViewChanged(self.views[number]))
            names = [f"e{service}" for service in used_by(number)]
            self.ask(number, "cluster", [], NODE)
            self.ask(number, "endpoint", names)
        self.run()

    def ask(self, number: int, kind: Kind, names: list[str], node: bytes = b"") -> None:
        request = messages.encode_delta_request(url(kind), names, (), {}, "", node)
        self.tell(number, RequestReceived(request))

    def tell(self, number: int, event: Event) -> None:
        for command in self.streams[number].handle(event, 0):
            match command:
                case Work():
                    self.ring.push(number, command.urgency)
                case Send():
                    response = messages.decode_response("delta", command.message)
                    self.sent.append((number, command.kind, len(response.resources)))
                    self.tell(number, WriteFinished())
                    ack = messages.encode_delta_request(response.url, (), (), {}, response.nonce)
                    self.tell(number, RequestReceived(ack))

    def run(self) -> list[tuple[int, Kind, int]]:
        """Until nobody has anything to send; what was sent."""
        self.sent = []
        while (number := self.ring.pop()) is not None:
            self.tell(number, TurnCame())
        return self.sent


def used_by(number: int) -> list[int]:
    return [(number + step * 7) % SERVICES for step in range(USED)]


def resources(number: int) -> list[SmallResource]:
    found: list[SmallResource] = []
    for service in used_by(number):
        found.append(make("cluster", f"c{service}", "", ("endpoint", f"e{service}")))
        found.append(make("endpoint", f"e{service}"))
    return found


def test_change_of_one_service_goes_to_its_users_alone_once_each() -> None:
    fleet = Fleet()
    users = [number for number in range(PROXIES) if 3 in used_by(number)]
    for number in users:
        fleet.views[number].resources["endpoint"]["e3"] = make("endpoint", "e3", "2")
        fleet.tell(number, ViewChanged(fleet.views[number], {"endpoint": ("e3",)}))
    assert sorted(fleet.run()) == [(number, "endpoint", 1) for number in users]
    assert 0 < len(users) < PROXIES


def test_storm_of_changes_is_one_message_a_proxy() -> None:
    fleet = Fleet()
    for round_number in range(20):
        for number in range(PROXIES):
            names = tuple(f"e{service}" for service in used_by(number))
            for name in names:
                fleet.views[number].resources["endpoint"][name] = make("endpoint", name, str(round_number))
            fleet.tell(number, ViewChanged(fleet.views[number], {"endpoint": names}))
    assert sorted(fleet.run()) == [(number, "endpoint", USED) for number in range(PROXIES)]


def test_view_that_did_not_change_is_not_sent() -> None:
    fleet = Fleet()
    for number in range(PROXIES):
        fleet.tell(number, ViewChanged(SmallView(*resources(number))))
    assert fleet.run() == []


def test_endpoints_go_before_first_loads_and_those_are_not_starved() -> None:
    ring: Ring[str] = Ring()
    for number in range(SHARE * 4):
        ring.push(f"load {number}", CLASSES - 1)
        ring.push(f"endpoint {number}", 1)
    first = [ring.pop() or "" for _ in range(SHARE * 2)]
    loads = [each for each in first if each.startswith("load")]
    assert first[0] == "endpoint 0"
    assert loads == ["load 0", "load 1"]


def test_stream_is_in_the_ring_once_and_moves_up() -> None:
    ring: Ring[str] = Ring()
    ring.push("a", 2)
    ring.push("b", 1)
    ring.push("a", 0)
    ring.push("a", 3)
    assert [ring.pop(), ring.pop(), ring.pop()] == ["a", "b", None]
    ring.push("a", 1)
    ring.discard("a")
    ring.discard("a")
    assert ring.pop() is None
