"""Our server under the rules of `rules.for_servers`: each by itself, in every variant and form of stream it is for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

import grpc
import pytest
from model_mesh import SmallRef, SmallResource, SmallView
from rules.client import ClientTester
from rules.for_servers import RULES
from rules.resources import Maker, Text
from rules.steps import Rule, Streams, Variant

from mainstay.model.digest import digest_of_bytes
from mainstay.xds.serve_grpcio import Stream, XdsServer
from mainstay.xds.server.types import Answered, ApplicationReported, Demanded, HealthReported, Peer

CASES = [
    pytest.param(rule, variant, streams, id=f"{rule.name} ({variant}, {streams})")
    for rule in RULES
    for variant in rule.variants
    for streams in rule.streams
]


class Subject:
    """Our server in a loop of its own; every stream sees the one view."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._view = SmallView()
        self._streams: list[Stream] = []
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.address = self._wait(self._start())

    def _wait(self, what: Coroutine[Any, Any, str]) -> str:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(10)

    async def _start(self) -> str:
        xds = XdsServer(self, lambda: int(self._loop.time() * 1_000))
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers((xds.handler(lambda _: Peer()),))
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self._turns = self._loop.create_task(xds.run())
        return f"127.0.0.1:{port}"

    def stop(self) -> None:
        async def stop() -> str:
            self._turns.cancel()
            await self._server.stop(0)
            return ""

        self._wait(stop())
        self._loop.call_soon_threadsafe(self._loop.stop)

    def show(self, resources: Mapping[Text, bytes]) -> None:
        async def show() -> str:
            made = [
                SmallResource(
                    text.kind,
                    text.name,
                    digest_of_bytes(body),
                    body,
                    tuple(SmallRef(kind, name) for kind, name in text.refers),
                )
                for text, body in resources.items()
            ]
            self._view = SmallView(*made)
            for stream in self._streams:
                stream.show(self._view)
            return ""

        self._wait(show())

    def opened(self, stream: Stream) -> None:
        self._streams.append(stream)
        stream.show(self._view)

    def demanded(self, stream: Stream, demand: Demanded) -> None:
        """The view knows all names."""

    def answered(self, stream: Stream, answer: Answered) -> None:
        """The rules look at what is sent."""

    def health_reported(self, stream: Stream, report: HealthReported) -> None:
        """None reports."""

    def application_reported(self, stream: Stream, report: ApplicationReported) -> None:
        """None reports."""

    def closed(self, stream: Stream) -> None:
        self._streams.remove(stream)


@pytest.fixture(scope="module")
def subject() -> Iterator[Subject]:
    subject = Subject()
    yield subject
    subject.stop()


@pytest.mark.parametrize(("rule", "variant", "streams"), CASES)
def test_the_server_keeps_the_rule(rule: Rule, variant: Variant, streams: Streams, subject: Subject) -> None:
    maker = Maker({"ads": {}, "resource_api_version": "V3"}, {}, {})
    ClientTester(subject, variant, streams, maker).run(rule)


def test_rules_have_names_of_their_own() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names)
