"""Warming: nothing serves before what it needs, and the old version serves meanwhile."""

from __future__ import annotations

import msgspec
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay._proto import pool
from mainstay.sidecar.convert.references import Kind, Reference
from mainstay.sidecar.convert.source import PATIENCE_MS, patience
from mainstay.sidecar.convert.table import Encoded
from mainstay.sidecar.warming import LINGER_MS, ORDER, Change, Demand, Offer, Warming

NEEDS: dict[Kind, tuple[Kind, ...]] = {
    "secret": (),
    "endpoints": (),
    "cluster": ("secret", "endpoints"),
    "route": ("cluster",),
    "generic_route": ("cluster",),
    "listener": ("secret", "cluster", "route", "generic_route"),
}


def resource(kind: Kind, name: str, *needs: Reference, version: str = "1") -> Encoded:
    return Encoded(kind, name, f"{version}:{sorted(needs)}", b"", frozenset(needs))


CLUSTER = resource("cluster", "c", ("endpoints", "c"))
ENDPOINTS = resource("endpoints", "c")
ROUTE = resource("route", "r", ("cluster", "c"))
LISTENER = resource("listener", "l", ("route", "r"))


def names(change: Change | None) -> list[str]:
    return [] if change is None else [encoded.name for encoded in change.upserts]


def run(warming: Warming, now: int = 0) -> list[Change]:
    """Takes changes and has them all applied, until there are no more."""
    found = []
    while (change := warming.take(now)) is not None:
        warming.applied()
        found.append(change)
    return found


def load(warming: Warming, *resources: Encoded) -> None:
    warming.offer(Offer(resources), 0)
    run(warming)


def test_a_cluster_waits_for_its_endpoints() -> None:
    warming = Warming()
    warming.offer(Offer((CLUSTER,)), 0)
    assert warming.take(0) is None
    assert warming.demand() == (Demand("endpoints", ("c",)),)
    warming.offer(Offer((ENDPOINTS,)), 0)
    assert [names(change) for change in run(warming)] == [["c"], ["c"]]


def test_everything_at_once_goes_out_level_by_level() -> None:
    warming = Warming()
    warming.offer(Offer((LISTENER, ROUTE, CLUSTER, ENDPOINTS)), 0)
    kinds = [[encoded.kind for encoded in change.upserts] for change in run(warming)]
    assert kinds == [["endpoints"], ["cluster"], ["route"], ["listener"]]


def test_the_old_route_serves_while_the_new_one_waits() -> None:
    warming = Warming()
    load(warming, LISTENER, ROUTE, CLUSTER, ENDPOINTS)
    moved = resource("route", "r", ("cluster", "new"))
    warming.offer(Offer((moved,)), 0)
    assert run(warming) == []
    assert warming.held()["route", "r"] == ROUTE.digest
    load(warming, resource("cluster", "new"))
    assert warming.held()["route", "r"] == moved.digest


def test_a_refused_version_leaves_the_old_one_and_its_needs() -> None:
    warming = Warming()
    load(warming, CLUSTER, ENDPOINTS)
    warming.offer(Offer((resource("cluster", "c", version="2"),)), 0)
    assert names(warming.take(0)) == ["c"]
    warming.applied([("cluster", "c")])
    assert warming.held()["cluster", "c"] == CLUSTER.digest
    assert warming.needed("endpoints") == ("c",)


def test_a_refused_cluster_keeps_routes_waiting() -> None:
    warming = Warming()
    warming.offer(Offer((resource("cluster", "c"), ROUTE)), 0)
    warming.take(0)
    warming.applied([("cluster", "c")])
    assert warming.take(0) is None
    assert [stuck.reference for stuck in warming.waiting()] == [("route", "r")]


def test_endpoints_go_when_their_cluster_goes() -> None:
    warming = Warming()
    load(warming, CLUSTER, ENDPOINTS)
    warming.demand()
    warming.offer(Offer(removals=(("cluster", "c"),)), 0)
    assert [change.removals for change in run(warming)] == [(("cluster", "c"),), (("endpoints", "c"),)]
    assert warming.demand() == (Demand("endpoints", ()),)


def test_a_cluster_stays_while_a_route_without_it_waits() -> None:
    warming = Warming()
    load(warming, LISTENER, ROUTE, CLUSTER, ENDPOINTS)
    warming.offer(Offer((resource("route", "r", ("cluster", "new")),)), 0)
    warming.offer(Offer(removals=(("cluster", "c"),)), 0)
    assert run(warming) == []
    warming.offer(Offer((resource("cluster", "new"),)), 0)
    removed = [reference for change in run(warming) for reference in change.removals]
    assert removed == [("cluster", "c"), ("endpoints", "c")]


