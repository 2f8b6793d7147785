"""Real Envoy as client of our server: both variants, ADS and a stream per kind. Traffic flows while routes move between
clusters, and a resource that Envoy refuses is known with its reason."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from model_mesh import SmallView

from mainstay.compile.resource import Fields, Kind, Ref, Resource, extension, make_resource
from mainstay.xds.serve_grpcio import Stream, XdsServer
from mainstay.xds.server.types import Answered, ApplicationReported, Demanded, HealthReported, Peer
from mainstay.xds.types import ORDER
from ports import free_port

PATIENCE_S = 30.0
ADS: Fields = {"ads": {}, "resource_api_version": "V3"}
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")


def cluster(name: str, source: Fields) -> Resource:
    fields = {
        "name": name,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": source},
        "connect_timeout": {"seconds": 2},
    }
    return make_resource("cluster", name, fields, [Ref("endpoint", name)])


def endpoints(name: str, port: int) -> Resource:
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    fields = {
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
    }
    return make_resource("endpoint", name, fields)


def route(target: str) -> Resource:
    host = {
        "name": "all",
        "domains": ["*"],
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": target}}],
    }
    return make_resource("route", "r", {"name": "r", "virtual_hosts": [host]}, [Ref("cluster", target)])


def listener(name: str, port: int, source: Fields) -> Resource:
    manager = {
        "stat_prefix": "in",
        "rds": {"route_config_name": "r", "config_source": source},
        "http_filters": [ROUTER],
    }
    chain = {"filters": [extension("envoy.filters.network.http_connection_manager", HCM, manager)]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    fields = {"name": name, "address": address, "filter_chains": [chain]}
    return make_resource("listener", name, fields, [Ref("route", "r")])


class Owner:
    """Gives every stream the one view there is; a stream that has not told its node waits."""

    def __init__(self) -> None:
        self.view: SmallView | None = None
        self.streams: list[Stream] = []
        self.changed = asyncio.Event()

    def opened(self, stream: Stream) -> None:
        self.streams.append(stream)
        if self.view is not None:
            stream.show(self.view)

    def demanded(self, stream: Stream, demand: Demanded) -> None:
        pass

    def answered(self, stream: Stream, answer: Answered) -> None:  # noqa: ARG002
        self.changed.set()

    def health_reported(self, stream: Stream, report: HealthReported) -> None:
        pass

    def application_reported(self, stream: Stream, report: ApplicationReported) -> None:
        """None reports."""

    def closed(self, stream: Stream) -> None:
        self.streams.remove(stream)

    def show(self, *resources: Resource) -> None:
        self.view = SmallView(*resources)  # type: ignore[arg-type]
        for stream in self.streams:
            stream.show(self.view)

    def applied(self) -> set[tuple[Kind, str]]:
        """What Envoy works with, in the versions of the view."""
        assert self.view is not None
        found: set[tuple[Kind, str]] = set()
        for stream in self.streams:
            for kind in ORDER:
                for name, have in stream.applied(kind).items():
                    current = self.view.get(kind, name)
                    if current is not None and have.version == current.version:
                        found.add((kind, name))
        return found

    def refused(self) -> dict[str, str]:
        return {
            each.name: each.words
            for stream in self.streams
            for status in stream.status().values()
            for each in status.refused
        }


async def until(owner: Owner, condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            owner.changed.clear()
            await owner.changed.wait()


@asynccontextmanager
async def upstream(text: str) -> AsyncIterator[int]:
    """A server that answers everything with one word."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line == b"\r\n":
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode())
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


