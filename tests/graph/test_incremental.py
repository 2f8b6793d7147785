"""Random edits, demands and interrupted rounds leave the graph equal to one built from scratch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.graph import (
    Cause,
    Derived,
    Graph,
    GraphError,
    Input,
    More,
    Pace,
    Reader,
    Refused,
    Settled,
    build_merge,
)


class StepClock:
    """Each look at the clock takes a millisecond, so budgets run out at places that Hypothesis picks."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


class Mesh:
    """A small mesh: services of two sources, endpoints by service, totals by label, on-demand views over
    them."""

    def __init__(self) -> None:
        self.graph = Graph(StepClock(), lambda collection, key, error: f"{collection} {key}: {error}")
        self.files: Input[str, int] = self.graph.input("files")
        self.store: Input[str, int] = self.graph.input("store")
        self.endpoints: Input[tuple[str, int], int] = self.graph.input("endpoints")
        self.services = build_merge(self.graph, "services", [self.files, self.store])
        self.of_service = self.graph.index("of_service", self.endpoints, lambda key, _: [key[0]])
        self.by_parity = self.graph.index("by_parity", self.services, lambda _, value: [value % 2])
        self.runs: list[tuple[str, Any]] = []

        def compute_cluster(key: str, read: Reader) -> Any:
            self.runs.append(("clusters", key))
            service = read.get(self.services, key)
            rows = read.by(self.of_service, key)
            if service == 3:
                return Refused((f"{key} is 3",))
            if service == 4 and rows:
                raise ValueError("four")
            return (service, tuple(rows))

        def compute_parity(key: int, read: Reader) -> Any:
            self.runs.append(("parity", key))
            return tuple((name, read.get(self.clusters, name)) for name in read.keys(self.by_parity, key))

        def compute_half(key: int, read: Reader) -> Any:
            self.runs.append(("halves", key))
            found = read.get(self.parity, key % 2)
            return found[: len(found) // 2 + key] if found else None

        def compute_view(key: int, read: Reader) -> Any:
            self.runs.append(("views", key))
            first = read.get(self.halves, key)
            return (first, read.get(self.halves, key + 2)) if first and len(first) > 1 else first

        self.clusters: Derived[str, Any] = self.graph.derived(
            "clusters",
            compute_cluster,
            reads=[self.services, self.endpoints, self.of_service],
            each=[self.services],
        )
        self.parity: Derived[int, Any] = self.graph.derived(
            "parity", compute_parity, reads=[self.by_parity, self.clusters], each=[self.by_parity]
        )
        self.halves: Derived[int, Any] = self.graph.derived("halves", compute_half, reads=[self.parity])
        self.views: Derived[int, Any] = self.graph.derived("views", compute_view, reads=[self.halves])

    def settle(self) -> Settled:
        while isinstance(settled := self.graph.settle(), More):
            pass
        return settled

    def facts(self) -> dict[str, Any]:
        made = {
            name: dict(getattr(self, name).items()) for name in ("services", "clusters", "parity", "views")
        }
        made["problems"] = {key: self.clusters.problems(key) for key in self.clusters.refused_keys()}
        return made


NAMES = st.sampled_from(["a", "b", "c", "d"])
EDITS = st.one_of(
    st.tuples(st.sampled_from(["files", "store"]), NAMES, st.none() | st.integers(0, 4)),
    st.tuples(st.just("endpoints"), st.tuples(NAMES, st.integers(0, 3)), st.none() | st.integers(0, 3)),
    st.tuples(st.just("want"), st.integers(0, 3), st.none()),
    st.tuples(st.just("release"), st.integers(0, 3), st.none()),
    st.tuples(st.just("settle"), st.integers(1, 30), st.none()),
    st.tuples(st.just("expire"), st.integers(0, 120_000), st.none()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(EDITS, max_size=60))
def test_random_edits_equal_a_graph_from_scratch(edits: list[tuple[str, Any, Any]]) -> None:
    mesh = Mesh()
    now = 0
    wanted: list[int] = []
    inputs: dict[str, dict[Any, Any]] = {"files": {}, "store": {}, "endpoints": {}}
    open_round = False
    for verb, key, value in edits:
        if verb == "want":
            mesh.graph.want(mesh.views, key)
            wanted.append(key)
        elif verb == "release":
            if key in wanted:
                wanted.remove(key)
                mesh.graph.release(mesh.views, key, now)
        elif verb == "settle":
            before = mesh.facts()
            outcome = mesh.graph.settle(budget_ms=key)
            open_round = isinstance(outcome, More)
            if open_round:
                assert mesh.facts() == before, "half a round was seen outside"
        elif verb == "expire":
            now += key
            if not open_round:
                mesh.graph.expire(now)
        elif value is None:
            inputs[verb].pop(key, None)
            getattr(mesh, verb).remove(key)
        else:
            inputs[verb][key] = value
            getattr(mesh, verb).set(key, value)
    mesh.settle()
    mesh.settle()
    for later in (
        1_000_000,
        2_000_000,
        3_000_000,
    ):  # a view, then what it pulled begins to linger, then leaves
        mesh.graph.expire(now + later)

    fresh = Mesh()
    for name, values in inputs.items():
        for key, value in values.items():
            getattr(fresh, name).set(key, value)
    for key in wanted:
        fresh.graph.want(fresh.views, key)
    fresh.settle()
    assert mesh.facts() == fresh.facts()
    assert dict(mesh.halves.items()) == dict(fresh.halves.items())


def loaded() -> Mesh:
    mesh = Mesh()
    mesh.files.set("a", 1, Cause("files", "Service a", "7", "ann"))
    mesh.files.set("b", 2)
    mesh.endpoints.set(("a", 0), 1)
    mesh.graph.want(mesh.views, 1)
    mesh.settle()
    mesh.runs.clear()
    return mesh


def test_only_dependants_recompute() -> None:
    mesh = loaded()
    mesh.endpoints.set(("b", 0), 9)
    settled = mesh.settle()
    assert mesh.runs == [("clusters", "b"), ("parity", 0)]
    assert settled.changed == {
        "endpoints": frozenset({("b", 0)}),
        "clusters": frozenset("b"),
        "parity": frozenset({0}),
    }


def test_equal_results_wake_nobody() -> None:
    mesh = loaded()
    mesh.store.set("a", 5)  # loses against the file's value
    settled = mesh.settle()
    assert mesh.runs == []
    assert settled.changed == {"store": frozenset("a")}
    mesh.files.set("a", 1)
    assert mesh.settle().changed == {}


def test_refused_key_keeps_last_good_value_if_its_kind_allows() -> None:
    graph = Graph(StepClock(), lambda *_: "bug")
    numbers: Input[str, int] = graph.input("numbers")

    def compute(key: str, read: Reader) -> int | Refused | None:
        number = read.get(numbers, key)
        return Refused(("odd",)) if number is not None and number % 2 else number

    routing = graph.derived("routing", compute, reads=[numbers], each=[numbers], keep_last=True)
    security = graph.derived("security", compute, reads=[numbers], each=[numbers])
    numbers.set("x", 2)
    graph.settle()
    numbers.set("x", 3)
    settled = graph.settle()
    assert isinstance(settled, Settled)
    assert settled.changed["routing"] == {"x"}, "a refusal is a change, for status shows it"
    assert (routing.get("x"), routing.problems("x")) == (2, ("odd",))
    assert (security.get("x"), security.problems("x")) == (None, ("odd",))
    numbers.set("x", 4)
    graph.settle()
    assert (routing.get("x"), routing.refused_keys()) == (4, [])


def test_exception_in_compute_fails_its_key_alone() -> None:
    mesh = loaded()
    mesh.files.set("a", 4)
    mesh.settle()
    assert mesh.clusters.problems("a") == ("clusters a: four",)
    assert mesh.clusters.get("b") == (2, ())
    assert mesh.graph.exceptions == 1


def test_why_walks_back_to_the_write() -> None:
    mesh = loaded()
    chain = mesh.graph.ring.find_chain("views", 1)
    mesh.files.set("a", 7, Cause("files", "Service a", "8", "bob"))
    mesh.settle()
    chain = mesh.graph.ring.find_chain("views", 1)
    assert [step.collection for step in chain] == [
        "views",
        "halves",
        "parity",
        "clusters",
        "services",
        "files",
    ]
    assert chain[-1].write == Cause("files", "Service a", "8", "bob")


def test_on_demand_keys_linger_then_leave_with_what_they_pulled() -> None:
    mesh = loaded()
    mesh.graph.release(mesh.views, 1, now=1_000)
    mesh.graph.expire(now=60_999)
    assert dict(mesh.views.items())
    mesh.graph.expire(now=61_000)
    assert not dict(mesh.views.items())
    mesh.graph.expire(now=61_000)
    assert dict(mesh.halves.items())
    mesh.graph.expire(now=121_000)
    assert not dict(mesh.halves.items())


def test_reading_what_was_not_declared_is_a_programming_error() -> None:
    graph = Graph(StepClock(), lambda *_: "bug")
    first: Input[str, int] = graph.input("first")
    second: Input[str, int] = graph.input("second")
    graph.derived("wrong", lambda key, read: read.get(second, key), reads=[first], each=[first])
    first.set("x", 1)
    with pytest.raises(GraphError, match="second is read but not declared"):
        graph.settle()


def test_pace_is_immediate_after_quiet_and_bounded_under_storm() -> None:
    pace = Pace()
    assert pace.due(5_000) is None
    pace.note_change()
    assert pace.due(5_000) == 5_000
    pace.note_round(ended=5_002, cost_ms=2)
    assert pace.due(5_003) is None
    pace.note_change()
    assert pace.due(5_003) == 5_012
    pace.note_round(ended=6_000, cost_ms=90_000)
    pace.note_change()
    assert pace.due(6_001) == 7_000