def test_a_cluster_taken_from_under_a_route_lingers_for_a_successor() -> None:
    """Servers that send kinds one after the other take clusters away before they have sent the routes without them."""
    warming = Warming()
    load(warming, LISTENER, ROUTE, CLUSTER, ENDPOINTS)
    warming.offer(Offer(removals=(("cluster", "c"), ("endpoints", "c"))), 7)
    assert run(warming, LINGER_MS) == []
    assert warming.next_removal() == 7 + LINGER_MS
    load(warming, resource("cluster", "new"), resource("route", "r", ("cluster", "new")))
    assert not warming.holds(("cluster", "c"))
    assert not warming.holds(("endpoints", "c"))
    assert warming.next_removal() is None


def test_a_cluster_that_a_route_goes_on_naming_goes_in_the_end() -> None:
    warming = Warming()
    load(warming, LISTENER, ROUTE, CLUSTER, ENDPOINTS)
    warming.offer(Offer(removals=(("cluster", "c"),)), 0)
    assert ("cluster", "c") in run(warming, LINGER_MS)[0].removals


def test_what_lingers_satisfies_no_new_need_until_it_comes_back() -> None:
    warming = Warming()
    load(warming, LISTENER, ROUTE, CLUSTER, ENDPOINTS)
    warming.offer(Offer(removals=(("cluster", "c"),)), 0)
    load(warming, resource("route", "other", ("cluster", "c")), resource("listener", "m", ("route", "other")))
    assert not warming.holds(("route", "other"))
    load(warming, CLUSTER)
    assert warming.holds(("route", "other"))
    assert run(warming, LINGER_MS) == []


@pytest.mark.parametrize("reference", [("endpoints", "c"), ("route", "r")])
def test_a_removal_of_what_is_referred_to_waits_for_the_end_of_the_reference(reference: Reference) -> None:
    """As in Envoy, whose clusters and listeners ignore it: its deletion follows from theirs."""
    warming = Warming()
    load(warming, LISTENER, ROUTE, CLUSTER, ENDPOINTS)
    warming.offer(Offer(removals=(reference,)), 0)
    assert run(warming, 10 * LINGER_MS) == []
    assert warming.next_removal() is None
    warming.offer(Offer(removals=(("listener", "l"), ("cluster", "c"))), 0)
    run(warming, 10 * LINGER_MS)
    assert not warming.holds(reference)


def test_a_removed_name_that_comes_back_is_kept() -> None:
    warming = Warming()
    load(warming, CLUSTER, ENDPOINTS)
    warming.offer(Offer(removals=(("cluster", "c"),)), 0)
    warming.offer(Offer((CLUSTER,)), 0)
    assert run(warming) == []


def test_an_unchanged_resource_is_not_sent_again() -> None:
    warming = Warming()
    load(warming, CLUSTER, ENDPOINTS)
    warming.offer(Offer((CLUSTER, ENDPOINTS)), 0)
    assert run(warming) == []


def test_local_names_are_not_asked_for_and_stay() -> None:
    warming = Warming()
    warming.offer(Offer((resource("secret", "default"),), local=True), 0)
    load(warming, resource("listener", "l", ("secret", "default")))
    assert warming.demand() == (Demand("secret", ()),)
    warming.offer(Offer(removals=(("listener", "l"),)), 0)
    run(warming)
    assert warming.holds(("secret", "default"))


SECRET: Reference = ("secret", "s")


def test_long_waits_are_told_once_and_clusters_never_go_without_their_secrets() -> None:
    warming = Warming()
    warming.offer(Offer((resource("cluster", "c", SECRET),)), 5)
    assert warming.next_deadline() == 5 + PATIENCE_MS
    assert warming.stuck(PATIENCE_MS) == ()
    (stuck,) = warming.stuck(5 + PATIENCE_MS)
    assert (stuck.missing, stuck.goes_on) == ((SECRET,), False)
    assert warming.stuck(10 * PATIENCE_MS) == ()
    assert warming.next_deadline() is None
    assert run(warming, 10 * PATIENCE_MS) == []


