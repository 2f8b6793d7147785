"""gRPC's own xDS client (no proxy) against our server: it asks by name, from the listener down, over SotW ADS."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
from model_mesh import SmallView
from test_serve_grpcio import OneView

from mainstay.compile.resource import Fields, Ref, Resource, extension, make_resource, pack
from mainstay.xds.serve_grpcio import XdsServer
from mainstay.xds.server.types import Peer

ADS: Fields = {"ads": {}, "resource_api_version": "V3"}
HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
CLIENT = """
import grpc, sys
channel = grpc.insecure_channel("xds:///shop")
ask = channel.unary_unary("/shop.Shop/Ask")
for _ in sys.stdin:
    try:
        print(ask(b"", timeout=10, wait_for_ready=True).decode(), flush=True)
    except grpc.RpcError as error:
        print("failed:", error.code().name, error.details(), flush=True)
"""


def resources(target: str, port: int) -> list[Resource]:
    router = extension("router", "envoy.extensions.filters.http.router.v3.Router")
    manager = {
        "rds": {"route_config_name": "r", "config_source": ADS},
        "http_filters": [router],
    }
    match = {"prefix": ""}
    host = {"name": "all", "domains": ["*"], "routes": [{"match": match, "route": {"cluster": target}}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    locality = {
        "locality": {"region": "r"},
        "load_balancing_weight": {"value": 1},
        "lb_endpoints": [{"endpoint": {"address": address}}],
    }
    cluster = {"name": target, "type": "EDS", "eds_cluster_config": {"eds_config": ADS}}
    return [
        make_resource(
            "listener",
            "shop",
            {"name": "shop", "api_listener": {"api_listener": pack(HCM, manager)}},
            [Ref("route", "r")],
        ),
        make_resource("route", "r", {"name": "r", "virtual_hosts": [host]}, [Ref("cluster", target)]),
        make_resource("cluster", target, cluster, [Ref("endpoint", target)]),
        make_resource("endpoint", target, {"cluster_name": target, "endpoints": [locality]}),
    ]


@asynccontextmanager
async def backend(text: str) -> AsyncIterator[int]:
    async def answer(_request: bytes, _context: Any) -> bytes:
        return text.encode()

    server = grpc.aio.server()
    handler = grpc.method_handlers_generic_handler(
        "shop.Shop", {"Ask": grpc.unary_unary_rpc_method_handler(answer)}
    )
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(0)


async def ask(process: asyncio.subprocess.Process) -> str:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    return (await asyncio.wait_for(process.stdout.readline(), 30)).decode().strip()


def test_grpc_follows_the_view() -> None:
    async def scenario() -> None:
        owner, loop = OneView(), asyncio.get_running_loop()
        xds = XdsServer(owner, lambda: int(loop.time() * 1_000))
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((xds.handler(lambda _: Peer()),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        turns = loop.create_task(xds.run())
        bootstrap = {
            "xds_servers": [
                {
                    "server_uri": f"127.0.0.1:{port}",
                    "channel_creds": [{"type": "insecure"}],
                    "server_features": ["xds_v3"],
                }
            ],
            "node": {"id": "grpc-client"},
        }
        async with backend("one") as one, backend("two") as two:
            owner.show(SmallView(*resources("a", one)), None)  # type: ignore[arg-type]
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-c",
                CLIENT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={**os.environ, "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(bootstrap)},
            )
            try:
                assert await ask(process) == "one"
                owner.show(SmallView(*resources("b", two)), None)  # type: ignore[arg-type]
                seen: set[str] = set()
                async with asyncio.timeout(30):
                    while "two" not in seen:
                        seen.add(await ask(process))
                assert seen <= {"one", "two"}
            finally:
                process.kill()
                await process.wait()
        turns.cancel()
        await server.stop(0)

    asyncio.run(asyncio.wait_for(scenario(), 100))
