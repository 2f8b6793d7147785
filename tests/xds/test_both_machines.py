"""Client and server machines against each other, over a wire that loses connections, with a proxy that refuses.

Whatever happens on the way, in the end the proxy works with exactly the view (less what it refuses), and never with something
whose reference it lacks.
"""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from model_mesh import ModelProxy, SmallResource, SmallView, make, read_back

from mainstay.xds import messages
from mainstay.xds.client.types import (
    Cancel,
    Closed,
    Command,
    Event,
    Offered,
    Open,
    Received,
    Send,
    SetTimer,
    Started,
    TimerFired,
)
from mainstay.xds.server.stream import ServerStream
from mainstay.xds.server.types import (
    RequestReceived,
    Tick,
    TurnCame,
    ViewChanged,
    Work,
    WriteFinished,
)
from mainstay.xds.server.types import Send as ServerSend
from mainstay.xds.server.types import SetTimer as ServerTimer
from mainstay.xds.types import ORDER, Kind, Variant


class Wire:
    """One proxy and one server with two queues between them; time passes only when nothing else can happen."""

    def __init__(self, variant: Variant, view: SmallView, refuse: frozenset[bytes] = frozenset()) -> None:
        self.variant: Variant = variant
        self.now = 0
        self.view = view
        self.proxy = ModelProxy(variant, refuse=refuse)
        self.server = ServerStream(variant, ORDER)
        self.up: deque[bytes] = deque()
        self.down: deque[bytes] = deque()
        self.connected = False
        self.work = False
        self.resources_sent = 0
        self.timers: dict[str, int] = {}
        for wanted in self.proxy.wants():
            self.tell_client(wanted)
        self.tell_client(Started())

    # --- what may happen next -------------------------------------------------------------------------------------

    def step(self, choice: int) -> bool:
        """One of the things that can happen now; False if only time can pass."""
        possible = []
        if self.up:
            possible.append(self.deliver_up)
        if self.down:
            possible.append(self.deliver_down)
        if self.work:
            possible.append(self.turn)
        if not possible:
            return False
        possible[choice % len(possible)]()
        return True

    def run(self, choices: list[int] | None = None) -> None:
        """Until nothing happens any more, timers included."""
        for _ in range(5_000):
            choice = choices.pop() if choices else 0
            if not self.step(choice) and not self.pass_time():
                return
        raise AssertionError("never came to rest")

    def pass_time(self) -> bool:
        if not self.timers:
            return False
        name = min(self.timers, key=lambda each: self.timers[each])
        self.now = max(self.now, self.timers.pop(name))
        if name == "client":
            self.tell_client(TimerFired())
        else:
            self.tell_server(Tick())
        return True

    def deliver_up(self) -> None:
        self.tell_server(RequestReceived(self.up.popleft()))

    def deliver_down(self) -> None:
        self.tell_client(Received(self.down.popleft()))

    def turn(self) -> None:
        self.work = False
        self.tell_server(TurnCame())

    def show(self, view: SmallView) -> None:
        self.view = view
        if self.connected:
            self.tell_server(ViewChanged(view))

    def cut(self) -> None:
        """The connection dies with whatever is under way."""
        if self.connected:
            self.connected = False
            self.timers.pop("server", None)
            self.tell_client(Closed(14, "cut"))

    # --- machines -------------------------------------------------------------------------------------------------

    def tell_client(self, event: Event) -> None:
        self.carry_out(self.proxy.client.handle(event, self.now))

    def carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Open():
                    self.connected, self.work = True, False
                    self.up.clear()
                    self.down.clear()
                    self.server = ServerStream(self.variant, ORDER)
                    self.tell_server(ViewChanged(self.view))
                case Send():
                    self.up.append(command.message)
                case Cancel():
                    raise AssertionError("the client gave up the stream")
                case SetTimer():
                    self.timers["client"] = command.at
                case Offered():
                    self.tell_client(self.proxy.take(command))
                    self.proxy.drop_unwanted()
                    for wanted in self.proxy.wants():
                        self.tell_client(wanted)
                case _:
                    pass

    def tell_server(self, event: object) -> None:
        for command in self.server.handle(event, self.now):  # type: ignore[arg-type]
            match command:
                case ServerSend():
                    self.down.append(command.message)
                    response = messages.decode_response(self.variant, command.message)
                    self.resources_sent += len(response.resources) + len(response.removed)
                    self.tell_server(WriteFinished())
                case ServerTimer():
                    self.timers["server"] = command.at
                case Work():
                    self.work = True

    # --- what should hold -----------------------------------------------------------------------------------------

    def expected(self) -> dict[Kind, dict[str, bytes]]:
        """What the proxy should work with: all of the wildcard kinds, of the others what those refer to."""
        found: dict[Kind, dict[str, bytes]] = {kind: {} for kind in ORDER}
        for kind in ("cluster", "listener"):
            found[kind] = {name: each.body for name, each in self.view.resources[kind].items()}
        for _ in range(2):
            for held in list(found.values()):
                for body in list(held.values()):
                    for ref in read_back(body)[1]:
                        resource = self.view.get(ref.kind, ref.name)
                        if ref.kind not in ("cluster", "listener") and resource is not None:
                            found[ref.kind][ref.name] = resource.body
        return found


