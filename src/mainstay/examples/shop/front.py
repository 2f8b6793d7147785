"""The shop's front end: one page needs the catalogue (HTTP), prices (gRPC), the stock (Bolt) and the ledger (TCP)."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from typing import Any

import bolt
import grpc
from serving import TIMEOUT_S, address_of, fetch, serve

_local = threading.local()
_prices = grpc.insecure_channel("{}:{}".format(*address_of("prices")))
_list_prices = _prices.unary_stream(
    "/shop.Prices/List", request_serializer=str.encode, response_deserializer=bytes.decode
)
_get_price = _prices.unary_unary(
    "/shop.Prices/Get", request_serializer=str.encode, response_deserializer=bytes.decode
)
_stock = bolt.Client(address_of("stock"), TIMEOUT_S) if "STOCK_ADDR" in os.environ else None
_customers = itertools.cycle(("alex", "sam", "robin", "kim"))


def left_of(item: str) -> Any:
    """How many are left; who asks stands in a header, by which the mesh may tell customers apart."""
    if _stock is None:
        return None
    return _stock.call("shop.Stock:1.0", "count", item, customer=next(_customers))


def note(line: str) -> str:
    """Writes one line to the ledger and returns its answer."""
    with socket.create_connection(address_of("ledger"), timeout=TIMEOUT_S) as connection:
        connection.sendall(line.encode() + b"\n")
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        while piece := connection.recv(4096):
            answer += piece
    if not answer:
        raise OSError("the ledger did not answer")
    return answer.decode().strip()


def page(path: str) -> Any:
    if path == "/healthz":
        return "ok"
    try:
        items = fetch("catalogue", "/items")
        first = _get_price(items["items"][0], timeout=TIMEOUT_S)
        prices = list(_list_prices(",".join(items["items"]), timeout=TIMEOUT_S))
        reviews = fetch("reviews", "/reviews")
    except grpc.RpcError as error:
        raise OSError(f"prices: {error.code().name} {error.details()}") from None
    return {
        "items": items,
        "first": first,
        "prices": prices,
        "reviews": reviews,
        "left": left_of(items["items"][0]),
        "entry": note(f"viewed {path}"),
    }


serve(page)
