"""A front end that answers each request by one gRPC call; the shop's helpers do the rest."""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.insert(0, os.environ["SHOP"])

import grpc
from serving import TIMEOUT_S, address_of, serve

_prices = grpc.insecure_channel("{}:{}".format(*address_of("prices")))
_get_price = _prices.unary_unary(
    "/shop.Prices/Get", request_serializer=str.encode, response_deserializer=bytes.decode
)


def answer(path: str) -> Any:
    if path == "/healthz":
        return "ok"
    try:
        # While the sidecar beside it starts anew the call waits for it.
        return _get_price("rope", timeout=TIMEOUT_S, wait_for_ready=True)
    except grpc.RpcError as error:
        raise OSError(f"prices: {error.code().name} {error.details()}") from None


serve(answer)