def small_view() -> SmallView:
    return SmallView(
        make("cluster", "a", "", ("endpoint", "ea")),
        make("endpoint", "ea"),
        make("listener", "l", "", ("route", "r"), ("cluster", "a")),
        make("route", "r", "", ("cluster", "a")),
    )


@pytest.mark.parametrize("variant", ["sotw", "delta"])
def test_first_load_gives_the_view(variant: Variant) -> None:
    wire = Wire(variant, small_view())
    wire.run()
    assert wire.proxy.works_with == wire.expected()
    assert wire.proxy.lacks == []
    assert wire.now == 0  # nothing had to wait for a timer


@pytest.mark.parametrize("variant", ["sotw", "delta"])
def test_canary_moves_without_a_gap(variant: Variant) -> None:
    wire = Wire(variant, small_view())
    wire.run()
    wire.show(
        SmallView(
            make("cluster", "b", "", ("endpoint", "eb")),
            make("endpoint", "eb"),
            make("listener", "l", "", ("route", "r"), ("cluster", "b")),
            make("route", "r", "", ("cluster", "b")),
        )
    )
    wire.run()
    assert wire.proxy.works_with == wire.expected()
    assert wire.proxy.lacks == []


def test_resume_sends_only_differences() -> None:
    wire = Wire("delta", small_view())
    wire.run()
    wire.cut()
    wire.resources_sent = 0
    wire.run()
    assert wire.connected
    assert wire.resources_sent == 0
    wire.cut()
    changed = small_view()
    changed.resources["endpoint"]["ea"] = make("endpoint", "ea", "2")
    wire.view = changed
    wire.run()
    assert wire.resources_sent == 1
    assert wire.proxy.works_with == wire.expected()


def resources() -> st.SearchStrategy[SmallView]:
    """Consistent views over few names, so that they change into one another."""
    names = ["a", "b", "c"]

    def build(salts: dict[str, int], routes: dict[str, tuple[str, int]], eds: bool) -> SmallView:
        found: list[SmallResource] = []
        for name, salt in salts.items():
            refs: list[tuple[Kind, str]] = [("endpoint", f"e{name}")] if eds else []
            found.append(make("cluster", name, str(salt // 3), *refs))
            found.append(make("endpoint", f"e{name}", str(salt % 3)))
        for name, (target, salt) in routes.items():
            if target in salts:
                kind: Kind = "route" if name == "r" else "generic_route"
                found.append(make(kind, name, str(salt), ("cluster", target)))
                found.append(make("listener", f"l{name}", "", (kind, name), ("cluster", target)))
        return SmallView(*found)

    return st.builds(
        build,
        st.dictionaries(st.sampled_from(names), st.integers(0, 8)),
        st.dictionaries(st.sampled_from(["r", "s"]), st.tuples(st.sampled_from(names), st.integers(0, 2))),
        st.booleans(),
    )


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("step"), st.integers(0, 5)),
        st.tuples(st.just("view"), resources()),
        st.just(("cut", None)),
        st.just(("time", None)),
    ),
    max_size=60,
)


@pytest.mark.parametrize("variant", ["sotw", "delta"])
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(first=resources(), actions=ACTIONS, last=resources())
def test_any_course_ends_with_exactly_the_view(
    variant: Variant, first: SmallView, actions: list[tuple[str, object]], last: SmallView
) -> None:
    wire = Wire(variant, first)
    play(wire, actions)
    wire.show(last)
    wire.run()
    assert wire.proxy.works_with == wire.expected()
    assert wire.proxy.lacks == []


@pytest.mark.parametrize("variant", ["sotw", "delta"])
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(first=resources(), actions=ACTIONS, last=resources(), data=st.data())
def test_refusals_spoil_nothing_else(
    variant: Variant,
    first: SmallView,
    actions: list[tuple[str, object]],
    last: SmallView,
    data: st.DataObject,
) -> None:
    """What can be taken is there in the end; nothing ever refers to what is not."""
    bodies = sorted(
        {
            each.body
            for view in [first, last]
            for kind in ("cluster", "route", "generic_route")
            for each in view.resources[kind].values()
        }
    )
    refuse = frozenset(data.draw(st.sets(st.sampled_from(bodies), max_size=2))) if bodies else frozenset()
    wire = Wire(variant, first, refuse)
    play(wire, actions)
    wire.show(last)
    wire.run()
    assert wire.proxy.lacks == []
    for name, resource in last.resources["cluster"].items():
        if resource.body not in refuse:
            assert wire.proxy.works_with["cluster"].get(name) == resource.body
    if not refuse:
        assert wire.proxy.works_with == wire.expected()


def play(wire: Wire, actions: list[tuple[str, object]]) -> None:
    for what, value in actions:
        match what:
            case "step":
                wire.step(value)  # type: ignore[arg-type]
            case "view":
                wire.show(value)  # type: ignore[arg-type]
            case "cut":
                wire.cut()
            case _:
                wire.pass_time()
