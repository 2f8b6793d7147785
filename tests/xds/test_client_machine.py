"""The client machine alone."""

from __future__ import annotations

from typing import TypeVar

import pytest
from model_mesh import NODE, make, sent, url

from mainstay.xds import messages
from mainstay.xds.client.backoff import Backoff
from mainstay.xds.client.stream import ClientStream
from mainstay.xds.client.types import (
    ApplicationChanged,
    Cancel,
    Closed,
    Command,
    HealthChanged,
    Judged,
    Lost,
    Missing,
    Moved,
    Offered,
    Open,
    Received,
    Refusal,
    SetTimer,
    Started,
    Stopped,
    TimerFired,
    Wanted,
)
from mainstay.xds.types import APPLICATION_URL, HEALTH_URL, Kind, path

C = TypeVar("C")


def client(variant: str = "delta", **options: object) -> ClientStream:
    return ClientStream(NODE, lambda: 0.5, variant=variant, **options)  # type: ignore[arg-type]


def only(commands: list[Command], kind: type[C]) -> C:
    found = [command for command in commands if isinstance(command, kind)]
    assert len(found) == 1, commands
    return found[0]


def delta_requests(commands: list[Command]) -> list[messages.DeltaRequest]:
    return [messages.decode_delta_request(each) for each in sent(commands)]


def sotw_requests(commands: list[Command]) -> list[messages.SotwRequest]:
    return [messages.decode_sotw_request(each) for each in sent(commands)]


def delta(kind: Kind, nonce: str, resources: dict[str, str], removed: tuple[str, ...] = ()) -> Received:
    entries = []
    for name, salt in resources.items():
        resource = make(kind, name, salt)
        entries.append(messages.delta_entry(url(kind), name, resource.version.hex(), resource.body))
    return Received(messages.encode_delta_response(url(kind), "", nonce, entries, removed))


def sotw(kind: Kind, nonce: str, version: str, resources: dict[str, str]) -> Received:
    entries = [
        messages.sotw_entry(url(kind), make(kind, name, salt).body) for name, salt in resources.items()
    ]
    return Received(messages.encode_sotw_response(url(kind), version, nonce, entries))


def test_asks_in_order_and_says_its_node_once() -> None:
    machine = client()
    for kind in ("route", "listener", "endpoint", "cluster"):
        names = frozenset() if kind in ("listener", "cluster") else frozenset({"x"})
        assert machine.handle(Wanted(kind, names, wildcard=not names), 0) == []
    commands = machine.handle(Started(), 0)
    assert commands[0] == Open(path("delta"))
    requests = delta_requests(commands)
    assert [request.url for request in requests] == [
        url("cluster"),
        url("endpoint"),
        url("listener"),
        url("route"),
    ]
    assert [request.node is not None for request in requests] == [True, False, False, False]
    assert requests[0].subscribe == ()
    assert requests[1].subscribe == ("x",)


def test_says_its_node_always_to_a_server_that_does_not_remember_it() -> None:
    machine = client("sotw", node_always=True)
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Wanted("endpoint", frozenset({"a"})), 0)
    requests = sotw_requests(machine.handle(Started(), 0))
    offered = only(machine.handle(sotw("cluster", "1", "v1", {"a": "1"}), 0), Offered)
    requests += sotw_requests(machine.handle(Judged(offered.token), 0))
    assert len(requests) == 3
    assert all(request.node is not None for request in requests)


def test_says_nothing_of_a_kind_nobody_wants() -> None:
    machine = client()
    machine.handle(Wanted("endpoint"), 0)
    assert sent(machine.handle(Started(), 0)) == []


def test_accepted_response_is_acknowledged_after_its_verdict() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    commands = machine.handle(delta("cluster", "n1", {"a": "1"}), 0)
    assert sent(commands) == []
    offered = only(commands, Offered)
    assert [offer.name for offer in offered.upserts] == ["a"]
    answer = delta_requests(machine.handle(Judged(offered.token), 0))
    assert [(each.nonce, each.error) for each in answer] == [("n1", None)]
    assert set(machine.held("cluster")) == {"a"}


def test_refused_resource_is_named_on_a_line_and_keeps_its_last_good_version() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    first = only(machine.handle(delta("cluster", "1", {"a": "1", "b": "1"}), 0), Offered)
    machine.handle(Judged(first.token), 0)
    good = dict(machine.held("cluster"))
    second = only(machine.handle(delta("cluster", "2", {"a": "2", "b": "2", "c": "2"}), 0), Offered)
    verdict = Judged(
        second.token, (Refusal("a", "lb_policy", "is unknown\nhere"), Refusal("c", "", "too large"))
    )
    answer = delta_requests(machine.handle(verdict, 0))
    assert answer[0].error == "a: lb_policy: is unknown here\nc: too large"
    assert machine.held("cluster")["a"] == good["a"]
    assert machine.held("cluster")["b"] != good["b"]
    assert "c" not in machine.held("cluster")


