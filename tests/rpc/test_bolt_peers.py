"""What only Bolt has, with real peers: versions that share a port, heartbeats both ways, frames that no peer should send."""

from __future__ import annotations

import re
import socket
import struct
import time
from typing import TYPE_CHECKING, NamedTuple

import pytest
from engine_live import PATIENCE
from engine_wire import Reader
from rpc_bolt import Answer, read_answer
from rpc_programs import FAMILIES, Client, Provider
from rpc_sidecars import Road
from tests.interop.conftest import Certificates

from mainstay.protocols.read import shipped_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(180)
SERVICE = "Echo:1.0"


class Java(NamedTuple):
    client: Client
    road: Road

    def call(self, method: str, text: str = "", **options: str | int) -> str | None:
        answer = self.client.call(self.road.at("main"), method, text, **{"protocol": "bolt", **options})
        return answer.value or f"{answer.error}: {answer.message}"


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Java]:
    """Java's Bolt with peers and sidecars that all grow impatient within a second."""
    family, folder = FAMILIES["sofa-java"], tmp_path_factory.mktemp("java")
    provider = Provider(family, "plain", options=("-Dbolt.tcp.server.idle.interval=1000",))
    client = Client(family.runtime, *family.program, options=("-Dbolt.tcp.heartbeat.interval=300",))
    text = shipped_texts()["bolt"]
    for name, span in (("interval", "15s"), ("longestInterval", "90s")):
        assert f"{name}: {span}" in text
        text = text.replace(f"{name}: {span}", f"{name}: 300ms")
    ports = {"plain": provider.ports["bolt"], "canary": provider.ports["sofa"]}
    road = Road("bolt", "x-user", ports, Certificates(folder), folder, description=text)
    for program in (provider, client):
        program.ready()
    yield Java(client, road)
    for each in (road, client, provider):
        each.close()


@pytest.mark.peers
def test_versions_with_and_without_checksums_share_a_port(java: Java) -> None:
    for _ in range(3):
        for version, checksum in ((1, "off"), (21, "on"), (22, "off"), (22, "on")):
            text = f"{version} {checksum}"
            assert java.call("echo", text, version=version, crc=checksum) == text
    assert java.call("echo", "call ", version=22, how="callback", count=1_000) == "1000"


@pytest.mark.peers
@pytest.mark.parametrize("version", [1, 22])
def test_a_call_outlasts_what_silence_either_side_bears(java: Java, version: int) -> None:
    """While the provider sleeps, caller and sidecars ask each other whether they live: the caller gives up after three questions
    without an answer, the provider after a second without a question.
    """
    assert java.call("nap", "2500", version=version) == "slept"


@pytest.mark.peers
def test_a_frame_that_is_too_large_is_refused_and_its_caller_comes_back(java: Java) -> None:
    told = java.call("echo", size=9 << 20, how="callback", timeout=20_000)
    assert re.match(r"\w+Exception", told or ""), told
    # The frame's connection is gone; Bolt's client fails calls until it has noticed, and dials again.
    until = time.monotonic() + PATIENCE
    while (after := java.call("echo", "after")) != "after":
        assert time.monotonic() < until, after


class Raw(NamedTuple):
    """Frames by hand to a real provider, beside a real caller."""

    road: Road
    client: Client

    def open(self) -> socket.socket:
        host, _, port = self.road.at("main").partition(":")
        return socket.create_connection((host, int(port)), PATIENCE)

    def ask(self, frame: bytes) -> Answer:
        with self.open() as connection:
            connection.sendall(frame)
            return read_answer(Reader(connection))

    def is_well(self) -> bool:
        return self.client.call(self.road.at("main"), "echo", "well").value == "well"


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Raw]:
    """anthunder's provider: its bodies are one protobuf message."""
    family, folder = FAMILIES["anthunder"], tmp_path_factory.mktemp("raw")
    provider = Provider(family, "plain")
    client = Client(family.runtime, *family.program)
    ports = dict.fromkeys(("plain", "canary"), provider.ports["bolt"])
    road = Road("bolt", "x-user", ports, Certificates(folder), folder)
    for program in (provider, client):
        program.ready()
    yield Raw(road, client)
    for each in (road, client, provider):
        each.close()


def pairs(*texts: str | None) -> bytes:
    """A header map; `None` is Java's null."""
    written = [None if text is None else text.encode() for text in texts]
    return b"".join(
        struct.pack(">i", -1) if text is None else struct.pack(">i", len(text)) + text for text in written
    )


def frame(number: int, text: str, *more: str | None, command: int = 1, method: str = "echo") -> bytes:
    name = b"com.alipay.sofa.rpc.core.request.SofaRequest"
    block = pairs(
        *more, "sofa_head_target_service", SERVICE, "sofa_head_method_name", method, "service", SERVICE
    )
    body = b"\x0a" + bytes([len(text)]) + text.encode()
    sizes = (len(name), len(block), len(body))
    head = struct.pack(">BBHBIBiHHI", 1, 1, command, 1, number, 11, 5_000, *sizes)
    return head + name + block + body


def test_null_headers_move_nothing(raw: Raw) -> None:
    for more in ((None, "value"), ("key", None), (None, None)):
        answer = raw.ask(frame(7, "hello", *more))
        assert answer == Answer(7, 0, b"\x0a\x05hello"), more


def test_a_truncated_frame_costs_no_other_call(raw: Raw) -> None:
    whole = frame(9, "hello")
    for size in (1, 19, 22, 60, len(whole) - 1):
        with raw.open() as connection:
            connection.sendall(whole[:size])
            connection.shutdown(socket.SHUT_WR)
            assert b"hello" not in Reader(connection).rest()
    assert raw.is_well()


def test_an_unknown_command_ends_its_connection_and_no_other(raw: Raw) -> None:
    """A Java server does the same."""
    with raw.open() as connection, raw.open() as other:
        connection.sendall(frame(11, "hello", command=77))
        assert b"hello" not in Reader(connection).rest()
        other.sendall(frame(12, "still"))
        assert read_answer(Reader(other)) == Answer(12, 0, b"\x0a\x05still")
    assert raw.is_well()


def test_a_thousand_frames_of_two_callers_get_their_own_answers(raw: Raw) -> None:
    """Both callers number their calls alike; the provider sees each number once."""
    with raw.open() as one, raw.open() as two:
        for caller, name in ((one, "one"), (two, "two")):
            caller.sendall(b"".join(frame(number, f"{name} {number}") for number in range(1, 501)))
        for caller, name in ((one, "one"), (two, "two")):
            reader = Reader(caller)
            answers = {answer.number: answer.body[2:] for answer in (read_answer(reader) for _ in range(500))}
            assert answers == {number: f"{name} {number}".encode() for number in range(1, 501)}
