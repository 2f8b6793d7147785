"""The scripted control plane: everything once to who asks, changes by push, and an end to waiting."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from bench.discovery import (
    ASSIGNMENT_URL,
    CLUSTER_URL,
    LISTENER_URL,
    METHODS,
    SERVICE,
    Discovery,
    Mesh,
    Resource,
    assignment,
    cluster_name,
)
from bench.measure import BenchError, Ports

from mainstay.xds import messages
from mainstay.xds.types import Variant


class Client:
    """Asks as a proxy does."""

    def __init__(self, port: int, variant: Variant) -> None:
        self.variant: Variant = variant
        self._out: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        call: Any = self._channel.stream_stream(f"/{SERVICE}/{METHODS[variant]}")
        self._answers = call(iter(self._out.get, b""))

    def ask(self, url: str, names: list[str], nonce: str = "", error: str | None = None) -> None:
        if self.variant == "sotw":
            self._out.put(messages.encode_sotw_request(url, nonce, names, nonce, b"", error))
        else:
            subscribe = names if not nonce else []
            self._out.put(messages.encode_delta_request(url, subscribe, [], {}, nonce, b"", error))

    def take(self) -> messages.Response:
        return messages.decode_response(self.variant, next(self._answers))

    def close(self) -> None:
        self._channel.close()


@pytest.fixture(params=["delta", "sotw"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Discovery, Client]]:
    port = Ports().take()
    discovery = Discovery(Mesh.make(3, 20_001, 20_002), request.param, port)
    client = Client(port, request.param)
    yield discovery, client
    client.close()
    discovery.stop()


def names() -> list[str]:
    return [cluster_name(number) for number in range(3)]


def load(client: Client) -> None:
    for url, wanted in ((CLUSTER_URL, []), (ASSIGNMENT_URL, names()), (LISTENER_URL, [])):
        client.ask(url, wanted)
        answer = client.take()
        assert answer.url == url
        assert [each.name for each in answer.resources] == (["front"] if url == LISTENER_URL else names())
        client.ask(url, wanted, answer.nonce)


def test_everything_is_sent_once_and_waiting_ends_with_the_last_acknowledgement(
    pair: tuple[Discovery, Client],
) -> None:
    discovery, client = pair
    load(client)
    assert discovery.wait(10) >= discovery.connected > 0


def test_endpoints_are_sent_as_they_are_asked_for(pair: tuple[Discovery, Client]) -> None:
    discovery, client = pair
    client.ask(ASSIGNMENT_URL, names()[:1])
    assert [each.name for each in client.take().resources] == names()[:1]
    client.ask(ASSIGNMENT_URL, names())
    assert [each.name for each in client.take().resources] == names()[1:]
    with pytest.raises(BenchError, match="not asked for"):
        discovery.wait(0.01)


def test_a_change_is_pushed(pair: tuple[Discovery, Client]) -> None:
    discovery, client = pair
    load(client)
    discovery.wait(10)
    body = assignment(2, 20_009)
    discovery.push(ASSIGNMENT_URL, Resource(cluster_name(2), body))
    (resource,) = client.take().resources
    assert resource.body == body


def test_a_refusal_ends_the_waiting(pair: tuple[Discovery, Client]) -> None:
    discovery, client = pair
    client.ask(CLUSTER_URL, [])
    client.ask(CLUSTER_URL, [], client.take().nonce, error="no such field")
    with pytest.raises(BenchError, match="no such field"):
        discovery.wait(10)
