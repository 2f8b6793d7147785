"""Messages of the generic proxy, in a line each, and what conversion makes of them."""

from __future__ import annotations

from typing import Any

import pytest

from mainstay._proto import pool
from mainstay.sidecar import plan
from mainstay.sidecar.convert.gathered import Gathered
from mainstay.sidecar.convert.generic_route import generic_route_table
from mainstay.sidecar.convert.listener import listener
from mainstay.sidecar.convert.refuse import Refused

Fields = dict[str, Any]
URL = "type.googleapis.com/"
GENERIC = URL + "envoy.extensions.filters.network.generic_proxy."
ROUTER: Fields = {"name": "router", "typed_config": {"@type": GENERIC + "router.v3.Router"}}
CONFIGURATION = "envoy.extensions.filters.network.generic_proxy.v3.RouteConfiguration"


def struct(kind: str, value: Fields) -> Fields:
    return {
        "@type": URL + "xds.type.v3.TypedStruct",
        "type_url": f"{URL}mainstay.dev.v1alpha1.{kind}",
        "value": value,
    }


def codec(**value: Any) -> Fields:
    return {"name": "mainstay.codecs.described", "typed_config": struct("DescribedCodec", value)}


def convert_listener(
    listener_filters: list[Fields] | None = None, **fields: Any
) -> tuple[plan.Listener, Gathered]:
    proxy = {
        "@type": GENERIC + "v3.GenericProxy",
        "stat_prefix": "rpc",
        "codec_config": codec(protocol="bolt"),
        "generic_rds": {"route_config_name": "routes", "config_source": {"ads": {}}},
        "filters": [ROUTER],
    } | fields
    if "route_config" in fields:
        del proxy["generic_rds"]
    value = {
        "name": "rpc",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}},
        "filter_chains": [{"filters": [{"name": "rpc", "typed_config": proxy}]}],
        "listener_filters": listener_filters or [],
    }
    gathered = Gathered("rpc")
    return listener(pool.from_json("envoy.config.listener.v3.Listener", value), gathered), gathered


def manager(**fields: Any) -> plan.HttpConnectionManager:
    terminal = convert_listener(**fields)[0].chains[0].terminal
    assert isinstance(terminal, plan.HttpTerminal)
    return terminal.manager


def refused(**fields: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        convert_listener(**fields)
    assert caught.value.path.startswith("filter_chains[0].filters[0].typed_config")
    path = caught.value.path.removeprefix("filter_chains[0].filters[0].typed_config").removeprefix(".")
    return Refused(path, caught.value.reason)


def action(cluster: str = "a", **fields: Any) -> Fields:
    config: Fields = {"@type": GENERIC + "action.v3.RouteAction"} | fields
    if "weighted_clusters" not in fields and cluster:
        config["cluster"] = cluster
    return {"action": {"name": "route", "typed_config": config}}


def predicate(kind: str, match: Fields, **config: Any) -> Fields:
    chosen = {"name": "i", "typed_config": {"@type": f"{GENERIC}matcher.v3.{kind}MatchInput"} | config}
    return {"single_predicate": {"input": chosen, "value_match": match}}


def matchers(*pairs: tuple[Fields, Fields], otherwise: Fields | None = None) -> Fields:
    entries = [{"predicate": asked, "on_match": then} for asked, then in pairs]
    made: Fields = {"matcher_list": {"matchers": entries}} if entries else {}
    return made if otherwise is None else made | {"on_no_match": otherwise}


def table(**fields: Any) -> plan.RouteTable:
    return generic_route_table(pool.from_json(CONFIGURATION, {"name": "routes"} | fields))


def routes(matcher: Fields) -> tuple[plan.Route, ...]:
    (host,) = table(routes=matcher).virtual_hosts
    return host.routes
