"""The generic proxy (`envoy.extensions.filters.network.generic_proxy.v3.GenericProxy`): RPC, which the engine carries as it does
HTTP. Its HTTP filters, access logs and tracing are HTTP's."""

from __future__ import annotations

from typing import Any

from mainstay.sidecar import plan
from mainstay.sidecar.convert.access_log import access_logs
from mainstay.sidecar.convert.described import codec
from mainstay.sidecar.convert.filters.chain import Router, filters_before
from mainstay.sidecar.convert.gathered import Gathered
from mainstay.sidecar.convert.generic_route import generic_route_table
from mainstay.sidecar.convert.http_manager import tracing
from mainstay.sidecar.convert.refuse import Refused, at, check, known
from mainstay.sidecar.convert.source import Aggregated, File, config_source, patience

TYPE = "envoy.extensions.filters.network.generic_proxy.v3.GenericProxy"
ROUTER = "envoy.extensions.filters.network.generic_proxy.router.v3.Router"
_PROXY_FIELDS = known(
    TYPE, {"stat_prefix", "codec_config", "generic_rds", "route_config", "filters", "access_log", "tracing"}
)
_RDS_FIELDS = known(
    "envoy.extensions.filters.network.generic_proxy.v3.GenericRds", {"config_source", "route_config_name"}
)
_FILTER_FIELDS = known("envoy.config.core.v3.TypedExtensionConfig", {"name", "typed_config"})
_ROUTER = Router(ROUTER, known(ROUTER, ()))


def generic_proxy(message: Any, gathered: Gathered) -> plan.HttpConnectionManager:
    check(message, _PROXY_FIELDS)
    with at("codec_config"):
        protocol = codec(message.codec_config)
    return plan.HttpConnectionManager(
        stat_prefix=message.stat_prefix,
        routes=_routes(message, gathered),
        protocol="rpc",
        rpc=(protocol,),
        filters=filters_before(_ROUTER, message.filters, "filters", _FILTER_FIELDS),
        access_logs=access_logs(message.access_log),
        tracing=tracing(message),
        server_name=None,
        generate_request_id=False,
    )


def _routes(message: Any, gathered: Gathered) -> plan.GenericRoutes | plan.InlineRoutes:
    match message.WhichOneof("route_specifier"):
        case "generic_rds":
            with at("generic_rds"):
                return _named(message.generic_rds, gathered)
        case "route_config":
            with at("route_config"):
                return plan.InlineRoutes(generic_route_table(message.route_config))
        case _:
            raise Refused("route_specifier", "is required: generic_rds or route_config")


def _named(message: Any, gathered: Gathered) -> plan.GenericRoutes:
    check(message, _RDS_FIELDS)
    name = message.route_config_name
    if not name:
        raise Refused("route_config_name", "is required")
    with at("config_source"):
        source = config_source(message.config_source)
        if not isinstance(source, Aggregated | File):
            raise Refused(
                message.config_source.WhichOneof("config_source_specifier"),
                "routes of the generic proxy come over ADS or from a file, as in Envoy",
            )
    gathered.name("generic_route", name, source, patience(message.config_source))
    return plan.GenericRoutes(name)
