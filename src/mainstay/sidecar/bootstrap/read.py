"""An Envoy v3 bootstrap file to a `Boot`.

In: a path. Out: `Boot`, or `OperatorError` listing every refusal by path. Invariant: the file is taken whole or not at all;
under `lenient`, what Mainstay does not do is left out and listed, but what cannot be read still ends the start.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import msgspec

from mainstay.settings.define import OperatorError
from mainstay.sidecar import plan
from mainstay.sidecar.bootstrap import document
from mainstay.sidecar.bootstrap.boot import Boot, XdsSource
from mainstay.sidecar.convert import listener, values
from mainstay.sidecar.convert.refuse import Refused, at, check, known, lenient
from mainstay.sidecar.convert.table import KINDS, Converted, convert_message

MAX_FILE_BYTES = 1024 * 1024
"""Certificates and keys are far smaller."""
REFUSED = 3
_STATIC = (
    ("secrets", "envoy.extensions.transport_sockets.tls.v3.Secret"),
    ("clusters", "envoy.config.cluster.v3.Cluster"),
    ("listeners", "envoy.config.listener.v3.Listener"),
)
_GRPC = {2: "sotw", 3: "delta"}
_NODE = known(
    "envoy.config.core.v3.Node",
    {"id", "cluster", "metadata", "locality", "user_agent_name", "user_agent_version"},
)


_API_CONFIG_SOURCE_FIELDS = known(
    "envoy.config.core.v3.ApiConfigSource",
    {"api_type", "transport_api_version", "grpc_services", "set_node_on_first_message_only"},
)
_GRPC_SERVICE_FIELDS = known(
    "envoy.config.core.v3.GrpcService", {"envoy_grpc", "initial_metadata", "timeout"}
)
_GRPC_SERVICE_ENVOY_GRPC_FIELDS = known(
    "envoy.config.core.v3.GrpcService.EnvoyGrpc", {"cluster_name", "authority"}
)
known("envoy.config.bootstrap.v3.Bootstrap.StaticResources", {field for field, _ in _STATIC})
_ADMIN_FIELDS = known("envoy.config.bootstrap.v3.Admin", {"address"})
_BOOTSTRAP_DYNAMIC_RESOURCES_FIELDS = known(
    "envoy.config.bootstrap.v3.Bootstrap.DynamicResources", {"lds_config", "cds_config", "ads_config"}
)
_BOOTSTRAP_FIELDS = known(
    "envoy.config.bootstrap.v3.Bootstrap", {"node", "static_resources", "dynamic_resources", "admin"}
)


def read_bootstrap(path: Path, version: str, *, leniently: bool = False) -> Boot:
    """Reads a bootstrap. `version`: Mainstay's, for the node."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise OperatorError(f"cannot read the bootstrap {path}: {error}", 2) from None
    reader = _Reader(path.parent, version)
    if not leniently:
        return _finish(path, reader, reader.read(text))
    with lenient() as ignored:
        boot = reader.read(text)
    if boot is not None:
        boot = msgspec.structs.replace(boot, lenient=True)
    return _finish(path, reader, boot, tuple(ignored))


def _finish(path: Path, reader: _Reader, boot: Boot | None, ignored: tuple[str, ...] = ()) -> Boot:
    if reader.refusals or boot is None:
        lines = "\n".join(f"  {refusal}" for refusal in reader.refusals)
        raise OperatorError(f"cannot start from the bootstrap {path}:\n{lines}", REFUSED)
    return msgspec.structs.replace(boot, ignored=ignored)


