"""What rows about framed RPC speak, and the routes that their calls meet.

In: the name of what is spoken. Out: values for the template: a protocol that comes with Mainstay, routes as Envoy's generic proxy
takes them.
"""

from __future__ import annotations

import json
from typing import Any

PROTOCOLS = {"bolt": "bolt", "bolt-crc": "bolt", "dubbo": "dubbo"}
"""What the load generator can speak, and the description that fits."""
SERVICES = {"bolt": "com.example.shop.CartService:1.0", "dubbo": "com.example.shop.CartService"}
"""The service that is called, by description."""
OTHER_SERVICES = 19
ROUTES = 50
_TYPE = "type.googleapis.com/envoy.extensions.filters.network.generic_proxy"


def spoken_by(peer: str, rows: str) -> str:
    """What a peer is to speak: the row's speech, but for one that is named after another, to be compared with it."""
    return peer if peer in PROTOCOLS else rows


def values(speech: str) -> dict[str, str]:
    """Services that nobody calls, and one of whose routes by header the last one matches."""
    if not speech:
        return {}
    called = SERVICES[PROTOCOLS[speech]]
    others = [f"com.example.shop.Other{number}Service:1.0" for number in range(OTHER_SERVICES)]
    hosts = [_host(name, {"on_no_match": _forward()}) for name in others]
    hosts.append(
        _host(called, {"matcher_list": {"matchers": [_by_header(f"r{n + 1}") for n in range(ROUTES)]}})
    )
    return {
        "protocol": PROTOCOLS[speech],
        "routes": json.dumps({"name": "all", "virtual_hosts": hosts}),
    }


def _host(name: str, routes: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "hosts": [name], "routes": routes}


def _by_header(value: str) -> dict[str, Any]:
    header = {"@type": f"{_TYPE}.matcher.v3.PropertyMatchInput", "property_name": "x-route"}
    predicate = {"input": {"name": "header", "typed_config": header}, "value_match": {"exact": value}}
    return {"predicate": {"single_predicate": predicate}, "on_match": _forward()}


def _forward() -> dict[str, Any]:
    action = {
        "@type": f"{_TYPE}.action.v3.RouteAction",
        "cluster": "back",
        "retry_policy": {"num_retries": 2},
    }
    return {"action": {"name": "forward", "typed_config": action}}
