"""Captured files: whatever form they have, the bytes of each direction come out in order."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from mainstay.cli.protocol import protocol
from mainstay.engine import EngineError, explain_protocol
from mainstay.protocols.capture import Stream, Unreadable, read_capture
from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.explain import explain, guess, refusal, show
from mainstay.protocols.read import read_descriptions, shipped
from mainstay.settings import OperatorError

HEARTBEAT = bytes.fromhex("0202010000010000000701 0100000bb80000000000000000 87629fc5")
BOLT, DUBBO, THRIFT = shipped()
CLIENT, SERVER = (b"\x0a\x00\x00\x01", 40_000), (b"\x0a\x00\x00\x02", 12_200)


def packet(sequence: int, data: bytes, flags: int = 0x18, back: bool = False) -> bytes:
    (source, from_port), (target, to_port) = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    tcp = struct.pack(">HHIIBBHHH", from_port, to_port, sequence % (1 << 32), 0, 0x50, flags, 0, 0, 0) + data
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0, source, target) + tcp
    return b"\0" * 12 + b"\x08\x00" + ip


def pcap(packets: list[bytes], order: str = "<") -> bytes:
    head = struct.pack(order + "IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    return head + b"".join(struct.pack(order + "IIII", 0, 0, len(each), len(each)) + each for each in packets)


def pcapng(packets: list[bytes]) -> bytes:
    def block(kind: int, body: bytes) -> bytes:
        body += b"\0" * (-len(body) % 4)
        return struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)

    blocks = [
        block(0x0A0D0D0A, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)),
        block(1, struct.pack("<HHI", 1, 0, 0)),
    ]
    blocks += [block(6, struct.pack("<IIIII", 0, 0, 0, len(each), len(each)) + each) for each in packets]
    return b"".join(blocks)


def test_both_directions_come_out_of_every_form() -> None:
    packets = [packet(99, b"", flags=2), packet(100, b"hel"), packet(7, b"hi", back=True), packet(103, b"lo")]
    there, back = "10.0.0.1:40000 → 10.0.0.2:12200", "10.0.0.2:12200 → 10.0.0.1:40000"
    expected = [Stream(there, b"hello"), Stream(back, b"hi")]
    for form in (pcap(packets), pcap(packets, ">"), pcapng(packets)):
        assert read_capture(form) == expected


@given(
    data=st.binary(min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=5),
    start=st.sampled_from([5, 2**32 - 20]),
    order=st.randoms(use_true_random=False),
)
def test_segments_are_put_in_order_and_said_once(
    data: bytes, cuts: list[int], start: int, order: object
) -> None:
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    segments = [packet(start + 1 + at, data[at:end]) for at, end in itertools.pairwise(edges)]
    segments += [*segments[:2], packet(start + 1, data)]
    order.shuffle(segments)  # type: ignore[attr-defined]
    (stream,) = read_capture(pcap([packet(start, b"", flags=2), *segments]))
    assert stream.data == data
    assert not stream.has_gap


def test_what_lies_behind_a_gap_is_left_out() -> None:
    (stream,) = read_capture(pcap([packet(0, b"", flags=2), packet(1, b"one"), packet(9, b"late")]))
    assert (stream.data, stream.has_gap) == (b"one", True)


@pytest.mark.parametrize(
    "text",
    [
        HEARTBEAT.hex(),
        HEARTBEAT.hex(" ", 2) + "  # a comment\n",
        "00000000: 0202 0100 0001 0000 0007 0101 0000 0bb8  ................\n"
        "00000010: 0000 0000 0000 0000 8762 9fc5            .........b..\n",
        "00000000  02 02 01 00 00 01 00 00  00 07 01 01 00 00 0b b8  |................|\n"
        "00000010  00 00 00 00 00 00 00 00  87 62 9f c5              |.........b..|\n0000001c\n",
    ],
)
def test_hexadecimal_text_is_read_as_tools_print_it(text: str) -> None:
    text = text.replace("\n0000001c", "")
    assert read_capture(text.encode()) == [Stream("", HEARTBEAT)]


def test_other_files_are_refused() -> None:
    for data, why in [(b"\xff\xfe", "neither"), (b"zz", "line 1"), (b"\xd4\xc3\xb2\xa1", "cut")]:
        with pytest.raises(Unreadable, match=why):
            read_capture(data)


def test_frames_are_explained_by_the_engine() -> None:
    explained = explain(BOLT, HEARTBEAT + HEARTBEAT[:5])
    (frame,) = explained.frames
    assert (frame.frame, frame.shape, frame.checksum) == ("heartbeat", "proto 2; type 1, 2", True)
    assert [row.number for row in frame.rows if row.name == "requestId"] == [7]
    assert (explained.left, explained.problem) == (5, "the frame is not whole")
    assert explain(BOLT, HEARTBEAT[:-1] + b"\0").frames[0].checksum is False
    lines = "\n".join(show(explained))
    assert ".crcOn" in lines
    assert "checksum  right" in lines
    assert guess([DUBBO, THRIFT, BOLT], HEARTBEAT) is BOLT
    assert guess([DUBBO, THRIFT, BOLT], b"GET / HTTP/1.1") is None


def test_the_engine_takes_what_was_checked_and_refuses_the_rest_by_path() -> None:
    assert [refusal(each) for each in (BOLT, DUBBO, THRIFT)] == ["", "", ""]
    wrong = msgspec.structs.replace(compile_protocol("bolt", BOLT.description), other_status=7)
    with pytest.raises(EngineError, match="other_status"):
        explain_protocol(wrong, b"")


def test_a_new_description_is_valid_and_decodes(tmp_path: Path) -> None:
    runner = CliRunner()
    written = runner.invoke(protocol, ["new", "mine"])
    assert written.exit_code == 0
    _, problems = read_descriptions([("mine.yaml", written.stdout)])
    assert problems == []
    mine, one = tmp_path / "mine.yaml", tmp_path / "one.hex"
    mine.write_text(written.stdout)
    one.write_text("cafe 01 00000007 000003e8 0005 0000 00000002" + b"a/bcdhi".hex())
    checked = runner.invoke(protocol, ["validate", str(mine)], standalone_mode=False)
    assert (checked.return_value, checked.stdout) == (0, "1 protocol valid\n")
    decoded = runner.invoke(protocol, ["decode", "-p", str(mine), str(one)], standalone_mode=False)
    assert decoded.return_value == 0
    for line in ("frame 1: request", "service   a", "method    bcd", "deadline  1000 ms"):
        assert line in decoded.stdout
    nothing = runner.invoke(protocol, ["decode", "-p", "bolt", str(one)], standalone_mode=False)
    assert nothing.return_value == 1
    mine.write_text(written.stdout.replace("copy: [id]", "copy: [ident]"))
    refused = runner.invoke(protocol, ["validate", str(mine)], standalone_mode=False)
    assert refused.return_value == 3
    assert "mine.yaml:60:12" in refused.stderr
    unknown = runner.invoke(protocol, ["decode", "-p", "nobody", str(one)], standalone_mode=False)
    assert isinstance(unknown.exception, OperatorError)