class _Reader:
    def __init__(self, directory: Path, version: str) -> None:
        self._directory = directory
        self._version = version
        self.refusals: list[Refused] = []

    def read(self, text: str) -> Boot | None:
        found: list[Any] = []
        self._collect(lambda: found.append(document.parse(text)))
        if not found:
            return None
        (message,) = found
        self._collect(lambda: check(message, _BOOTSTRAP_FIELDS))
        static = tuple(self._static(message.static_resources))
        sources: list[XdsSource] = []
        if message.HasField("dynamic_resources"):
            self._collect(lambda: sources.append(self._dynamic(message)))
        admin: list[plan.Address] = []
        if message.admin.HasField("address"):
            self._collect(lambda: admin.append(self._admin(message.admin)))
        self._check_names(static)
        return Boot(
            node=self._node(message.node),
            node_id=message.node.id,
            node_cluster=message.node.cluster,
            static=static,
            xds=sources[0] if sources else None,
            admin=admin[0] if admin else None,
        )

    def _collect(self, read: Callable[[], object]) -> None:
        """A refusal does not keep the reader from finding the next."""
        try:
            read()
        except Refused as refused:
            self.refusals.append(refused)

    def _static(self, message: Any) -> Iterator[Converted]:
        for field, kind in _STATIC:
            for index, entry in enumerate(getattr(message, field)):
                try:
                    with at(f"static_resources.{field}[{index}]"):
                        if field == "listeners" and not entry.name:
                            entry.name = listener.name_by_address(values.bound_address(entry.address))
                        yield convert_message(KINDS[kind], entry, self._read_file)
                except Refused as refused:
                    self.refusals.append(refused)

    def _check_names(self, static: tuple[Converted, ...]) -> None:
        seen: set[tuple[str, str]] = set()
        for converted in static:
            key = (converted.resource.kind, converted.resource.name)
            if key in seen:
                self.refusals.append(Refused("static_resources", f"{key[0]} {key[1]!r} stands there twice"))
            seen.add(key)

    def _read_file(self, path: str) -> bytes:
        """Relative paths are seen from the bootstrap's folder."""
        with (self._directory / path).open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"{path} has more than {MAX_FILE_BYTES} bytes")
        return data

    def _node(self, message: Any) -> bytes:
        self._collect(lambda: _check_within("node", message, _NODE))
        message.user_agent_name = "mainstay"
        message.user_agent_version = self._version
        return bytes(message.SerializeToString(deterministic=True))

    def _admin(self, message: Any) -> plan.Address:
        with at("admin"):
            check(message, _ADMIN_FIELDS)
            with at("address"):
                return values.bound_address(message.address)

    def _dynamic(self, message: Any) -> XdsSource:
        with at("dynamic_resources"):
            dynamic = message.dynamic_resources
            check(dynamic, _BOOTSTRAP_DYNAMIC_RESOURCES_FIELDS)
            for field in ("lds_config", "cds_config"):
                if (
                    dynamic.HasField(field)
                    and getattr(dynamic, field).WhichOneof("config_source_specifier") != "ads"
                ):
                    raise Refused(field, "is supported only over ADS: {ads: {}}")
            if not message.node.id:
                raise Refused("", "needs node.id")
            with at("ads_config"):
                return _ads(dynamic)


def _ads(dynamic: Any) -> XdsSource:
    config = dynamic.ads_config
    check(config, _API_CONFIG_SOURCE_FIELDS)
    if config.api_type not in _GRPC:
        raise Refused("api_type", "must be GRPC or DELTA_GRPC")
    if len(config.grpc_services) != 1:
        raise Refused("grpc_services", "must be one")
    with at("grpc_services[0]"):
        service = config.grpc_services[0]
        check(service, _GRPC_SERVICE_FIELDS)
        check(service.envoy_grpc, _GRPC_SERVICE_ENVOY_GRPC_FIELDS)
        if not service.envoy_grpc.cluster_name:
            raise Refused("envoy_grpc.cluster_name", "is required")
    return XdsSource(
        service.envoy_grpc.cluster_name,
        "delta" if config.api_type == 3 else "sotw",
        dynamic.HasField("cds_config"),
        dynamic.HasField("lds_config"),
        tuple((entry.key.lower(), entry.value) for entry in service.initial_metadata),
    )


def _check_within(path: str, message: Any, fields: Collection[str]) -> None:
    with at(path):
        check(message, fields)
