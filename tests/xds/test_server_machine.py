"""The server machine alone: transcripts, and what they cannot tell."""

from __future__ import annotations

import pytest
from model_mesh import NODE, SmallView, make, read_back, url
from transcripts import TRANSCRIPTS, Ends, Receives, Sends, SendsNothing, Shows, Transcript, Waits

from mainstay.xds import messages
from mainstay.xds.server.planner import CUT_BYTES
from mainstay.xds.server.stream import ServerStream
from mainstay.xds.server.types import (
    Answered,
    ApplicationReported,
    Close,
    Command,
    Demanded,
    Event,
    HealthReported,
    Opened,
    RequestReceived,
    Send,
    SetTimer,
    Tick,
    TurnCame,
    UnknownType,
    ViewChanged,
    Work,
    WriteFinished,
)
from mainstay.xds.types import APPLICATION_URL, HEALTH_URL, ORDER, Kind, Variant


class Driver:
    """Drives one machine as `serve_grpcio` does, with a clock of its own."""

    def __init__(self, variant: Variant = "delta", kinds: tuple[Kind, ...] = ORDER) -> None:
        self.variant: Variant = variant
        self.machine = ServerStream(variant, kinds)
        self.now = 0
        self.node_sent = False
        self.messages: list[messages.Response] = []
        self.commands: list[Command] = []
        self.last: dict[str, messages.Response] = {}
        self.timer: int | None = None

    def tell(self, event: Event) -> list[Command]:
        commands = self.machine.handle(event, self.now)
        self.commands.extend(commands)
        for command in commands:
            if isinstance(command, SetTimer):
                self.timer = command.at
        if any(isinstance(command, Work) for command in commands):
            turn = self.machine.handle(TurnCame(), self.now)
            for command in turn:
                self.commands.append(command)
                if isinstance(command, SetTimer):
                    self.timer = command.at
                if isinstance(command, Send):
                    response = messages.decode_response(self.variant, command.message)
                    self.messages.append(response)
                    self.last[response.url] = response
                    self.tell(WriteFinished())
        return commands

    def receive(self, step: Receives) -> list[Command]:
        last = self.last.get(url(step.kind))
        nonce = last.nonce if step.nonce == "last" and last else step.nonce
        version = last.version if step.version == "last" and last else step.version
        node = b"" if self.node_sent else NODE
        self.node_sent = True
        return self.tell(RequestReceived(encode(self.variant, step, nonce, version, node)))

    def wait(self, ms: int) -> None:
        self.now += ms
        self.tell(Tick())

    def ended(self) -> Close | None:
        return next((command for command in self.commands if isinstance(command, Close)), None)


def encode(variant: Variant, step: Receives, nonce: str, version: str, node: bytes) -> bytes:
    kind_url = url(step.kind)
    if variant == "sotw":
        return messages.encode_sotw_request(kind_url, version, step.names, nonce, node, step.error)
    return messages.encode_delta_request(
        kind_url, step.names, step.unsubscribe, step.held, nonce, node, step.error
    )


def salts(response: messages.Response) -> dict[str, str]:
    return {each.name: read_back(each.body)[0] for each in response.resources if each.body is not None}


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_transcript(transcript: Transcript) -> None:
    driver = Driver(transcript.variant, (transcript.only,) if transcript.only else ORDER)
    for number, step in enumerate(transcript.steps):
        where = f"step {number}: {step}"
        match step:
            case Shows():
                driver.tell(ViewChanged(step.view, step.names))
            case Receives():
                driver.receive(step)
            case Sends():
                assert driver.messages, where
                response = driver.messages.pop(0)
                assert (response.url, salts(response)) == (url(step.kind), step.resources), where
                assert response.removed == step.removed or transcript.variant == "sotw", where
            case SendsNothing():
                assert not driver.messages, where
            case Waits():
                driver.wait(step.ms)
            case Ends():
                end = driver.ended()
                assert end is not None, where
                assert end.status == step.status
    assert not driver.messages


def test_first_request_without_node_ends_the_stream() -> None:
    machine = ServerStream("delta", ORDER)
    commands = machine.handle(
        RequestReceived(messages.encode_delta_request(url("cluster"), (), (), {}, "")), 0
    )
    assert [command.status for command in commands if isinstance(command, Close)] == [3]
    assert machine.handle(ViewChanged(SmallView()), 0) == []


def test_bytes_that_are_no_request_end_the_stream() -> None:
    commands = ServerStream("sotw", ORDER).handle(RequestReceived(b"\xff\xff"), 0)
    assert [type(command) for command in commands] == [Close]


def test_node_is_told_once() -> None:
    driver = Driver()
    driver.receive(Receives("cluster"))
    driver.receive(Receives("listener"))
    opened = [command for command in driver.commands if isinstance(command, Opened)]
    assert len(opened) == 1
    assert opened[0].node.metadata == {"NAMESPACE": "shop"}
    assert opened[0].node.user_agent == "mainstay/0.1"


def test_explicit_names_are_demanded_and_released() -> None:
    driver = Driver()
    driver.receive(Receives("endpoint", ("a", "b")))
    driver.receive(Receives("endpoint", unsubscribe=("a",)))
    demands = [command for command in driver.commands if isinstance(command, Demanded)]
    assert demands == [Demanded("endpoint", ("a", "b"), ()), Demanded("endpoint", (), ("a",))]