def test_a_listener_goes_on_without_a_secret_that_never_comes() -> None:
    warming = Warming()
    patient = msgspec.structs.replace(resource("listener", "patient", SECRET), patience=((SECRET, None),))
    warming.offer(Offer((resource("listener", "l", SECRET), patient)), 5)
    assert run(warming, 4 + PATIENCE_MS) == []
    assert [names(change) for change in run(warming, 5 + PATIENCE_MS)] == [["l"]]
    told = {each.reference[1]: each.goes_on for each in warming.stuck(5 + PATIENCE_MS)}
    assert told == {"l": True, "patient": False}
    assert warming.needed("secret") == ("s",), "it is asked for as before"
    load(warming, resource("secret", "s"))
    assert warming.holds(("listener", "patient"))


def test_a_route_goes_on_without_a_cluster_that_never_comes() -> None:
    warming = Warming()
    warming.offer(Offer((LISTENER, ROUTE)), 5)
    assert run(warming, 4 + PATIENCE_MS) == []
    assert warming.next_deadline() == 5 + PATIENCE_MS
    changes = run(warming, 5 + PATIENCE_MS)
    assert [names(change) for change in changes] == [["r"], ["l"]]
    (stuck,) = warming.stuck(5 + PATIENCE_MS)
    assert (stuck.reference, stuck.missing, stuck.goes_on) == (("route", "r"), (("cluster", "c"),), True)
    assert (warming.waiting(), warming.next_deadline()) == ((), None)
    assert warming.needed("cluster") == ("c",), "it is asked for as before"
    # The next version waits no more for what did not come, but again once it has been there.
    next_version = resource("route", "r", ("cluster", "c"), version="2")
    warming.offer(Offer((next_version,)), 20_000)
    assert [names(change) for change in run(warming, 20_000)] == [["r"]]
    load(warming, resource("cluster", "c"))
    warming.offer(Offer(removals=(("cluster", "c"),)), 30_000)
    run(warming, 30_000 + LINGER_MS)
    warming.offer(Offer((resource("route", "r", ("cluster", "c"), version="3"),)), 50_000)
    assert run(warming, 50_000) == []
    assert warming.next_deadline() == 50_000 + PATIENCE_MS


def test_nobody_waits_for_a_cluster_where_none_can_come() -> None:
    warming = Warming(clusters_come=False)
    other = resource("route", "other", ("cluster", "d"))
    warming.offer(Offer((ROUTE, other, CLUSTER, ENDPOINTS), local=True), 0)
    assert [names(change) for change in run(warming)] == [["c", "other"], ["c"], ["r"]]


def test_a_listener_waits_for_routes_that_are_about_to_go_on() -> None:
    warming = Warming()
    warming.offer(Offer((LISTENER,)), 0)
    warming.offer(Offer((ROUTE,)), 9_000)
    assert run(warming, PATIENCE_MS) == []
    assert [names(change) for change in run(warming, 9_000 + PATIENCE_MS)] == [["r"], ["l"]]


def test_routes_of_rpc_are_waited_for_and_wait_as_those_of_http_do() -> None:
    warming = Warming()
    table = resource("generic_route", "r", ("cluster", "c"))
    listener = resource("listener", "l", ("generic_route", "r"))
    warming.offer(Offer((listener,)), 0)
    assert warming.needed("generic_route") == ("r",)
    assert warming.needed("route") == ()
    # One of HTTP that has the same name is another.
    warming.offer(Offer((resource("route", "r"),), local=True), 0)
    warming.offer(Offer((table,)), 9_000)
    assert [names(change) for change in run(warming, PATIENCE_MS)] == [["r"]]
    assert [names(change) for change in run(warming, 9_000 + PATIENCE_MS)] == [["r"], ["l"]]
    assert warming.holds(("generic_route", "r"))


def test_a_listener_goes_on_without_routes_that_never_come() -> None:
    warming = Warming()
    warming.offer(Offer((LISTENER,)), 0)
    assert [names(change) for change in run(warming, PATIENCE_MS)] == [["l"]]
    # Routes that come later serve at once.
    warming.offer(Offer((ROUTE, CLUSTER, ENDPOINTS)), 20_000)
    assert [names(change) for change in run(warming, 20_000)] == [["c"], ["c"], ["r"]]


