"""A view as a static Envoy bootstrap, so that real Envoy can judge it without a control plane.

In: a ``View``. Out: bootstrap as plain JSON. What the proxy would fetch is put where Envoy looks at it while validating: routes
into their connection managers, endpoints into their clusters; only secrets stay names.
"""

import copy
from typing import Any

from mainstay._proto import pool
from mainstay.compile.names import SDS_CLUSTER
from mainstay.compile.resource import MESSAGES, Kind
from mainstay.compile.view import View

Json = dict[str, Any]


def view_json(view: View) -> dict[Kind, list[Json]]:
    """Return every resource as Protobuf JSON, by kind and name."""
    return {
        kind: [pool.to_json(pool.parse(MESSAGES[kind], resource.body)) for resource in held.values()]
        for kind, held in view.resources.items()
    }


def bootstrap_of(view: View) -> Json:
    """Return a bootstrap with everything of the view in it."""
    resources = view_json(view)
    routes = {route["name"]: route for route in resources["route"]}
    calls = {route["name"]: route for route in resources["generic_route"]}
    endpoints = {entry["cluster_name"]: entry for entry in resources["endpoint"]}
    for listener in resources["listener"]:
        filters = listener.get("listener_filters", [])
        filters[:] = [each for each in filters if not each["name"].startswith("mainstay.")]
        chains = [*listener.get("filter_chains", ()), listener.get("default_filter_chain", {})]
        for entry in (entry for chain in chains for entry in chain.get("filters", ())):
            config = entry["typed_config"]
            if "rds" in config:
                config["route_config"] = routes[config.pop("rds")["route_config_name"]]
            if "codec_config" in config:
                if "generic_rds" in config:
                    name = config.pop("generic_rds")["route_config_name"]
                    config["route_config"] = copy.deepcopy(calls[name])
                _judge_as_dubbo(config)
    for cluster in resources["cluster"]:
        if cluster.get("type") == "EDS":
            cluster["type"] = "STATIC"
            cluster["load_assignment"] = endpoints[cluster["name"]]
            del cluster["eds_cluster_config"]
    agents = [_agent(SDS_CLUSTER), _agent("ads")]
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "ads"}}],
    }
    return {
        "node": {"id": "golden", "cluster": "golden"},
        "static_resources": {
            "listeners": resources["listener"],
            "clusters": [*resources["cluster"], *agents],
        },
        "dynamic_resources": {"ads_config": ads},
    }


def _judge_as_dubbo(proxy: Json) -> None:
    """What only Mainstay's proxy has in a generic proxy is left out, so that Envoy judges the rest: its codec stands for the
    described one, and neither HTTP's filters nor routes beside an action are there."""
    if not proxy["codec_config"]["name"].startswith("mainstay.codecs."):
        return
    codec = "envoy.extensions.filters.network.generic_proxy.codecs.dubbo.v3.DubboCodecConfig"
    proxy["codec_config"] = {
        "name": "envoy.generic_proxy.codecs.dubbo",
        "typed_config": {"@type": f"type.googleapis.com/{codec}"},
    }
    proxy["filters"] = proxy["filters"][-1:]
    proxy.pop("access_log", None)
    _without(proxy["route_config"], "per_filter_config")


def _without(value: object, key: str) -> None:
    if isinstance(value, dict):
        value.pop(key, None)
        for each in value.values():
            _without(each, key)
    elif isinstance(value, list):
        for each in value:
            _without(each, key)


def _agent(name: str) -> Json:
    """A gRPC server beside the proxy; validation connects to nothing."""
    http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {
        "@type": f"type.googleapis.com/{http2}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    host = {"endpoint": {"address": {"pipe": {"path": f"/run/mainstay/{name}.sock"}}}}
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {http2: options},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [host]}]},
    }
