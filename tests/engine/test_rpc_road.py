"""What peers of SOFABolt do to each other, through a live engine: versions, checksums, ids, heartbeats, broken frames, ends."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from itertools import pairwise
from queue import Queue
from typing import TYPE_CHECKING

import msgspec
import pytest
from engine_bolt import known
from engine_frames import (
    ANSWER,
    CALL,
    HEARTBEAT,
    ONE_WAY,
    REQUEST,
    RESPONSE,
    Frame,
    answering,
    echo,
    read,
    request,
    request_v2,
)
from engine_live import PATIENCE
from engine_plans import LOOPBACK, cluster, forward, http_chain, listener, routes
from engine_wire import Reader

from mainstay.sidecar import plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from engine_live import Live, Server

    Serve = Callable[..., Server]

CODEC_EXCEPTION, TIMEOUT, CONNECTION_CLOSED, BUSY = 9, 7, 16, 4
SERVER_EXCEPTION = 2


def front(
    live: Live, *servers: Server | int, protocol: plan.RpcProtocol | None = None, **more: object
) -> None:
    table = routes(("/", forward("app", **more)))
    chain = http_chain(table, protocol="rpc", rpc=(protocol or known("bolt"),))
    live.apply(
        cluster("app", *(each if isinstance(each, int) else each.port for each in servers)),
        listener("rpc", chain),
    )


def retries(*retry_on: str) -> plan.RetryPolicy:
    return plan.RetryPolicy(retry_on, 2, None, None, plan.BackOff(1, 10), (), (), (), False, 1)


def ask(connection: socket.socket, *frames: Frame) -> list[Frame]:
    """The answers to these requests, in their order."""
    connection.sendall(b"".join(frame.raw() for frame in frames))
    reader = Reader(connection)
    answers = {answer.number: answer for answer in (read(reader) for _ in frames)}
    return [answers[frame.number] for frame in frames]


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    "frame",
    [
        request(7, body=b"tea"),
        request_v2(7, body=b"tea", ver1=1, switch=0),
        request_v2(7, body=b"tea", ver1=1, switch=1),
        request_v2(7, body=b"tea", ver1=2, switch=0),
        request_v2(7, body=b"tea", ver1=2, switch=1),
    ],
    ids=["v1", "v2.1", "v2.1 with the switch", "v2.2", "v2.2 with a checksum"],
)
def test_each_version_passes_as_it_came(live: Live, serve: Serve, frame: Frame) -> None:
    seen: Queue[Frame] = Queue()

    def act(came: Frame) -> bytes | None:
        seen.put(came)
        return echo(came)

    front(live, serve(answering(act)))
    with live.dial("rpc") as client:
        (answer,) = ask(client, frame)
    assert seen.get()._replace(number=7) == frame
    assert answer == frame._replace(kind=RESPONSE, command=ANSWER, status=0, header=b"")


def test_versions_share_a_port_and_each_has_its_own_connection(live: Live, serve: Serve) -> None:
    versions: dict[int, set[tuple[int, int]]] = {}

    def act_on(connection: socket.socket) -> None:
        def act(frame: Frame) -> bytes | None:
            versions.setdefault(connection.fileno(), set()).add((frame.version, frame.ver1))
            return echo(frame)

        answering(act)(connection)

    front(live, serve(act_on))
    with live.dial("rpc") as client:
        frames = [
            request(1, body=b"1"),
            request_v2(2, body=b"2"),
            request_v2(3, body=b"3", ver1=1, switch=0),
            request(4, body=b"4"),
            request_v2(5, body=b"5", switch=0),
        ]
        answers = ask(client, *frames)
    assert [answer.body for answer in answers] == [b"1", b"2", b"3", b"4", b"5"]
    assert sorted(map(sorted, versions.values())) == [[(1, 0)], [(2, 1)], [(2, 2)]]


def test_a_thousand_calls_at_once_get_their_own_answers(live: Live, serve: Serve) -> None:
    """All of them are in flight together, and answered in any order, on one connection a worker."""

    def serve_all(connection: socket.socket) -> None:
        reader = Reader(connection)
        frames = [read(reader) for _ in range(1_000)]
        assert len({frame.number for frame in frames}) == 1_000
        random.Random(7).shuffle(frames)
        connection.sendall(b"".join(frame.answer(0, frame.body) for frame in frames))
        reader.exactly(1)

    server = serve(serve_all)
    front(live, server)
    with live.dial("rpc") as client:
        # Ids of callers may lie anywhere, and around the end of the numbers.
        frames = [request((2**32 - 500 + call) % 2**32, body=f"{call}".encode()) for call in range(1_000)]
        answers = ask(client, *frames)
    assert [answer.body for answer in answers] == [f"{call}".encode() for call in range(1_000)]
    assert server.accepted == 1


def data_segments(connection: socket.socket) -> int:
    """How often the other side wrote, as long as each write fits a segment of the loopback (64 KiB)."""
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
    return int(struct.unpack_from("=I", told, 152)[0])


def test_calls_that_come_together_leave_together(live: Live, serve: Serve) -> None:
    """As do their answers: one write for what one read brought."""
    many = 200
    writes: Queue[int] = Queue()

    def serve_all(connection: socket.socket) -> None:
        reader = Reader(connection)
        frames = [read(reader) for _ in range(many)]
        writes.put(data_segments(connection))
        connection.sendall(b"".join(frame.answer(0, b"ok") for frame in frames))
        reader.exactly(1)

    front(live, serve(serve_all))
    with live.dial("rpc") as client:
        assert len(ask(client, *map(request, range(many)))) == many
        assert writes.get() <= 10
        assert data_segments(client) <= 10


def test_one_way_calls_arrive_and_are_never_answered(live: Live, serve: Serve) -> None:
    seen: Queue[Frame] = Queue()

    def act(frame: Frame) -> bytes | None:
        seen.put(frame)
        return echo(frame)

    front(live, serve(answering(act)))
    with live.dial("rpc") as client:
        client.sendall(request(5, "note", b"x")._replace(kind=ONE_WAY).raw())
        (answer,) = ask(client, request(6))
    assert (answer.number, seen.get().kind, seen.get().number) == (6, ONE_WAY, 2)
    # Who says all and leaves at once is heard.
    with live.dial("rpc") as client:
        client.sendall(request(5, "note", b"last")._replace(kind=ONE_WAY).raw())
    assert seen.get(timeout=PATIENCE).body == b"last"


def test_a_one_way_call_that_finds_nobody_is_not_answered(live: Live) -> None:
    with socket.create_server((LOOPBACK, 0)) as nobody:
        port = nobody.getsockname()[1]
    front(live, port)
    with live.dial("rpc") as client:
        client.sendall(request(5, "note", b"x")._replace(kind=ONE_WAY).raw())
        (answer,) = ask(client, request(6))
    assert (answer.number, answer.status) == (6, CONNECTION_CLOSED)


def test_heartbeats_of_both_sides_are_answered_here(live: Live, serve: Serve) -> None:
    answers: Queue[Frame] = Queue()
    seen: list[Frame] = []

    def serve_and_ask(connection: socket.socket) -> None:
        reader = Reader(connection)
        seen.append(read(reader))
        connection.sendall(Frame(REQUEST, HEARTBEAT, 900, 3_000, codec=1).raw())
        answers.put(read(reader))
        connection.sendall(seen[0].answer(0, b"ok"))

    front(live, serve(serve_and_ask))
    with live.dial("rpc") as client:
        # As the Node client and Java's with a checksum send them.
        for beat in (
            Frame(REQUEST, HEARTBEAT, 7, 3_000, codec=1),
            Frame(REQUEST, HEARTBEAT, 8, -1, version=2, ver1=2, switch=1, codec=1),
        ):
            (answer,) = ask(client, beat)
            assert answer == beat._replace(kind=RESPONSE, status=0, switch=0)
        assert ask(client, request(9))[0].body == b"ok"
    assert answers.get() == Frame(RESPONSE, HEARTBEAT, 900, 0, codec=1)
    assert [frame.command for frame in seen] == [CALL], "a caller's heartbeats go no further"


def test_an_idle_server_is_asked_whether_it_lives_and_a_busy_one_is_not(live: Live, serve: Serve) -> None:
    protocol = known("bolt")
    assert protocol.heartbeat
    beats = msgspec.structs.replace(protocol.heartbeat, interval=60, longest_interval=240, timeout=5_000)
    arrived: Queue[tuple[float, Frame]] = Queue()

    def act(frame: Frame) -> bytes | None:
        arrived.put((time.monotonic(), frame))
        if frame.command == HEARTBEAT:
            return frame._replace(kind=RESPONSE, status=0).raw()
        return echo(frame)

    front(live, serve(answering(act)), protocol=msgspec.structs.replace(protocol, heartbeat=beats))
    with live.dial("rpc") as client:
        ask(client, request(1))
        moments = [arrived.get(timeout=PATIENCE) for _ in range(5)]
    assert [frame.command for _, frame in moments] == [CALL, *[HEARTBEAT] * 4]
    waits = [after[0] - before[0] for before, after in pairwise(moments)]
    # 60, 120, 240, 240 ms, and whatever a busy machine adds.
    assert all(wait >= least for wait, least in zip(waits, [0.055, 0.115, 0.235, 0.235], strict=True)), waits


def test_a_server_that_answers_no_heartbeat_is_left(live: Live, serve: Serve) -> None:
    protocol = known("bolt")
    assert protocol.heartbeat
    beats = msgspec.structs.replace(protocol.heartbeat, interval=20, longest_interval=20, timeout=20)
    ended = threading.Event()

    def deaf(connection: socket.socket) -> None:
        reader = Reader(connection)
        try:
            while True:
                read(reader)
        finally:
            ended.set()

    front(live, serve(deaf), protocol=msgspec.structs.replace(protocol, heartbeat=beats))
    with live.dial("rpc") as client:
        (answer,) = ask(client, request(1))
    assert answer.status == CONNECTION_CLOSED
    assert ended.wait(PATIENCE)


def test_an_oversize_frame_is_answered_and_ends_its_connection_alone(live: Live, serve: Serve) -> None:
    front(live, serve(answering(echo)))
    with live.dial("rpc") as neighbour, live.dial("rpc") as client:
        ask(neighbour, request(1))
        head = request(9).raw()[:18] + struct.pack(">I", 9 << 20)
        # It is still being sent when the answer comes: that must not be lost.
        client.sendall(head + b"x" * 500_000)
        answer = read(Reader(client))
        assert (answer.number, answer.status) == (9, CODEC_EXCEPTION)
        assert is_closed(client)
        assert ask(neighbour, request(2, body=b"fine"))[0].body == b"fine"


@pytest.mark.parametrize("cut", [1, 10, 21, 30, 90])
def test_a_truncated_frame_is_nobodys_call(live: Live, serve: Serve, cut: int) -> None:
    seen: list[Frame] = []

    def act(frame: Frame) -> bytes | None:
        seen.append(frame)
        return echo(frame)

    front(live, serve(answering(act)))
    with live.dial("rpc") as client:
        client.sendall(request(5, body=b"x" * 50).raw()[:cut])
        client.shutdown(socket.SHUT_WR)
        assert is_closed(client)
    with live.dial("rpc") as client:
        assert ask(client, request(6, body=b"whole"))[0].body == b"whole"
    assert [frame.body for frame in seen] == [b"whole"]


def test_null_keys_and_values_move_nothing_and_pass(live: Live, serve: Serve) -> None:
    seen: Queue[Frame] = Queue()

    def act(frame: Frame) -> bytes | None:
        seen.put(frame)
        return echo(frame)

    front(live, serve(answering(act)))
    null, x = struct.pack(">i", -1), struct.pack(">i", 1) + b"x"
    frame = request(1)
    frame = frame._replace(header=null + x + x + null + null + null + frame.header)
    with live.dial("rpc") as client:
        ask(client, frame)
    assert seen.get().header == frame.header


@pytest.mark.parametrize(
    "header", [b"\0\0\0", b"\0\0\0\x09x", b"\0\0\0\x01x"], ids=["no length", "beyond the end", "no value"]
)
def test_a_cut_header_map_is_answered_and_ends_the_connection(
    live: Live, serve: Serve, header: bytes
) -> None:
    front(live, serve(answering(echo)))
    with live.dial("rpc") as client:
        (answer,) = ask(client, request(3)._replace(header=header))
        assert answer.status == CODEC_EXCEPTION
        assert is_closed(client)


def test_an_unknown_command_ends_its_connection_alone(live: Live, serve: Serve) -> None:
    """As Java peers do: what it wanted is not known, so nothing can be said."""
    front(live, serve(answering(echo)))
    with live.dial("rpc") as neighbour, live.dial("rpc") as client:
        ask(neighbour, request(1))
        client.sendall(request(3)._replace(command=77).raw())
        assert is_closed(client)
        assert ask(neighbour, request(2, body=b"fine"))[0].body == b"fine"


def test_a_wrong_checksum_is_answered_with_a_right_one(live: Live, serve: Serve) -> None:
    front(live, serve(answering(echo)))
    spoilt = bytearray(request_v2(3, body=b"tea").raw())
    spoilt[-5] ^= 1
    with live.dial("rpc") as client:
        client.sendall(spoilt)
        answer = read(Reader(client))
        assert (answer.number, answer.status, answer.has_checksum) == (3, CODEC_EXCEPTION, True)
        assert is_closed(client)


def test_a_broken_answer_costs_one_call(live: Live, serve: Serve) -> None:
    def act(frame: Frame) -> bytes | None:
        if frame.headers["sofa_head_method_name"] == "bad":
            return frame._replace(kind=RESPONSE, command=ANSWER, status=0, header=b"\0\0\0\x09").raw()
        return echo(frame)

    server = serve(answering(act))
    front(live, server)
    with live.dial("rpc") as client:
        answers = ask(client, request(1, body=b"1"), request(2, "bad"), request(3, body=b"3"))
    assert [(answer.status, answer.body) for answer in answers] == [
        (0, b"1"),
        (CONNECTION_CLOSED, b""),
        (0, b"3"),
    ]
    assert server.accepted == 1


def test_exceptions_of_the_application_pass_with_their_content(live: Live, serve: Serve) -> None:
    """The Node server answers with status 2 and a serialised exception; nothing of it is a fault of the mesh."""
    front(live, serve(answering(lambda frame: frame.answer(SERVER_EXCEPTION, b"O\x07oops"))))
    with live.dial("rpc") as client:
        (answer,) = ask(client, request(1))
    assert (answer.status, answer.body) == (SERVER_EXCEPTION, b"O\x07oops")
    stats = live.engine.render("/stats").decode()
    assert "cluster.app.upstream_rq_5xx: 1" in stats


def test_a_call_times_out_here_and_its_late_answer_harms_nobody(live: Live, serve: Serve) -> None:
    slow: Queue[Frame] = Queue()

    def serve_slowly(connection: socket.socket) -> None:
        reader = Reader(connection)
        while True:
            frame = read(reader)
            if frame.headers["sofa_head_method_name"] == "slow":
                slow.put(frame)
                continue
            late = [slow.get().answer(0, b"late")] if not slow.empty() else []
            connection.sendall(b"".join([*late, frame.answer(0, frame.body)]))

    server = serve(serve_slowly)
    front(live, server)
    with live.dial("rpc") as client:
        # The caller's own patience, in the frame and in the deadline header, whichever is shorter.
        (answer,) = ask(client, request(1, "slow", patience=50))
        assert (answer.number, answer.status) == (1, TIMEOUT)
        assert slow.qsize() == 1
        (answer,) = ask(client, request(2, body=b"next"))
        assert (answer.number, answer.body) == (2, b"next")
    assert server.accepted == 1


def test_routes_limit_the_time_of_calls_without_any(live: Live, serve: Serve) -> None:
    front(live, serve(answering(lambda _: None)), timeout=40)
    with live.dial("rpc") as client:
        (answer,) = ask(client, request(1, patience=60_000))
    assert answer.status == TIMEOUT


def test_a_provider_that_restarts_is_found_again(live: Live, serve: Serve) -> None:
    connections: Queue[socket.socket] = Queue()

    def act_on(connection: socket.socket) -> None:
        connections.put(connection)
        answering(echo)(connection)

    front(live, serve(act_on))
    with live.dial("rpc") as client:
        assert ask(client, request(1, body=b"before"))[0].body == b"before"
        connections.get().shutdown(socket.SHUT_RDWR)
        # Perhaps one call meets the end; it is told so, and the caller's connection stays.
        for number in range(2, 100):
            (answer,) = ask(client, request(number, body=b"after"))
            if answer.status == 0:
                break
            assert answer.status == CONNECTION_CLOSED
        assert answer.body == b"after"


def test_a_busy_provider_is_not_asked_twice_and_another_one_is(live: Live, serve: Serve) -> None:
    """What Istio's routes retry by default repeats what did not run, and nothing else."""
    ran: list[int] = []

    def act_as(status: int) -> Callable[[Frame], bytes | None]:
        def act(frame: Frame) -> bytes | None:
            ran.append(status)
            return frame.answer(status, b"")

        return act

    policy = retries("connect-failure", "refused-stream", "unavailable", "cancelled")
    policy = msgspec.structs.replace(policy, avoid_previous_hosts=True, host_selection_attempts=5)
    front(live, serve(answering(act_as(BUSY))), serve(answering(act_as(0))), retry=policy)
    with live.dial("rpc") as client:
        # One after the other: a breaker bounds how many are tried again at once.
        answers = [ask(client, request(number))[0] for number in range(1, 9)]
    assert {answer.status for answer in answers} == {0}
    assert BUSY in ran
    assert ran.count(0) == 8


