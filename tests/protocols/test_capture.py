"""Captured files: whatever form they have, the bytes of each direction come out in order."""

from __future__ import annotations

import contextlib
import itertools
import json
import struct
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay.cli.protocol import protocol
from mainstay.engine import EngineError, explain_protocol
from mainstay.protocols.capture import Stream, Unreadable, read_capture
from mainstay.protocols.explain import explain, guess, refusal, show
from mainstay.protocols.read import read_descriptions, shipped
from mainstay.protocols.shipped import shipped_plans
from mainstay.settings import OperatorError

HEARTBEAT = bytes.fromhex("0202010000010000000701 0100000bb80000000000000000 87629fc5")
BOLT, DUBBO, THRIFT = shipped_plans()
CLIENT, SERVER = (b"\x0a\x00\x00\x01", 40_000), (b"\x0a\x00\x00\x02", 12_200)


def packet(sequence: int, data: bytes, flags: int = 0x18, back: bool = False) -> bytes:
    (whole,) = fragments(sequence, data, flags=flags, back=back)
    return whole


def fragments(
    sequence: int, data: bytes, *edges: int, flags: int = 0x18, back: bool = False, identity: int = 0
) -> list[bytes]:
    """A packet, cut at `edges`, which are counted in units of 8 bytes from the beginning of its TCP segment."""
    (source, from_port), (target, to_port) = (SERVER, CLIENT) if back else (CLIENT, SERVER)
    tcp = struct.pack(">HHIIBBHHH", from_port, to_port, sequence % (1 << 32), 0, 0x50, flags, 0, 0, 0) + data
    found = []
    for start, end in itertools.pairwise([0, *edges, None]):
        assert start is not None
        piece = tcp[8 * start : None if end is None else 8 * end]
        place = start | (0x2000 if end is not None else 0)
        head = struct.pack(
            ">BBHHHBBH4s4s", 0x45, 0, 20 + len(piece), identity, place, 64, 6, 0, source, target
        )
        found.append(b"\0" * 12 + b"\x08\x00" + head + piece)
    return found


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


@settings(deadline=None)
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
    ids=["digits", "with blanks", "xxd", "hexdump -C"],
)
def test_hexadecimal_text_is_read_as_tools_print_it(text: str) -> None:
    assert read_capture(text.encode()) == [Stream("", HEARTBEAT)]


def test_texts_may_be_written_among_digits() -> None:
    written = b'# "add"\n 0203 "a # b" 00 # "no" \n"" 7f'
    assert read_capture(written) == [Stream("", b"\2\3a # b\0\x7f")]
    for unclosed in (b'00 "a', b'00 a"', b'0"0"0'):
        with pytest.raises(Unreadable, match="line 1 is no hexadecimal text"):
            read_capture(unclosed)