async def ask(port: int) -> tuple[int, str]:
    """Status and body of one request; 0 if the port is closed."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = (await reader.read()).decode()
        writer.close()
    except OSError:
        return 0, ""
    if not answer:
        return 0, ""
    return int(answer.split(" ")[1]), answer.rpartition("\r\n\r\n")[2]


def bootstrap(port: int, api_type: str, is_aggregated: bool) -> dict[str, Any]:
    xds = {"envoy_grpc": {"cluster_name": "xds"}}
    own = {"api_type": api_type, "transport_api_version": "V3", "grpc_services": [xds]}
    source = {"resource_api_version": "V3", **({"ads": {}} if is_aggregated else {"api_config_source": own})}
    dynamic: dict[str, Any] = {"cds_config": source, "lds_config": source}
    if is_aggregated:
        dynamic["ads_config"] = own
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    http2: dict[str, Any] = {"explicit_http_config": {"http2_protocol_options": {}}}
    options = {"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", **http2}
    return {
        "node": {"id": "sidecar~127.0.0.1~envoy.shop~shop.svc.cluster.local", "cluster": "envoy"},
        "dynamic_resources": dynamic,
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "type": "STATIC",
                    "typed_extension_protocol_options": {
                        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options
                    },
                    "load_assignment": {
                        "cluster_name": "xds",
                        "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
                    },
                }
            ]
        },
    }


@asynccontextmanager
async def envoy(tmp_path: Path, owner: Owner, api_type: str, is_aggregated: bool) -> AsyncIterator[None]:
    binary = os.environ.get("MAINSTAY_TEST_ENVOY", "")
    assert binary, "MAINSTAY_TEST_ENVOY has to name the Envoy binary: `make test` installs one"
    loop = asyncio.get_running_loop()
    xds = XdsServer(owner, lambda: int(loop.time() * 1_000))
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((xds.handler(lambda _: Peer()),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    turns = loop.create_task(xds.run())
    config = tmp_path / "envoy.json"
    config.write_text(json.dumps(bootstrap(port, api_type, is_aggregated)))
    process = await asyncio.create_subprocess_exec(
        binary, "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "-l", "error"
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()
        turns.cancel()
        await server.stop(0)


@pytest.mark.envoy
@pytest.mark.parametrize("is_aggregated", [True, False], ids=["ads", "single"])
@pytest.mark.parametrize("variant", ["sotw", "delta"])
def test_envoy_follows_the_view(variant: str, is_aggregated: bool, tmp_path: Path) -> None:
    api_type = "DELTA_GRPC" if variant == "delta" else "GRPC"
    xds: Fields = {"envoy_grpc": {"cluster_name": "xds"}}
    source: Fields = ADS
    if not is_aggregated:
        own = {"api_type": api_type, "transport_api_version": "V3", "grpc_services": [xds]}
        source = {"api_config_source": own, "resource_api_version": "V3"}

    async def scenario() -> None:
        owner, port = Owner(), free_port()
        async with (
            upstream("one") as one,
            upstream("two") as two,
            envoy(tmp_path, owner, api_type, is_aggregated),
        ):
            entry = listener("l", port, source)
            first = [cluster("a", source), endpoints("a", one), route("a"), entry]
            owner.show(*first)
            await until(owner, lambda: len(owner.applied()) == 4)
            while (await ask(port))[0] != 200:
                await asyncio.sleep(0.01)
            assert await ask(port) == (200, "one")

            moved = [cluster("b", source), endpoints("b", two), route("b"), entry]
            owner.show(*moved)
            seen: set[tuple[int, str]] = set()
            async with asyncio.timeout(PATIENCE_S):
                while (200, "two") not in seen:
                    seen.add(await ask(port))
            await until(owner, lambda: len(owner.applied()) == 4)
            if is_aggregated:  # streams of their own know no order between them
                assert seen <= {(200, "one"), (200, "two")}

            owner.show(*moved[:-1], entry, listener("bad", port, source))
            await until(owner, lambda: "bad" in owner.refused())
            assert "duplicate address" in owner.refused()["bad"]
            assert await ask(port) == (200, "two")

            owner.show(*moved[:-1])
            await until(owner, lambda: not owner.refused())
            async with asyncio.timeout(PATIENCE_S):
                while (await ask(port))[0] != 0:
                    await asyncio.sleep(0.05)

    asyncio.run(asyncio.wait_for(scenario(), 100))