def test_resume_tells_what_is_held() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    offered = only(machine.handle(delta("cluster", "1", {"a": "1"}), 0), Offered)
    machine.handle(Judged(offered.token), 0)
    lost = only(machine.handle(Closed(14, "gone"), 100), Lost)
    assert lost.retry_at == 350
    assert machine.handle(TimerFired(), 200) == [SetTimer(350)]
    request = delta_requests(machine.handle(TimerFired(), 350))[0]
    assert request.held == dict(machine.held("cluster"))
    assert request.nonce == ""
    assert request.node is not None


def test_moving_to_another_connection_resumes_at_once_however_often() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    offered = only(machine.handle(delta("cluster", "1", {"a": "1"}), 0), Offered)
    machine.handle(Judged(offered.token), 0)
    for now in range(1_000, 10_000, 1_000):
        commands = machine.handle(Moved(), now)
        assert not [command for command in commands if isinstance(command, Lost)]
        [request] = delta_requests(commands)
        assert request.held == dict(machine.held("cluster"))
        assert request.node is not None
    assert only(machine.handle(Closed(14, "gone"), 10_000), Lost).retry_at - 10_000 <= 500


def test_a_stream_that_lasted_with_nothing_to_say_is_no_failure() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    now = 0
    for _ in range(6):
        lost = only(machine.handle(Closed(14, "aged"), now + 1_800_000), Lost)
        assert lost.retry_at - (now + 1_800_000) <= 500
        now = lost.retry_at
        machine.handle(TimerFired(), now)


def test_versions_from_disk_are_told_as_held() -> None:
    machine = client(held={"cluster": {"a": "77"}})
    machine.handle(Wanted("cluster", wildcard=True), 0)
    assert delta_requests(machine.handle(Started(), 0))[0].held == {"a": "77"}


def test_verdict_after_the_connection_ended_counts_and_is_told_to_nobody() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    offered = only(machine.handle(delta("cluster", "1", {"a": "1"}), 0), Offered)
    machine.handle(Closed(14, ""), 0)
    machine.handle(TimerFired(), 1_000)
    assert sent(machine.handle(Judged(offered.token), 1_000)) == []
    assert set(machine.held("cluster")) == {"a"}


def test_what_has_no_verdict_yet_is_told_on_resume_so_that_its_removal_is_heard_of() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    offered = only(machine.handle(delta("cluster", "1", {"a": "1"}), 0), Offered)
    machine.handle(Closed(14, ""), 0)
    commands = machine.handle(TimerFired(), 1_000) + machine.handle(Started(), 1_000)
    assert delta_requests(commands)[0].held == {"a": offered.upserts[0].version}


def test_sotw_absence_removes_also_what_has_no_verdict_yet() -> None:
    machine = client("sotw")
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    machine.handle(sotw("cluster", "1", "v1", {"a": "1", "b": "1"}), 0)
    second = only(machine.handle(sotw("cluster", "2", "v2", {"b": "2"}), 0), Offered)
    assert second.removals == ("a",)


def test_backoff_doubles_to_its_cap_and_begins_anew_after_a_response() -> None:
    backoff = Backoff(lambda: 0.999_999)
    assert [backoff.next_delay() for _ in range(8)] == [499, 999, 1999, 3999, 7999, 15999, 29999, 29999]
    backoff.reset()
    assert backoff.next_delay() == 499


def test_subscriptions_follow_what_is_wanted() -> None:
    machine = client()
    machine.handle(Started(), 0)
    assert delta_requests(machine.handle(Wanted("endpoint", frozenset({"a", "b"})), 0))[0].subscribe == (
        "a",
        "b",
    )
    changed = delta_requests(machine.handle(Wanted("endpoint", frozenset({"b", "c"})), 0))[0]
    assert (changed.subscribe, changed.unsubscribe) == (("c",), ("a",))
    assert sent(machine.handle(Wanted("endpoint", frozenset({"b", "c"})), 0)) == []


def test_late_answer_for_a_name_no_longer_wanted_is_left_out() -> None:
    machine = client()
    machine.handle(Started(), 0)
    machine.handle(Wanted("endpoint", frozenset({"a", "b"})), 0)
    machine.handle(Wanted("endpoint", frozenset({"b"})), 0)
    offered = only(machine.handle(delta("endpoint", "1", {"a": "1", "b": "1"}), 0), Offered)
    assert [offer.name for offer in offered.upserts] == ["b"]