@pytest.mark.parametrize("waits", [1_000, 60_000, None])
def test_a_source_says_how_long_it_is_waited_for(waits: int | None) -> None:
    warming = Warming()
    [need] = CLUSTER.needs
    cluster = Encoded("cluster", "c", "1", b"", CLUSTER.needs, patience=((need, waits),))
    warming.offer(Offer((cluster, ROUTE, LISTENER)), 0)
    if waits == 1_000:
        assert run(warming, waits - 1) == []
        assert [names(change) for change in run(warming, waits)] == [["c"], ["r"], ["l"]]
        return
    # Its route does not wait for longer than for one that nobody has heard of.
    assert [names(change) for change in run(warming, PATIENCE_MS)] == [["r"], ["l"]]
    assert [stuck.reference for stuck in warming.waiting()] == [("cluster", "c")]
    assert warming.stuck(PATIENCE_MS) != ()
    assert warming.next_deadline() == waits
    late = [] if waits is None else [["c"]]
    assert [names(change) for change in run(warming, 100 * PATIENCE_MS)] == late


@pytest.mark.parametrize(
    ("text", "waits"),
    [({}, PATIENCE_MS), ({"initialFetchTimeout": "2s"}, 2_000), ({"initialFetchTimeout": "0s"}, None)],
)
def test_how_long_it_is_waited_for_stands_in_its_source(text: dict[str, str], waits: int | None) -> None:
    source = pool.message_class("envoy.config.core.v3.ConfigSource")()
    assert patience(json_format.ParseDict(text, source)) == waits


REFERENCES = st.builds(lambda kind, name: (kind, name), st.sampled_from(ORDER), st.sampled_from("abc"))


@st.composite
def resources(draw: st.DrawFn) -> Encoded:
    kind = draw(st.sampled_from(ORDER))
    needs: tuple[Reference, ...] = ()
    if NEEDS[kind]:
        choice = st.tuples(st.sampled_from(NEEDS[kind]), st.sampled_from("abc"))
        needs = tuple(draw(st.sets(choice, max_size=3)))
    return resource(kind, draw(st.sampled_from("abc")), *needs, version=draw(st.sampled_from("12")))


STEPS = st.lists(
    st.one_of(
        st.lists(resources(), min_size=1, max_size=4).map(lambda found: ("offer", found)),
        REFERENCES.map(lambda reference: ("remove", reference)),
        st.booleans().map(lambda refuse: ("turn", refuse)),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=300)
@given(STEPS)
def test_whatever_comes_nothing_goes_out_before_its_needs(steps: list[tuple[str, object]]) -> None:
    """A model of the engine watches: needs of every upsert are there, removals are of what is there."""
    warming = Warming()
    engine: dict[Reference, Encoded] = {}
    newest: dict[Reference, Encoded | None] = {}
    refused_some = False

    def turn(refuse: bool, now: int = 0) -> bool:
        nonlocal refused_some
        change = warming.take(now)
        if change is None:
            return False
        for reference in change.removals:
            assert reference in engine
            del engine[reference]
        refused = []
        for index, encoded in enumerate(change.upserts):
            assert all(need in engine for need in encoded.needs)
            if refuse and index == 0:
                refused_some = True
                refused.append((encoded.kind, encoded.name))
        for encoded in change.upserts:
            if (encoded.kind, encoded.name) not in refused:
                engine[encoded.kind, encoded.name] = encoded
        warming.applied(refused)
        assert warming.held() == {reference: encoded.digest for reference, encoded in engine.items()}
        return True

    for what, value in steps:
        if what == "offer":
            assert isinstance(value, list)
            unique = {(encoded.kind, encoded.name): encoded for encoded in value}
            warming.offer(Offer(tuple(unique.values())), 0)
            newest.update(unique)
        elif what == "remove":
            assert isinstance(value, tuple)
            warming.offer(Offer(removals=(value,)), 0)
            newest[value] = None
        else:
            turn(bool(value))
    turns = 0
    while turn(refuse=False, now=LINGER_MS):
        turns += 1
        assert turns < 100, "it must come to rest"
    for reference, encoded in engine.items():
        wanted = newest[reference]
        if not refused_some and wanted is not None and all(need in engine for need in wanted.needs):
            assert encoded.digest == wanted.digest
    for reference in engine:
        if newest[reference] is None and reference[0] in ("cluster", "listener"):
            assert any(
                reference in encoded.needs and stuck.reference == user and reference not in stuck.missing
                for user, encoded in engine.items()
                for stuck in warming.waiting()
            ), "removed, and no successor of a user waits"
    waiting = {stuck.reference: stuck.missing for stuck in warming.waiting()}
    for missing in waiting.values():
        assert missing
        assert all(need not in engine for need in missing)
