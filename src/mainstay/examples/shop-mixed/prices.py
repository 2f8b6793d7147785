"""Prices over gRPC, in the mesh without a proxy: gRPC's own library gets endpoints, routes, policies and certificates.

All it takes is in three places: `xds=True` and `xds_server_credentials` for the server, `xds_channel_credentials` and a target
`xds:///…` for the client. `GRPC_XDS_BOOTSTRAP` in the environment says who the control plane is and where certificates are.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent import futures

import grpc

PRICES = {"anchor": 120, "compass": 45, "rope": 9, "sextant": 310}
TIMEOUT_S = 5.0

_rates = grpc.secure_channel(os.environ["RATES_ADDR"], grpc.xds_channel_credentials())
_get_rate = _rates.unary_unary(
    "/shop.Rates/Get", request_serializer=str.encode, response_deserializer=bytes.decode
)


def rate(context: grpc.ServicerContext) -> float:
    # A call that ends before its head was sent aborts the process of an xDS server in grpcio 1.84 and 1.85.
    context.send_initial_metadata(())
    try:
        return float(_get_rate("USD", timeout=TIMEOUT_S))
    except grpc.RpcError as error:
        context.abort(grpc.StatusCode.UNAVAILABLE, f"rates: {error.code().name} {error.details()}")
        raise


def get(request: str, context: grpc.ServicerContext) -> str:
    return f"{request}={PRICES.get(request, 0) * rate(context):.2f}"


def list_prices(request: str, context: grpc.ServicerContext) -> Iterator[str]:
    factor = rate(context)
    for item in request.split(","):
        yield f"{item}={PRICES.get(item, 0) * factor:.2f}"


def main() -> None:
    text = {"request_deserializer": bytes.decode, "response_serializer": str.encode}
    handlers = {
        "Get": grpc.unary_unary_rpc_method_handler(get, **text),
        "List": grpc.unary_stream_rpc_method_handler(list_prices, **text),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8), xds=True)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("shop.Prices", handlers),))
    # The control plane decides whether this port takes mutual TLS; plain bytes only where a policy says so.
    credentials = grpc.xds_server_credentials(grpc.insecure_server_credentials())
    server.add_secure_port(f"{os.environ['HOST']}:{os.environ['PORT']}", credentials)
    server.start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    server.stop(grace=5).wait()


main()
