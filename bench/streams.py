"""What xDS streams cost the control plane: `python -m bench.streams [--streams 1000]`.

Machines alone (a proxy with 5,000 clusters), then streams over gRPC on a Unix socket, with the clients in a process of their
own. Prints one JSON object; times are CPU of this process, so only figures of one machine compare.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Set
from typing import Any

import grpc
import msgspec

from mainstay.model.digest import digest_of_bytes
from mainstay.xds import messages
from mainstay.xds.messages import Node
from mainstay.xds.serve_grpcio import SERVER_OPTIONS, Stream, XdsServer
from mainstay.xds.server.stream import ServerStream
from mainstay.xds.server.types import (
    Answered,
    ApplicationReported,
    Demanded,
    HealthReported,
    Peer,
    RequestReceived,
    Send,
    TurnCame,
    ViewChanged,
    WriteFinished,
)
from mainstay.xds.types import ORDER, TYPES, Kind, path

NODE = messages.encode_node(Node("sidecar~127.0.0.1~bench.bench~bench.svc.cluster.local"))
SERVICES = 5_000
CONNECTIONS = 10
ROUNDS = 5


class Entry(msgspec.Struct, frozen=True):
    name: str
    version: bytes
    body: bytes
    refers: tuple[Any, ...] = ()


def entry(name: str, size: int, salt: str = "") -> Entry:
    body = messages.field(1, name.encode()) + messages.field(2, (salt + "x" * size).encode())
    return Entry(name, digest_of_bytes(body), body)


class View:
    def __init__(self, services: int) -> None:
        self.resources: dict[Kind, dict[str, Entry]] = {kind: {} for kind in ORDER}
        for number in range(services):
            for kind, size in (("cluster", 300), ("endpoint", 600)):
                self.put(kind, entry(f"outbound|80||service-{number}", size))  # type: ignore[arg-type]

    def put(self, kind: Kind, resource: Entry) -> None:
        self.resources[kind][resource.name] = resource

    def get(self, kind: Kind, name: str) -> Entry | None:
        return self.resources[kind].get(name)

    def names(self, kind: Kind) -> Set[str]:
        return self.resources[kind].keys()


def ask(kind: Kind, names: list[str], held: dict[str, str], nonce: str = "", node: bytes = b"") -> bytes:
    return messages.encode_delta_request(TYPES[kind].url, names, (), held, nonce, node)


def settle(machine: ServerStream) -> int:
    """Gives turns and verdicts until there is nothing to send; returns the messages sent."""
    count = 0
    while sent := [each for each in machine.handle(TurnCame(), 0) if isinstance(each, Send)]:
        count += 1
        machine.handle(WriteFinished(), 0)
        response = messages.decode_response("delta", sent[0].message)
        machine.handle(RequestReceived(ask(sent[0].kind, [], {}, response.nonce)), 0)
    return count


def open_machine(view: View, held: dict[Kind, dict[str, str]]) -> ServerStream:
    machine = ServerStream("delta", ORDER)
    machine.handle(ViewChanged(view), 0)
    machine.handle(RequestReceived(ask("cluster", [], held.get("cluster", {}), "", NODE)), 0)
    names = list(view.names("endpoint"))
    machine.handle(RequestReceived(ask("endpoint", names, held.get("endpoint", {}))), 0)
    return machine


def measure_machine() -> dict[str, float]:
    view = View(SERVICES)
    begun = time.process_time()
    machine = open_machine(view, {})
    count = settle(machine)
    first_load = time.process_time() - begun
    names = list(view.names("endpoint"))[:1_000]
    changed = [entry(name, 600, "changed") for name in names]
    begun = time.process_time()
    for each in changed:
        view.put("endpoint", each)
        machine.handle(ViewChanged(view, {"endpoint": (each.name,)}), 0)
        settle(machine)
    change = (time.process_time() - begun) / len(changed)
    held: dict[Kind, dict[str, str]] = {
        kind: {name: each.version.hex() for name, each in machine.applied(kind).items()} for kind in ORDER
    }
    begun = time.process_time()
    assert settle(open_machine(view, held)) == 0
    return {
        "services": SERVICES,
        "first_load_ms": round(first_load * 1e3, 1),
        "first_load_messages": count,
        "change_us": round(change * 1e6, 1),
        "resume_ms": round((time.process_time() - begun) * 1e3, 1),
    }


class Owner:
    def __init__(self) -> None:
        self.view = View(1)
        self.streams: list[Stream] = []
        self.answers = 0

    def opened(self, stream: Stream) -> None:
        self.streams.append(stream)
        stream.show(self.view)

    def demanded(self, stream: Stream, demand: Demanded) -> None: ...

    def answered(self, stream: Stream, answer: Answered) -> None:  # noqa: ARG002
        self.answers += 1

    def health_reported(self, stream: Stream, report: HealthReported) -> None: ...

    def application_reported(self, stream: Stream, report: ApplicationReported) -> None: ...

    def closed(self, stream: Stream) -> None: ...


async def run_clients(address: str, streams: int) -> None:
    channels = [grpc.aio.insecure_channel(address, [("bench", number)]) for number in range(CONNECTIONS)]

    async def one(number: int) -> None:
        call: Any = channels[number % CONNECTIONS].stream_stream(path("delta"))()
        await call.write(ask("cluster", [], {}, "", NODE))
        await call.write(ask("endpoint", ["outbound|80||service-0"], {}))
        while (data := await call.read()) is not grpc.aio.EOF:
            response = messages.decode_response("delta", data)
            await call.write(messages.encode_delta_request(response.url, (), (), {}, response.nonce))

    await asyncio.gather(*(one(number) for number in range(streams)))


async def measure_streams(streams: int) -> dict[str, float]:
    owner, loop = Owner(), asyncio.get_running_loop()
    xds = XdsServer(owner, lambda: int(loop.time() * 1_000))
    server = grpc.aio.server(options=SERVER_OPTIONS)
    server.add_generic_rpc_handlers((xds.handler(lambda _: Peer()),))
    with tempfile.TemporaryDirectory() as folder:
        address = f"unix:{folder}/xds.sock"
        server.add_insecure_port(address)
        await server.start()
        turns = loop.create_task(xds.run())
        before = resident_kib()
        clients = subprocess.Popen(
            [sys.executable, "-m", "bench.streams", "--clients", address, "--streams", str(streams)],
            stderr=subprocess.DEVNULL,
        )
        try:
            await answers(owner, 2 * streams)
            per_stream = (resident_kib() - before) / streams
            pushes: list[tuple[float, float]] = []
            for number in range(ROUNDS):
                owner.view.put("endpoint", entry("outbound|80||service-0", 600, str(number)))
                wall, cpu, count = time.perf_counter(), time.process_time(), owner.answers
                for stream in owner.streams:
                    stream.show(owner.view, {"endpoint": ("outbound|80||service-0",)})
                await answers(owner, count + streams)
                pushes.append((time.perf_counter() - wall, (time.process_time() - cpu) / streams))
        finally:
            clients.kill()
            turns.cancel()
            await server.stop(0)
    wall_s, cpu_s = sorted(pushes)[ROUNDS // 2]
    return {
        "streams": streams,
        "kib_per_stream": round(per_stream, 1),
        "push_to_all_ms": round(wall_s * 1e3, 1),
        "push_cpu_us_per_stream": round(cpu_s * 1e6, 1),
    }


async def answers(owner: Owner, count: int) -> None:
    while owner.answers < count:
        await asyncio.sleep(0.001)


def resident_kib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.streams", description=__doc__)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--clients", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.clients:
        asyncio.run(run_clients(options.clients, options.streams))
        return
    found = {"machine": measure_machine(), "grpc": asyncio.run(measure_streams(options.streams))}
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
