"""Prices over gRPC: one price by a unary call, all of them as a stream. Messages are plain text; no code is generated."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent import futures

import grpc

PRICES = {"anchor": 120, "compass": 45, "rope": 9, "sextant": 310}


def get(request: str, _context: grpc.ServicerContext) -> str:
    return f"{request}={PRICES.get(request, 0)}"


def list_prices(request: str, _context: grpc.ServicerContext) -> Iterator[str]:
    for item in request.split(","):
        yield f"{item}={PRICES.get(item, 0)}"


def main() -> None:
    text = {"request_deserializer": bytes.decode, "response_serializer": str.encode}
    handlers = {
        "Get": grpc.unary_unary_rpc_method_handler(get, **text),
        "List": grpc.unary_stream_rpc_method_handler(list_prices, **text),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Prices", handlers),))
    server.add_insecure_port(f"{os.environ['HOST']}:{os.environ['PORT']}")
    server.start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    server.stop(grace=5).wait()


main()
