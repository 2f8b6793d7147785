"""A gRPC server that says who it is and who asked; in the mesh by itself if it was given a bootstrap."""

from __future__ import annotations

import os
import signal
import threading
from concurrent import futures

import grpc


def answer(_request: str, context: grpc.ServicerContext) -> str:
    context.send_initial_metadata(())
    peer = next(iter(context.auth_context().get("peer_spiffe_id", ())), b"")
    return f"{os.environ['INSTANCE']} {bytes(peer).decode()}"


handler = grpc.unary_unary_rpc_method_handler(
    answer, request_deserializer=bytes.decode, response_serializer=str.encode
)
by_itself = "GRPC_XDS_BOOTSTRAP" in os.environ
server = grpc.server(futures.ThreadPoolExecutor(4), xds=by_itself)
service = grpc.method_handlers_generic_handler("test.Greeter", {"Who": handler, "Secret": handler})
server.add_generic_rpc_handlers((service,))
place = f"{os.environ['HOST']}:{os.environ['PORT']}"
if by_itself:
    server.add_secure_port(place, grpc.xds_server_credentials(grpc.insecure_server_credentials()))
else:
    server.add_insecure_port(place)
server.start()
ended = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: ended.set())
ended.wait()
server.stop(5).wait()