def test_sotw_absence_removes_what_has_full_state() -> None:
    machine = client("sotw")
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Wanted("endpoint", frozenset({"x", "y"})), 0)
    machine.handle(Started(), 0)
    first = only(machine.handle(sotw("cluster", "1", "v1", {"a": "1", "b": "1"}), 0), Offered)
    request = sotw_requests(machine.handle(Judged(first.token), 0))[0]
    assert (request.version, request.nonce, request.names) == ("v1", "1", ())
    second = only(machine.handle(sotw("cluster", "2", "v2", {"b": "1"}), 0), Offered)
    assert (second.upserts, second.removals) == ((), ("a",))
    endpoints = only(machine.handle(sotw("endpoint", "1", "v1", {"x": "1"}), 0), Offered)
    machine.handle(Judged(endpoints.token), 0)
    more = only(machine.handle(sotw("endpoint", "2", "v2", {"y": "1"}), 0), Offered)
    assert ([offer.name for offer in more.upserts], more.removals) == (["y"], ())


@pytest.mark.parametrize("status", [3, 7, 12, 16])
def test_server_that_says_no_is_asked_slowly_and_more_and_more_so(status: int) -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    now, delays = 0, []
    for _ in range(6):
        lost = only(machine.handle(Closed(status, "no such gateway"), now), Lost)
        assert lost.refused
        delays.append(lost.retry_at - now)
        now = lost.retry_at
        machine.handle(TimerFired(), now)
        assert machine.connected
    assert delays[0] >= 5_000
    assert delays == sorted(delays)
    assert 60_000 <= delays[-1] <= 120_000
    machine.handle(delta("cluster", "1", {"a": "1"}), now)
    assert only(machine.handle(Closed(14, "gone"), now), Lost).retry_at - now <= 500


def test_sotw_refusal_tells_the_last_accepted_version() -> None:
    machine = client("sotw")
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    first = only(machine.handle(sotw("cluster", "1", "v1", {"a": "1"}), 0), Offered)
    machine.handle(Judged(first.token), 0)
    second = only(machine.handle(sotw("cluster", "2", "v2", {"a": "2"}), 0), Offered)
    request = sotw_requests(machine.handle(Judged(second.token, (Refusal("a", "", "bad"),)), 0))[0]
    assert (request.version, request.nonce, request.error) == ("v1", "2", "a: bad")


def test_duplicate_names_are_refused_at_once() -> None:
    machine = client("sotw")
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    body = make("cluster", "a").body
    entry = messages.sotw_entry(url("cluster"), body)
    twice = Received(messages.encode_sotw_response(url("cluster"), "v", "1", [entry, entry]))
    commands = machine.handle(twice, 0)
    assert sotw_requests(commands)[0].error == "a: is in the response twice"
    assert not any(isinstance(command, Offered) for command in commands)


def test_response_that_makes_no_sense_ends_the_stream() -> None:
    machine = client("sotw")
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    commands = machine.handle(Received(b"\xff"), 0)
    assert only(commands, Cancel)
    assert only(commands, Lost).status == 13
    assert not machine.connected


@pytest.mark.parametrize(
    ("of", "body"), [("route", b""), ("cluster", b"\x0a\xff\xff")], ids=["another type", "no message"]
)
def test_resource_that_cannot_be_read_costs_its_response_alone(of: Kind, body: bytes) -> None:
    machine = client("sotw")
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    entry = messages.sotw_entry(url(of), body)
    commands = machine.handle(Received(messages.encode_sotw_response(url("cluster"), "v", "1", [entry])), 0)
    (request,) = sotw_requests(commands)
    assert request.nonce == "1"
    assert request.error is not None
    assert request.error.startswith("resource 1 cannot be read")
    assert only(machine.handle(sotw("cluster", "2", "w", {"a": "1"}), 0), Offered)


def test_sotw_removal_counts_though_the_response_before_it_is_not_judged() -> None:
    machine = client("sotw")
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    first = only(machine.handle(sotw("cluster", "1", "v1", {"a": "1", "b": "1"}), 0), Offered)
    second = only(machine.handle(sotw("cluster", "2", "v2", {"b": "1"}), 0), Offered)
    assert second.removals == ("a",)
    machine.handle(Judged(second.token), 0)
    machine.handle(Judged(first.token), 0)
    assert set(machine.held("cluster")) == {"b"}
    (change,) = sotw_requests(machine.handle(Wanted("cluster", frozenset({"b"})), 0))
    assert change.version == "v2"