@settings(deadline=None)
@given(st.text(st.characters(codec="ascii"), max_size=48))
def test_the_text_beside_the_digits_is_never_taken_for_digits(text: str) -> None:
    """What a dump shows of `face` or `add` looks like more digits."""
    data = text.encode()
    shown = [data[at : at + 16] for at in range(0, len(data), 16)]
    plain = ["".join(chr(byte) if 32 <= byte < 127 else "." for byte in line) for line in shown]
    xxd = [f"{16 * at:08x}: {line.hex(' ', -2):39}  {plain[at]}" + "\n" for at, line in enumerate(shown)]
    hexdump = [
        f"{16 * at:08x}  {line[:8].hex(' '):23}  {line[8:].hex(' '):23}  |{plain[at]}|\n"
        for at, line in enumerate(shown)
    ]
    assert read_capture("".join(xxd).encode()) == [Stream("", data)]
    assert read_capture("".join([*hexdump, f"{len(data):08x}\n" if data else ""]).encode()) == [
        Stream("", data)
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_fragments_of_a_packet_are_joined(order: tuple[int, ...]) -> None:
    data = bytes(range(60))
    pieces = fragments(1, data, 4, 7, identity=9)
    # One of another packet, which never becomes whole.
    lost = fragments(1, bytes(60), 4, identity=8)[0]
    packets = [packet(0, b"", flags=2), lost, *(pieces[at] for at in order), packet(61, b"more")]
    (stream,) = read_capture(pcap(packets))
    assert (stream.data, stream.has_gap) == (data + b"more", False)


def test_a_lost_fragment_is_a_gap() -> None:
    first, _, last = fragments(4, bytes(60), 4, 7, identity=9)
    (stream,) = read_capture(
        pcap([packet(0, b"", flags=2), packet(1, b"one"), first, last, packet(64, b"x")])
    )
    assert (stream.data, stream.has_gap) == (b"one", True)


def test_a_second_connection_between_the_same_ports_goes_on_behind_the_first() -> None:
    packets = [packet(0, b"", flags=2), packet(1, b"one"), packet(900, b"", flags=2), packet(901, b"two")]
    (stream,) = read_capture(pcap(packets))
    assert stream.data == b"onetwo"


def test_a_long_capture_with_a_gap_near_its_beginning_is_read_at_once() -> None:
    """Each segment is looked at once: a hundred thousand of them took minutes when all that wait were."""
    packets = [packet(0, b"", flags=2), packet(1, b"one")]
    packets += [packet(100 + at, b"x") for at in range(40_000)]
    (stream,) = read_capture(pcap(packets))
    assert (stream.data, stream.has_gap) == (b"one", True)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\xff\xfe", "neither"),
        (b"zz", "line 1"),
        (b"00\n*\n00", "line 2 .*hexdump -vC"),
        (b"\xd4\xc3\xb2\xa1", "cut"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 147) + bytes(17), "link type 147"),
    ],
)
def test_other_files_are_refused(data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        read_capture(data)


@pytest.mark.parametrize("form", [pcap, pcapng])
def test_what_there_is_of_a_packet_at_a_captures_end_is_taken(form: Callable[[list[bytes]], bytes]) -> None:
    first, last = packet(100, b"hello"), packet(105, b"world")
    whole = form([first, last])
    cut = whole[: whole.index(last) + len(last) - 2]
    assert [stream.data for stream in read_capture(cut)] == [b"hellowor"]


@settings(deadline=None)
@given(st.sampled_from([b"", b"\xd4\xc3\xb2\xa1", b"\x0a\x0d\x0d\x0a"]), st.binary(max_size=200), st.data())
def test_any_file_is_read_or_refused(magic: bytes, data: bytes, draw: st.DataObject) -> None:
    if draw.draw(st.booleans()):
        # A capture that is spoilt somewhere.
        whole = bytearray(
            (pcap if magic != b"\x0a\x0d\x0d\x0a" else pcapng)([*fragments(1, data, 3), packet(7, b"x")])
        )
        whole[draw.draw(st.integers(0, len(whole) - 1))] = draw.draw(st.integers(0, 255))
        magic, data = b"", bytes(whole)
    with contextlib.suppress(Unreadable):
        read_capture(magic + data)


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


def test_names_of_bits_and_letters_by_chance_are_shown_so_that_they_can_be_read() -> None:
    heartbeat = bytes.fromhex("dabbe200 0000000000000005 00000001 4e")
    lines = list(show(explain(DUBBO, heartbeat)))
    columns = {line.find("226"): line for line in lines if "flags" in line}
    (column,) = columns
    for name, value in (("twoWay", "1"), ("serialization", "2")):
        (line,) = (line for line in lines if f".{name}" in line)
        assert line[column:] == value
    # The magic happens to be a letter in UTF-8.
    assert any(line.endswith('"\u06bb"  da bb') for line in lines)


def test_captured_texts_cannot_speak_to_the_terminal() -> None:
    block = b"".join(
        struct.pack(">i", len(text)) + text for text in (b"x-note", b"\x1b[2Jgone\r\nframe 2: made up")
    )
    frame = struct.pack(">BBHBIBiHHI", 1, 1, 1, 1, 1, 11, -1, 0, len(block), 0) + block
    lines = list(show(explain(BOLT, frame)))
    assert "  header    x-note: \\x1b[2Jgone\\r\\nframe 2: made up" in lines
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "holds no bytes"),
        (b"# nothing\n", "holds no bytes"),
        (pcap([]), "holds no bytes of TCP connections"),
        (pcap([packet(0, b"", flags=2)]), "holds no bytes of TCP connections"),
        (pcap([packet(0, b"", flags=2), packet(9, b"late")]), "in front of missing segments"),
        (b"0101", "bolt: the frame is not whole; dubbo: no such frame; thrift: the frame is not whole"),
        (b"GET / HTTP/1.1".hex().encode(), "bolt: no such frame"),
    ],
)
def test_why_nothing_is_shown_is_said(tmp_path: Path, data: bytes, words: str) -> None:
    file = tmp_path / "calls"
    file.write_bytes(data)
    run = CliRunner().invoke(protocol, ["decode", str(file)], standalone_mode=False)
    assert words in (str(run.exception) if run.exception else run.stderr)
    assert run.return_value == 1 or isinstance(run.exception, OperatorError)


