"""The server over real gRPC: the transcripts again, and what only streams can show."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from model_mesh import NODE, SmallView, make, url
from test_server_machine import encode, salts
from transcripts import TRANSCRIPTS, Ends, Receives, Sends, SendsNothing, Shows, Transcript, Waits

from mainstay.compile.resource import make_resource
from mainstay.xds import messages
from mainstay.xds.serve_grpcio import RefusedStream, Stream, XdsServer
from mainstay.xds.server.types import Answered, ApplicationReported, Demanded, HealthReported, Peer
from mainstay.xds.types import Kind, Variant, path

PATIENCE_S = 10.0


class OneView:
    """An owner that gives every stream the same view."""

    def __init__(self) -> None:
        self.view: SmallView | None = None
        self.streams: list[Stream] = []
        self.answers: list[Answered] = []
        self.ended = asyncio.Event()
        self.refuse: RefusedStream | None = None

    def opened(self, stream: Stream) -> None:
        if self.refuse is not None:
            raise self.refuse
        self.streams.append(stream)
        if self.view is not None:
            stream.show(self.view)

    def demanded(self, stream: Stream, demand: Demanded) -> None:
        pass

    def answered(self, stream: Stream, answer: Answered) -> None:
        assert stream in self.streams
        self.answers.append(answer)

    def health_reported(self, stream: Stream, report: HealthReported) -> None:
        pass

    def application_reported(self, stream: Stream, report: ApplicationReported) -> None:
        """None reports."""

    def closed(self, stream: Stream) -> None:
        self.streams.remove(stream)
        self.ended.set()

    def show(self, view: SmallView, names: dict[Kind, tuple[str, ...]] | None) -> None:
        self.view = view
        for stream in self.streams:
            stream.show(view, names)


class Client:
    """A raw gRPC stream."""

    def __init__(self, variant: Variant, call: Any) -> None:
        self.variant: Variant = variant
        self.call = call
        self.last: dict[str, messages.Response] = {}
        self.node_sent = False

    async def receive(self, step: Receives) -> None:
        last = self.last.get(url(step.kind))
        nonce = last.nonce if step.nonce == "last" and last else step.nonce
        version = last.version if step.version == "last" and last else step.version
        await self.call.write(encode(self.variant, step, nonce, version, b"" if self.node_sent else NODE))
        self.node_sent = True

    async def next(self) -> messages.Response:
        data = await asyncio.wait_for(self.call.read(), PATIENCE_S)
        assert data is not grpc.aio.EOF, await self.call.code()
        response = messages.decode_response(self.variant, data)
        self.last[response.url] = response
        return response


Connect = Callable[[Variant, "Kind | None"], Client]


@asynccontextmanager
async def served(
    tmp_path: Path,
    owner: OneView,
    peer: Peer | None = None,
    clock: Callable[[], int] | None = None,
    **options: Any,
) -> AsyncIterator[tuple[XdsServer, Connect]]:
    loop = asyncio.get_running_loop()
    xds = XdsServer(owner, clock or (lambda: int(loop.time() * 1_000)), **options)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((xds.handler(lambda context: peer or Peer("", context.peer())),))
    address = f"unix:{tmp_path}/x.sock"
    server.add_insecure_port(address)
    await server.start()
    turns = loop.create_task(xds.run())
    async with grpc.aio.insecure_channel(address) as channel:
        yield xds, lambda variant, kind: Client(variant, channel.stream_stream(path(variant, kind))())
    turns.cancel()
    await server.stop(0)


def run(scenario: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


@pytest.mark.parametrize(
    "transcript",
    [each for each in TRANSCRIPTS if not each.is_timed and each.variant == "delta"],
    ids=lambda transcript: transcript.name,
)
def test_transcript(transcript: Transcript, tmp_path: Path) -> None:
    """`SendsNothing` is shown by a name asked for on the side: its answer comes next."""

    async def scenario() -> None:
        owner = OneView()
        async with served(tmp_path, owner) as (_, connect):
            client = connect(transcript.variant, transcript.only)
            for number, step in enumerate(transcript.steps):
                where = f"step {number}: {step}"
                match step:
                    case Shows():
                        owner.show(step.view, step.names)
                    case Receives():
                        await client.receive(step)
                    case Sends():
                        response = await client.next()
                        assert (response.url, salts(response)) == (url(step.kind), step.resources), where
                        assert response.removed == step.removed, where
                    case SendsNothing() if transcript.only is None and owner.view is not None:
                        await client.receive(Receives("secret", (f"probe-{number}",)))
                        probe = await client.next()
                        assert probe.removed == (f"probe-{number}",), where
                        await client.receive(Receives("secret", nonce="last"))
                    case SendsNothing() | Waits() | Ends():
                        pass

    run(scenario())


def test_verdicts_reach_the_owner_and_the_end_of_the_stream_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = OneView()
        owner.view = SmallView(make("cluster", "a"))
        async with served(tmp_path, owner) as (xds, connect):
            client = connect("delta", None)
            await client.receive(Receives("cluster"))
            await client.next()
            assert len(xds.streams) == 1
            assert owner.streams[0].node.metadata == {"NAMESPACE": "shop"}
            await client.receive(Receives("cluster", nonce="last", error="a: too new"))
            await client.receive(Receives("listener"))
            assert (await client.next()).url == url("listener")
            assert owner.answers[0].refused[0].words == "too new"
            await client.call.done_writing()
            await asyncio.wait_for(owner.ended.wait(), PATIENCE_S)
            assert not xds.streams

    run(scenario())


def test_refused_stream_gets_status_and_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = OneView()
        owner.refuse = RefusedStream(7, "the certificate is for web, the node says billing")
        async with served(tmp_path, owner) as (_, connect):
            client = connect("sotw", None)
            await client.receive(Receives("cluster"))
            assert await client.call.code() == grpc.StatusCode.PERMISSION_DENIED
            assert "the node says billing" in await client.call.details()

    run(scenario())


def test_too_many_streams_are_sent_elsewhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = OneView()
        owner.view = SmallView()
        async with served(tmp_path, owner, max_streams=1) as (xds, connect):
            first = connect("delta", None)
            await first.receive(Receives("cluster"))
            await first.next()
            second = connect("delta", None)
            assert await second.call.code() == grpc.StatusCode.UNAVAILABLE
            assert xds.refused_streams == 1

    run(scenario())


def test_owner_can_end_a_stream(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = OneView()
        owner.view = SmallView()
        async with served(tmp_path, owner) as (_, connect):
            client = connect("delta", None)
            await client.receive(Receives("cluster"))
            await client.next()
            owner.streams[0].close(14, "moving")
            assert await client.call.code() == grpc.StatusCode.UNAVAILABLE

    run(scenario())


def test_stream_ends_a_minute_after_its_certificate(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner, today = OneView(), [1_000_000]
        owner.view = SmallView()
        peer = Peer("spiffe://x", expires=1_000_000)
        async with served(tmp_path, owner, peer, time_of_day=lambda: today[0]) as (xds, connect):
            client = connect("delta", None)
            await client.receive(Receives("cluster"))
            await client.next()
            today[0] += 59_999
            xds.look_at_deadlines()
            assert owner.streams
            assert owner.streams[0].end is None
            today[0] += 1
            xds.look_at_deadlines()
            assert await client.call.code() == grpc.StatusCode.UNAVAILABLE
            assert "renewed" in await client.call.details()

    run(scenario())


def test_first_loads_wait_for_those_under_way_and_other_changes_do_not(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner, now = OneView(), [0]
        owner.view = SmallView(make("cluster", "a", "1"))
        async with served(tmp_path, owner, clock=lambda: now[0], max_first_loads=1) as (xds, connect):
            old, slow, last = connect("delta", None), connect("delta", None), connect("delta", None)
            await old.receive(Receives("cluster"))
            await old.next()
            await old.receive(Receives("cluster", nonce="last"))
            await slow.receive(Receives("cluster"))
            await slow.next()
            await last.receive(Receives("cluster"))
            reading = asyncio.create_task(last.next())
            while len(owner.streams) < 3:
                await asyncio.sleep(0)
            owner.show(SmallView(make("cluster", "a", "2")), {"cluster": ("a",)})
            assert salts(await old.next()) == {"a": "2"}
            assert not reading.done()
            await slow.receive(Receives("cluster", nonce="last"))
            assert salts(await reading) == {"a": "2"}

            # One that never answers is not waited for.
            never = connect("delta", None)
            await never.receive(Receives("cluster"))
            while len(owner.streams) < 4:
                await asyncio.sleep(0)
            now[0] += 5_000
            xds.look_at_deadlines()
            assert salts(await never.next()) == {"a": "2"}

    run(scenario())


def test_stream_ends_at_its_age(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner, now = OneView(), [0]
        owner.view = SmallView()
        async with served(tmp_path, owner, clock=lambda: now[0], random=lambda: 0.5) as (xds, connect):
            client = connect("delta", None)
            await client.receive(Receives("cluster"))
            await client.next()
            await client.receive(Receives("cluster", nonce="last"))
            while not owner.answers:
                await asyncio.sleep(0)
            now[0] = 30 * 60_000 - 1
            xds.look_at_deadlines()
            assert owner.streams[0].end is None
            now[0] += 1
            xds.look_at_deadlines()
            assert await client.call.code() == grpc.StatusCode.UNAVAILABLE
            assert "age" in await client.call.details()

    run(scenario())


def test_client_that_does_not_read_is_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner, now = OneView(), [0]
        large = make_resource("cluster", "large", {"name": "large", "alt_stat_name": "x" * 32_000_000})
        owner.view = SmallView(large)  # type: ignore[arg-type]
        async with served(tmp_path, owner, clock=lambda: now[0]) as (xds, connect):
            client = connect("delta", None)
            await client.receive(Receives("cluster"))
            while not owner.streams or not owner.streams[0].writing:
                await asyncio.sleep(0)
            now[0] = 29_999
            xds.look_at_deadlines()
            assert owner.streams
            now[0] = 30_000
            xds.look_at_deadlines()
            await asyncio.wait_for(owner.ended.wait(), PATIENCE_S)
            assert not xds.streams

    run(scenario())


def test_client_that_goes_away_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        owner = OneView()
        owner.view = SmallView()
        async with served(tmp_path, owner) as (_, connect):
            client = connect("delta", None)
            await client.receive(Receives("cluster"))
            await client.next()
            client.call.cancel()
            await asyncio.wait_for(owner.ended.wait(), PATIENCE_S)

    run(scenario())
    # gRPC's library itself may complain, of a call that is cancelled while it ends, or of a loop that an earlier test has closed.
    ours = [
        record
        for record in caplog.records
        if not record.name.startswith("grpc") and "PollerCompletionQueue" not in record.getMessage()
    ]
    assert [record.message for record in ours if record.levelname == "ERROR"] == []


def test_bug_of_the_owner_ends_one_stream_only(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = OneView()
        owner.view = SmallView(make("cluster", "a"))
        async with served(tmp_path, owner) as (_, connect):
            good, bad = connect("delta", None), connect("delta", None)
            await good.receive(Receives("cluster"))
            await good.next()
            await bad.receive(Receives("cluster"))
            await bad.next()
            owner.answers = None  # type: ignore[assignment]
            await bad.receive(Receives("cluster", nonce="last"))
            assert await bad.call.code() == grpc.StatusCode.INTERNAL
            owner.answers = []
            await good.receive(Receives("cluster", nonce="last"))
            await good.receive(Receives("listener"))
            assert (await good.next()).url == url("listener")

    run(scenario())


def test_many_streams_get_the_same_change(tmp_path: Path) -> None:
    async def scenario() -> None:
        owner = OneView()
        owner.view = SmallView(make("cluster", "a", "1"))
        async with served(tmp_path, owner) as (_, connect):
            clients = [connect("delta", None) for _ in range(50)]
            for client in clients:
                await client.receive(Receives("cluster"))
                await client.next()
                await client.receive(Receives("cluster", nonce="last"))
            while len(owner.answers) < len(clients):
                await asyncio.sleep(0)
            owner.show(SmallView(make("cluster", "a", "2")), {"cluster": ("a",)})
            for client in clients:
                assert salts(await client.next()) == {"a": "2"}

    run(scenario())
