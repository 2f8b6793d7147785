"""Plans for framed RPC: the configuration of a file for HTTP, spoken by a described protocol.

In: a bootstrap file's configuration, the name of what is spoken. Out: the delta that `mainstay-bare` reads. Routes, filters and
logs are those of the file: to the engine an RPC service is a host and `/service/method` a path.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec

from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.read import shipped
from mainstay.sidecar import plan

if TYPE_CHECKING:
    from mainstay.engine import Upsert

PROTOCOLS = {"bolt": "bolt", "bolt-crc": "bolt", "dubbo": "dubbo"}
"""What the load generator can speak, and the description that fits."""
SERVICES = {"bolt": "com.example.shop.CartService:1.0", "dubbo": "com.example.shop.CartService"}
"""The service that is called, by description."""
OTHER_SERVICES = 19
ROUTES = 50


def hosts(speech: str) -> str:
    """Virtual hosts of the file, as JSON: services that nobody calls, and one of whose routes by header the last one matches."""
    called = SERVICES[PROTOCOLS[speech]]
    others = [f"com.example.shop.Other{number}Service:1.0" for number in range(OTHER_SERVICES)]
    made = [_host(name, [_route(name, None)]) for name in others]
    made.append(_host(called, [_route(called, number) for number in range(1, ROUTES + 1)]))
    return json.dumps(made)


def _host(name: str, routes: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "domains": [name], "routes": routes}


def _route(service: str, number: int | None) -> dict[str, Any]:
    match: dict[str, Any] = {"prefix": f"/{service}/"}
    if number is not None:
        match["headers"] = [{"name": "x-route", "string_match": {"exact": f"r{number}"}}]
    retry = {"retry_on": "connect-failure,refused-stream,unavailable", "num_retries": 2}
    return {"name": service, "match": match, "route": {"cluster": "back", "retry_policy": retry}}


def spoken(upsert: Upsert, speech: str) -> Upsert:
    """A resource, with its HTTP spoken by the protocol if it is a listener."""
    if upsert.resource != "listener":
        return upsert
    wanted = PROTOCOLS[speech]
    protocol = next(
        compile_protocol(each.name, each.description) for each in shipped() if each.name == wanted
    )
    listener = msgspec.msgpack.decode(upsert.body, type=plan.Listener)
    chains = tuple(_spoken(chain, protocol) for chain in listener.chains)
    return msgspec.structs.replace(upsert, body=plan.encode(msgspec.structs.replace(listener, chains=chains)))


def _spoken(chain: plan.FilterChain, protocol: plan.RpcProtocol) -> plan.FilterChain:
    match chain.terminal:
        case plan.HttpTerminal(manager):
            framed = msgspec.structs.replace(manager, protocol="rpc", rpc=(protocol,))
            return msgspec.structs.replace(chain, terminal=plan.HttpTerminal(framed))
    return chain
