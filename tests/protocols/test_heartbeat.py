"""A protocol's heartbeat as a health check that knows nothing of the protocol."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstay.protocols.heartbeat import HeartbeatCheck, heartbeat_check
from mainstay.protocols.read import read_descriptions, shipped

VOLT = Path(__file__).parent / "volt.yaml"


def check_of(name: str) -> HeartbeatCheck | None:
    (described,) = (each for each in shipped() if each.name == name)
    return heartbeat_check(name, described.description)


@pytest.mark.parametrize(
    ("name", "send", "receive"),
    [
        ("bolt", "0101 0000 01 00000001 01 ffffffff 0000 0000 00000000", "01000000"),
        ("dubbo", "dabb e2 00 0000000000000001 00000001 4e", "dabb"),
    ],
)
def test_heartbeats_are_those_of_real_peers(name: str, send: str, receive: str) -> None:
    check = check_of(name)
    assert check is not None
    assert (check.send, check.receive) == (bytes.fromhex(send), bytes.fromhex(receive))


def test_a_protocol_without_heartbeats_has_no_check() -> None:
    assert check_of("thrift") is None


def test_a_length_in_front_tells_the_whole() -> None:
    (described,), problems = read_descriptions([("volt.yaml", VOLT.read_text())])
    assert not problems
    check = heartbeat_check(described.name, described.description)
    # Mark, opcode, length in little-endian order, call, and the lengths of what is empty.
    assert check == HeartbeatCheck(bytes.fromhex("b0a7 04 0a00 0100 00 0000"), bytes.fromhex("b0a7 05"))