def test_verdict_tells_versions_and_words() -> None:
    a, b = make("cluster", "a"), make("cluster", "b")
    driver = Driver()
    driver.tell(ViewChanged(SmallView(a, b)))
    driver.receive(Receives("cluster"))
    driver.receive(Receives("cluster", nonce="last", error="b: lb_policy: unknown policy"))
    answer = next(command for command in driver.commands if isinstance(command, Answered))
    assert answer.accepted == (("a", a.version),)
    assert [(each.name, each.version, each.words) for each in answer.refused] == [
        ("b", b.version, "lb_policy: unknown policy")
    ]
    status = driver.machine.status()["cluster"]
    assert (status.applied, status.pending, len(status.refused)) == (1, 0, 1)


def test_refusal_is_forgotten_once_the_view_goes_back() -> None:
    first, second = make("cluster", "a", "1"), make("cluster", "a", "2")
    driver = Driver()
    driver.tell(ViewChanged(SmallView(first)))
    driver.receive(Receives("cluster"))
    driver.receive(Receives("cluster", nonce="last"))
    driver.tell(ViewChanged(SmallView(second)))
    driver.receive(Receives("cluster", nonce="last", error="a: no"))
    driver.messages.clear()
    driver.tell(ViewChanged(SmallView(first)))
    assert not driver.messages
    assert driver.machine.status()["cluster"].refused == ()


def test_large_changes_are_cut_and_removals_come_last() -> None:
    gone = make("cluster", "a-gone")
    driver = Driver()
    driver.tell(ViewChanged(SmallView(gone)))
    driver.receive(Receives("cluster"))
    driver.receive(Receives("cluster", nonce="last"))
    driver.receive(Receives("listener"))
    driver.receive(Receives("listener", nonce="last"))
    driver.receive(Receives("route", ("none",)))
    driver.receive(Receives("route", nonce="last"))
    driver.messages.clear()
    large = [make("cluster", f"c{number}", "x" * 16_000) for number in range(2 * CUT_BYTES // 16_000)]
    driver.tell(ViewChanged(SmallView(*large)))
    seen: list[str] = []
    while driver.messages:
        response = driver.messages.pop(0)
        assert sum(len(each.body or b"") for each in response.resources) <= CUT_BYTES
        seen += [each.name for each in response.resources]
        assert not response.removed or len(seen) == len(large)
        driver.receive(Receives("cluster", nonce="last"))
    assert sorted(seen) == sorted(each.name for each in large)
    assert driver.last[url("cluster")].removed == ("a-gone",)


def test_health_is_reported() -> None:
    driver = Driver()
    driver.tell(RequestReceived(messages.encode_delta_request(HEALTH_URL, (), (), {}, "", NODE, "draining")))
    driver.tell(RequestReceived(messages.encode_delta_request(HEALTH_URL, (), (), {}, "")))
    reports = [command for command in driver.commands if isinstance(command, HealthReported)]
    assert reports == [HealthReported(False, "draining"), HealthReported(True, "")]


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_what_an_application_publishes_is_reported(variant: Variant) -> None:
    driver = Driver(variant)
    driver.tell(
        RequestReceived(
            messages.encode_delta_request(APPLICATION_URL, ("told",), (), {}, "", NODE)
            if variant == "delta"
            else messages.encode_sotw_request(APPLICATION_URL, "", ("told",), "", NODE)
        )
    )
    assert [each for each in driver.commands if isinstance(each, ApplicationReported | UnknownType)] == [
        ApplicationReported("told")
    ]


def test_unknown_type_is_told_once() -> None:
    driver = Driver()
    for node in (NODE, b""):
        driver.tell(
            RequestReceived(messages.encode_delta_request("type.googleapis.com/x.Y", (), (), {}, "", node))
        )
    assert len([command for command in driver.commands if isinstance(command, UnknownType)]) == 1


def test_proxy_that_does_not_read_is_given_up() -> None:
    machine = ServerStream("delta", ORDER)
    machine.handle(RequestReceived(messages.encode_delta_request(url("cluster"), (), (), {}, "", NODE)), 0)
    machine.handle(ViewChanged(SmallView(make("cluster", "a"))), 0)
    assert any(isinstance(command, Send) for command in machine.handle(TurnCame(), 0))
    assert not machine.handle(Tick(), 29_999)
    assert [type(command) for command in machine.handle(Tick(), 30_000)] == [Close]


def test_route_to_a_refused_cluster_is_kept_back_for_good() -> None:
    driver = Driver()
    bad = make("cluster", "bad")
    driver.tell(ViewChanged(SmallView(bad, make("route", "r", "to bad", ("cluster", "bad")))))
    driver.receive(Receives("cluster"))
    driver.receive(Receives("route", ("r",)))
    driver.receive(Receives("cluster", nonce="last", error="bad: no"))
    driver.messages.clear()
    driver.wait(100_000)
    assert not driver.messages
    driver.tell(
        ViewChanged(SmallView(make("cluster", "bad", "2"), make("route", "r", "to bad", ("cluster", "bad"))))
    )
    driver.receive(Receives("cluster", nonce="last"))
    assert [response.url for response in driver.messages] == [url("cluster"), url("route")]


def test_sotw_resuming_with_the_same_state_is_silent() -> None:
    view = SmallView(make("cluster", "a"), make("cluster", "b"))
    first = Driver("sotw")
    first.tell(ViewChanged(view))
    first.receive(Receives("cluster"))
    version = first.messages[0].version
    second = Driver("sotw")
    second.receive(Receives("cluster", version=version))
    second.tell(ViewChanged(view))
    assert not second.messages
    assert set(second.machine.applied("cluster")) == {"a", "b"}
    second.tell(ViewChanged(SmallView(make("cluster", "a"))))
    second.receive(Receives("listener"))
    assert [salts(response) for response in second.messages if response.url == url("cluster")] == []
    second.wait(1_000)
    assert [salts(response) for response in second.messages if response.url == url("cluster")] == [{"a": ""}]