def test_version_that_comes_back_before_the_verdict_on_its_successor_is_offered_again() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    first = only(machine.handle(delta("cluster", "1", {"a": "1"}), 0), Offered)
    machine.handle(Judged(first.token), 0)
    changed = only(machine.handle(delta("cluster", "2", {"a": "2"}), 0), Offered)
    back = only(machine.handle(delta("cluster", "3", {"a": "1"}), 0), Offered)
    assert [offer.version for offer in back.upserts] == [offer.version for offer in first.upserts]
    machine.handle(Judged(changed.token), 0)
    assert machine.held("cluster")["a"] == first.upserts[0].version


def test_sotw_names_wait_for_the_verdict_and_go_with_it() -> None:
    """A request with the nonce of a response would be taken for its verdict."""
    machine = client("sotw")
    machine.handle(Wanted("route", frozenset({"a"})), 0)
    machine.handle(Started(), 0)
    offered = only(machine.handle(sotw("route", "1", "v1", {"a": "1"}), 0), Offered)
    assert sotw_requests(machine.handle(Wanted("route", frozenset({"a", "b"})), 0)) == []
    (verdict,) = sotw_requests(machine.handle(Judged(offered.token), 0))
    assert (verdict.nonce, verdict.version, set(verdict.names)) == ("1", "v1", {"a", "b"})


def test_name_that_gets_no_answer_is_missing_once() -> None:
    machine = client("sotw")
    machine.handle(Started(), 0)
    commands = machine.handle(Wanted("endpoint", frozenset({"a", "b"}), wait=15_000), 0)
    assert only(commands, SetTimer).at == 15_000
    machine.handle(sotw("endpoint", "1", "v", {"a": "1"}), 5_000)
    assert only(machine.handle(TimerFired(), 15_000), Missing) == Missing("endpoint", ("b",))
    assert machine.handle(TimerFired(), 40_000) == []


def test_what_is_held_is_not_missed_after_a_reconnect() -> None:
    machine = client()
    machine.handle(Wanted("endpoint", frozenset({"a"}), wait=15_000), 0)
    machine.handle(Started(), 0)
    offered = only(machine.handle(delta("endpoint", "1", {"a": "1"}), 0), Offered)
    machine.handle(Judged(offered.token), 0)
    machine.handle(Closed(14, ""), 0)
    machine.handle(TimerFired(), 1_000)
    assert machine.connected
    assert machine.handle(TimerFired(), 60_000) == []


def test_health_is_told_now_and_after_a_reconnect() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    now = delta_requests(machine.handle(HealthChanged(False, "draining"), 0))
    assert [(each.url, each.error) for each in now] == [(HEALTH_URL, "draining")]
    machine.handle(Closed(14, ""), 0)
    again = delta_requests(machine.handle(TimerFired(), 30_000))
    assert [each.url for each in again] == [url("cluster"), HEALTH_URL]
    well = delta_requests(machine.handle(HealthChanged(True), 30_000))
    assert [each.error for each in well] == [None]


def test_what_an_application_publishes_is_told_now_and_after_a_reconnect_before_the_health() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    machine.handle(HealthChanged(True), 0)
    now = delta_requests(machine.handle(ApplicationChanged("first"), 0))
    assert [(each.url, each.subscribe, each.error) for each in now] == [(APPLICATION_URL, ("first",), None)]
    machine.handle(Closed(14, ""), 0)
    assert machine.handle(ApplicationChanged("second"), 0) == []
    again = delta_requests(machine.handle(TimerFired(), 30_000))
    assert [each.url for each in again] == [url("cluster"), APPLICATION_URL, HEALTH_URL]
    assert again[1].subscribe == ("second",)


def test_stopped_stays_stopped() -> None:
    machine = client()
    machine.handle(Wanted("cluster", wildcard=True), 0)
    machine.handle(Started(), 0)
    assert machine.handle(Stopped(), 0) == [Cancel()]
    assert machine.handle(Closed(1, ""), 0) == []
    assert machine.handle(TimerFired(), 100_000) == []


def test_names_are_read_from_bytes_as_protobuf_reads_them() -> None:
    assert messages.name_of_body(make("listener", "0.0.0.0_8080", "x").body) == "0.0.0.0_8080"
    assert messages.name_of_body(b"") == ""
    for damaged in (b"\x0a", b"\x0a\x05ab", b"\x0b", b"\xff" * 11):
        with pytest.raises(ValueError, match="malformed"):
            messages.name_of_body(damaged)


def test_node_survives_the_wire() -> None:
    node = messages.Node(
        "id",
        "c",
        {"LABELS": {"app": "x"}, "N": 1.5, "B": True, "L": ["a", None]},
        "mainstay/1.2",
        "r",
        "z",
        "s",
    )
    wire = messages.encode_delta_request(url("cluster"), (), (), {}, "", messages.encode_node(node))
    assert messages.decode_delta_request(wire).node == node
