"""Who is asked for what: whatever resources say of their sources, each name is asked of one of them, and of no other."""

from __future__ import annotations

from typing import Any

from fake_engine import FakeEngine
from hypothesis import given
from hypothesis import strategies as st

from mainstay.sidecar import plan
from mainstay.sidecar.bootstrap.boot import Boot, Dynamic
from mainstay.sidecar.border import Lease
from mainstay.sidecar.convert.source import AGGREGATED, Same, Service, Source
from mainstay.sidecar.convert.table import Converted, Encoded, encode
from mainstay.sidecar.discovery import Discovery
from mainstay.sidecar.files import Files
from mainstay.sidecar.status import Status

SERVICES = (Service("one"), Service("two", "sotw"), Service("one", "sotw"))
ELSEWHERE = Service("nobody's")
SOURCES = st.sampled_from([AGGREGATED, Same(), ELSEWHERE, *SERVICES])
NAMES = ("a", "b", "c", "d")


def cluster(name: str) -> Converted:
    return Converted(encode(plan.Cluster(name, plan.StaticDiscovery(()))))


class World:
    def __init__(self) -> None:
        boot = Boot(
            b"",
            "node",
            static=tuple(cluster(name) for name in ("ads", "one", "two")),
            dynamic=Dynamic(Service("ads"), AGGREGATED, AGGREGATED),
        )
        self.engine = FakeEngine()
        for name in ("ads", "one", "two"):
            self.engine.resources["cluster", name] = ("", b"")
        files = Files(lambda _: b"", lambda _: None)
        self.discovery = Discovery(Lease(self.engine), boot, Status("0"), lambda: 0.5, files, lambda *_: None)
        self.expected: dict[str, Source] = {}
        self.users: dict[str, dict[str, Source]] = {}

    def offer(self, user: str, needs: dict[str, Source], origin: Source) -> None:
        """A cluster that takes its endpoints from there; the newest word on a name counts."""
        references = {("endpoints", name): source for name, source in needs.items()}
        encoded = Encoded("cluster", user, "", b"", frozenset(references), tuple(references.items()))  # type: ignore[arg-type]
        self.discovery.learn(encoded, origin)
        self.users[user] = needs
        for name, source in needs.items():
            real = origin if isinstance(source, Same) else source
            self.expected[name] = AGGREGATED if real == ELSEWHERE else real

    def settle(self) -> None:
        wanted = frozenset(name for needs in self.users.values() for name in needs)
        self.discovery.want("endpoint", wanted, 0)
        self.expected = {name: source for name, source in self.expected.items() if name in wanted}
        self.discovery.open(lambda reference: reference in self.engine.resources, lambda: b"", None, dict, 0)

    def asked(self) -> dict[Source, set[str]]:
        return {
            source: set(wish.names)
            for (source, kind), wish in self.discovery._wishes.items()
            if kind == "endpoint" and wish.names
        }


OFFERS = st.lists(
    st.tuples(
        st.sampled_from(["x", "y", "z"]),
        st.dictionaries(st.sampled_from(NAMES), SOURCES, max_size=3),
        st.sampled_from([AGGREGATED, SERVICES[0]]),
        st.booleans(),
    ),
    max_size=12,
)


@given(OFFERS)
def test_each_name_is_asked_of_one_source(offers: list[tuple[str, dict[str, Source], Any, bool]]) -> None:
    world = World()
    for user, needs, origin, settles in offers:
        world.offer(user, needs, origin)
        if settles:
            world.settle()
    world.settle()
    asked = world.asked()
    for name, source in world.expected.items():
        assert [each for each, names in asked.items() if name in names] == [source]
    assert {name for names in asked.values() for name in names} == set(world.expected)
    streams = {key for key in world.discovery._streams if key[1] is not None}
    assert streams == {(source, "endpoint") for source in asked if source != AGGREGATED}
    assert len(world.engine.calls) == len(streams) + 1
