"""The generic proxy as listeners use it: which protocol, which routes, which filters.

In: a protocol's name, whether the proxy takes descriptions. Out: the network filter, and the listener filter that detects
protocols. A protocol that comes with Mainstay is sent by name, any other as the whole document with its digest, so that a
changed one is a new version of the listener.
"""

from collections.abc import Iterable

from mainstay.compile.access_log import rpc_access_log, tracing
from mainstay.compile.capability import ENVOY_CODECS
from mainstay.compile.facts import Facts
from mainstay.compile.listener.chain import switched_off
from mainstay.compile.resource import Fields, extension, struct
from mainstay.model.rpc import RpcProtocol

_PROXY = "envoy.extensions.filters.network.generic_proxy.v3.GenericProxy"
_TYPED_STRUCT = "xds.type.v3.TypedStruct"
_OWN = "type.googleapis.com/mainstay.dev.v1alpha1."


def rpc_manager(
    facts: Facts, protocol: str, described: bool, label: str, routes: Fields, filters: list[Fields]
) -> Fields:
    """Return the network filter. ``routes`` is ``{"generic_rds": …}`` or ``{"route_config": …}``; ``label`` its
    statistics prefix. A protocol that is gone is sent by name: the proxy keeps what it knew of it."""
    fields: Fields = {
        "stat_prefix": label,
        "codec_config": _codec(facts.protocol(protocol) or RpcProtocol(protocol), described),
        **routes,
        "filters": filters,
        "access_log": rpc_access_log(facts.mesh(), described),
        **(tracing(facts.mesh()) if described else {}),
    }
    return extension("envoy.filters.network.generic_proxy", _PROXY, fields)


def by_name(route: str) -> Fields:
    """Return routes fetched over the aggregated stream."""
    source = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": {}}
    return {"generic_rds": {"route_config_name": route, "config_source": source}}


def protocol_inspector(protocols: Iterable[RpcProtocol], except_ports: Iterable[int] = ()) -> Fields:
    """Return the listener filter that tells protocols by a connection's first bytes, switched off for some ports."""
    values = {"protocols": [_named(protocol) for protocol in protocols]}
    fields = _own_extension("mainstay.listener.protocol_inspector", "ProtocolInspector", values)
    return {**fields, **switched_off(except_ports)}


def _codec(protocol: RpcProtocol, described: bool) -> Fields:
    if not described:
        return extension(*ENVOY_CODECS[protocol.name])
    if protocol.native:
        return _own_extension("mainstay.codecs.native", "NativeCodec", _named(protocol))
    return _own_extension("mainstay.codecs.described", "DescribedCodec", _named(protocol))


def _named(protocol: RpcProtocol) -> dict[str, str]:
    if protocol.native:
        return {"codec": protocol.name}
    values = {"protocol": protocol.name}
    if protocol.description:
        values |= {"description": protocol.description, "sha256": protocol.sha256}
    return values


def _own_extension(name: str, message: str, values: Fields) -> Fields:
    """An extension of ours: its configuration is JSON, so that no server and no proxy needs a descriptor for it."""
    return extension(name, _TYPED_STRUCT, {"type_url": f"{_OWN}{message}", "value": struct(values)})