def test_a_call_that_failed_is_not_repeated_unless_the_route_says_so(live: Live, serve: Serve) -> None:
    ran: list[int] = []

    def act(frame: Frame) -> bytes | None:
        ran.append(frame.number)
        return frame.answer(SERVER_EXCEPTION if len(ran) % 2 else 0, b"")

    server = serve(answering(act))
    for retry_on, status in [("unavailable", SERVER_EXCEPTION), ("5xx", 0)]:
        ran.clear()
        front(live, server, retry=retries(retry_on))
        with live.dial("rpc") as client:
            assert ask(client, request(1))[0].status == status, retry_on


def test_large_frames_of_many_callers_pass_beside_small_ones(live: Live, serve: Serve) -> None:
    server = serve(answering(echo))
    front(live, server)
    body = bytes(range(251)) * 4_000
    large = [live.dial("rpc") for _ in range(6)]
    frames = [
        request_v2(1, body=body).raw() if index % 2 else request(1, body=body).raw() for index in range(6)
    ]
    for client, frame in zip(large, frames, strict=True):
        client.sendall(frame[:300_000])
    with live.dial("rpc") as small:
        for number in range(20):
            assert ask(small, request(number, body=b"s"), request_v2(number + 100, body=b"t"))[1].body == b"t"
    # One of them dies within its frame.
    large[0].close()
    for client, frame in zip(large[1:], frames[1:], strict=True):
        client.sendall(frame[300_000:])
    for client in large[1:]:
        assert read(Reader(client)).body == body
        client.close()
