"""Exchange rates over gRPC: an ordinary server that knows nothing of the mesh."""

from __future__ import annotations

import os
import signal
import threading
from concurrent import futures

import grpc

RATES = {"EUR": 1.0, "USD": 1.1}


def get(request: str, _context: grpc.ServicerContext) -> str:
    return str(RATES.get(request, 1.0))


def main() -> None:
    handler = grpc.unary_unary_rpc_method_handler(
        get, request_deserializer=bytes.decode, response_serializer=str.encode
    )
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Rates", {"Get": handler}),))
    server.add_insecure_port(f"{os.environ['HOST']}:{os.environ['PORT']}")
    server.start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    server.stop(grace=5).wait()


main()
