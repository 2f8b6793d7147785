"""Where a resource comes from that another one names: Envoy's `ConfigSource`.

In: `ConfigSource`, `ApiConfigSource`. Out: `Source` values, which are compared and used as keys. Who opens streams and reads
files is `sidecar/discovery`; here nothing is looked up.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.refuse import Refused, at, check, known

Variant = Literal["sotw", "delta"]
VARIANTS: dict[int, Variant] = {2: "sotw", 3: "delta"}
_AGGREGATED_TYPES = (5, 6)
_V2 = 1
_FORMATS = (".json", ".yaml", ".yml", ".pb")


class Aggregated(msgspec.Struct, frozen=True, tag=True):
    """The one stream of all kinds (ADS)."""

    def __str__(self) -> str:
        return "ads"


class Same(msgspec.Struct, frozen=True, tag=True):
    """`self`: from where the resource came that says so."""

    def __str__(self) -> str:
        return "self"


class Service(msgspec.Struct, frozen=True, tag=True):
    """A gRPC server; each kind has a stream of its own there. `metadata` may hold `:authority`. `node_always`: it is told the
    node in each request, since some servers do not remember it."""

    cluster: str
    variant: Variant = "delta"
    metadata: tuple[tuple[str, str], ...] = ()
    node_always: bool = False

    def __str__(self) -> str:
        return f"{self.cluster} ({self.variant})"


class File(msgspec.Struct, frozen=True, tag=True):
    """A file with a `DiscoveryResponse`."""

    path: str

    def __str__(self) -> str:
        return self.path


Source = Aggregated | Same | Service | File
AGGREGATED = Aggregated()

_CONFIG_SOURCE_FIELDS = known(
    "envoy.config.core.v3.ConfigSource",
    {
        "path",
        "path_config_source",
        "api_config_source",
        "ads",
        "self",
        "initial_fetch_timeout",
        "resource_api_version",
    },
)
_PATH_FIELDS = known(
    "envoy.config.core.v3.PathConfigSource",
    # The file itself is watched, so a directory beside it says nothing new.
    {"path", "watched_directory"},
)
_API_FIELDS = known(
    "envoy.config.core.v3.ApiConfigSource",
    {"api_type", "transport_api_version", "grpc_services", "set_node_on_first_message_only"},
)
_GRPC_FIELDS = known("envoy.config.core.v3.GrpcService", {"envoy_grpc", "initial_metadata", "timeout"})
_ENVOY_GRPC_FIELDS = known("envoy.config.core.v3.GrpcService.EnvoyGrpc", {"cluster_name", "authority"})


PATIENCE_MS = 15_000
"""How long what names a resource waits for it, where its source says nothing (Envoy's `initial_fetch_timeout`)."""


def patience(message: Any) -> int | None:
    """How long a resource of this `ConfigSource` is waited for, milliseconds; `None`: for ever."""
    if not message.HasField("initial_fetch_timeout"):
        return PATIENCE_MS
    return values.milliseconds(message, "initial_fetch_timeout", 0) or None


def config_source(message: Any) -> Source:
    """`envoy.config.core.v3.ConfigSource`. Nothing set means ADS, as in files that leave it out."""
    check(message, _CONFIG_SOURCE_FIELDS)
    if message.resource_api_version == _V2:
        raise Refused("resource_api_version", "V2 is not supported; use V3")
    match message.WhichOneof("config_source_specifier"):
        case None | "ads":
            return AGGREGATED
        case "self":
            return Same()
        case "path":
            return _file(message.path, "path")
        case "path_config_source":
            with at("path_config_source"):
                check(message.path_config_source, _PATH_FIELDS)
                return _file(message.path_config_source.path, "path")
        case _:
            if message.api_config_source.api_type in _AGGREGATED_TYPES:
                return AGGREGATED
            with at("api_config_source"):
                return api_source(message.api_config_source)


def _file(path: str, field: str) -> File:
    if not path:
        raise Refused(field, "is required")
    if not path.endswith(_FORMATS):
        raise Refused(field, f"{path!r} must end in one of {', '.join(_FORMATS)}")
    return File(path)


def api_source(message: Any) -> Service:
    """`envoy.config.core.v3.ApiConfigSource`: gRPC over one of our clusters."""
    if message.api_type not in VARIANTS:
        raise Refused("api_type", "must be GRPC or DELTA_GRPC")
    check(message, _API_FIELDS)
    if message.transport_api_version == _V2:
        raise Refused("transport_api_version", "V2 is not supported; use V3")
    if len(message.grpc_services) != 1:
        raise Refused("grpc_services", "must be one")
    with at("grpc_services[0]"):
        service = message.grpc_services[0]
        if service.HasField("google_grpc"):
            raise Refused(
                "google_grpc", "is not supported; use envoy_grpc with a cluster of static_resources"
            )
        check(service, _GRPC_FIELDS)
        metadata = [(entry.key.lower(), entry.value) for entry in service.initial_metadata]
        with at("envoy_grpc"):
            check(service.envoy_grpc, _ENVOY_GRPC_FIELDS)
            if not service.envoy_grpc.cluster_name:
                raise Refused("cluster_name", "is required")
            if service.envoy_grpc.authority:
                metadata.append((":authority", service.envoy_grpc.authority))
    return Service(
        service.envoy_grpc.cluster_name,
        VARIANTS[message.api_type],
        tuple(metadata),
        node_always=not message.set_node_on_first_message_only,
    )