def test_no_more_is_read_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mainstay.protocols.capture.MAX_BYTES", 1_000)
    run = CliRunner().invoke(protocol, ["decode", "/dev/zero"], standalone_mode=False)
    assert "more than 1,000 bytes" in str(run.exception)


def test_the_engine_takes_what_was_checked_and_refuses_the_rest_by_path() -> None:
    assert [refusal(each) for each in shipped()] == [None, None, None]
    wrong = msgspec.structs.replace(BOLT, other_status=7)
    with pytest.raises(EngineError, match="other_status"):
        explain_protocol(wrong, b"")


def test_what_the_engine_alone_refuses_is_a_problem_like_any(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should `check` ever lack something: file, line and path as always, also where programs read them."""

    def strict(*_: object) -> bytes:
        raise EngineError("shapes[0]: too strange")

    monkeypatch.setattr("mainstay.protocols.explain.explain_protocol", strict)
    file = tmp_path / "mine.yaml"
    file.write_text(CliRunner().invoke(protocol, ["new", "mine"]).stdout)
    told = CliRunner().invoke(protocol, ["validate", str(file), "-o", "json"], standalone_mode=False)
    (problem,) = json.loads(told.stdout)["problems"]
    assert told.return_value == 3
    assert (problem["file"], problem["path"], problem["line"]) == (str(file), "spec", 7)
    assert "too strange" in problem["reason"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Mine", "lower-case"),
        ("-mine", "lower-case"),
        ("", "lower-case"),
        ("m" * 64, "63"),
        ("http-mine", "speaks that"),
    ],
)
def test_a_name_that_no_protocol_may_have_begins_no_description(name: str, words: str) -> None:
    told = CliRunner().invoke(protocol, ["new", "--", name])
    assert (told.exit_code, told.stdout) == (2, "")
    assert words in told.stderr


def test_a_description_has_an_end() -> None:
    run = CliRunner().invoke(protocol, ["validate", "/dev/zero"], standalone_mode=False)
    assert "more than 67,108,864 bytes" in str(run.exception)


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


@pytest.mark.parametrize("form", ["table", "json"])
def test_of_a_large_capture_the_first_frames_are_shown(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mainstay.protocols.explain.MAX_FRAMES", 3)
    file = tmp_path / "calls.pcap"
    one, back = packet(0, 2 * HEARTBEAT), packet(0, 2 * HEARTBEAT, back=True)
    file.write_bytes(pcap([one, back, one.replace(CLIENT[0], b"\x0a\0\0\3")]))
    told = CliRunner().invoke(protocol, ["decode", str(file), "-o", form], standalone_mode=False)
    assert told.return_value == 0
    assert "and 1 direction of connections more, beyond 3 frames: take a part of the capture" in told.stderr
    if form == "json":
        found = [(len(each["frames"]), each["left"]) for each in json.loads(told.stdout)]
        assert found == [(2, 0), (1, len(HEARTBEAT))]
    else:
        assert told.stdout.count("heartbeat · 28 bytes") == 3
        assert "28 bytes left: no more frames are shown" in told.stdout
