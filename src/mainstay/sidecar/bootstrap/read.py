"""An Envoy v3 bootstrap file to a `Boot`.

In: a path. Out: `Boot`, or `OperatorError` listing every refusal by path. Invariant: the file is taken whole or not at all;
under `lenient`, what Mainstay does not do is left out and listed, but what cannot be read still ends the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from mainstay.model.had import PROTOCOLS_METADATA
from mainstay.protocols.native import protocols_had
from mainstay.settings.define import OperatorError
from mainstay.sidecar import plan
from mainstay.sidecar.bootstrap import document
from mainstay.sidecar.bootstrap.boot import Boot, Dynamic
from mainstay.sidecar.convert import listener, values
from mainstay.sidecar.convert.access_log import is_file_log
from mainstay.sidecar.convert.refuse import Known, Refused, at, check, known, lenient, unsupported
from mainstay.sidecar.convert.source import (
    AGGREGATED,
    Aggregated,
    Same,
    Service,
    Source,
    api_source,
    config_source,
)
from mainstay.sidecar.convert.table import KINDS, Converted, convert_message
from mainstay.sidecar.files import Disk

REFUSED = 3
_STATIC = (
    ("secrets", "envoy.extensions.transport_sockets.tls.v3.Secret"),
    ("clusters", "envoy.config.cluster.v3.Cluster"),
    ("listeners", "envoy.config.listener.v3.Listener"),
)
_NODE = known(
    "envoy.config.core.v3.Node",
    {"id", "cluster", "metadata", "locality", "user_agent_name", "user_agent_version"},
)
known("envoy.config.bootstrap.v3.Bootstrap.StaticResources", {field for field, _ in _STATIC})
_ADMIN_FIELDS = known(
    "envoy.config.bootstrap.v3.Admin", {"address", "access_log", "access_log_path", "profile_path"}
)
NO_LOG = "/dev/null"
_ADMIN_LOG = f"is not supported: the admin pages keep no log; write {NO_LOG}"
_BOOTSTRAP_DYNAMIC_RESOURCES_FIELDS = known(
    "envoy.config.bootstrap.v3.Bootstrap.DynamicResources", {"lds_config", "cds_config", "ads_config"}
)
_BOOTSTRAP_FIELDS = known(
    "envoy.config.bootstrap.v3.Bootstrap", {"node", "static_resources", "dynamic_resources", "admin"}
)


def read_bootstrap(path: Path, version: str, *, leniently: bool = False) -> Boot:
    """Reads a bootstrap. `version`: Mainstay's, for the node."""
    try:
        with path.open("rb") as file:
            # One byte more than is taken tells that there is more, even if it has no end.
            data = file.read(document.MAX_BYTES + 1)
        if len(data) > document.MAX_BYTES:
            raise OperatorError(f"the bootstrap {path} has more than {document.MAX_BYTES:,} bytes", REFUSED)
        text = data.decode()
    except OSError as error:
        raise OperatorError(f"cannot read the bootstrap {path}: {error.strerror}", 2) from None
    except UnicodeDecodeError as error:
        raise OperatorError(f"the bootstrap {path} is not UTF-8 (byte {error.start})", 2) from None
    reader = _Reader(path.parent, version)
    if not leniently:
        return _finish(path, text, reader, reader.read(text))
    with lenient() as ignored:
        boot = reader.read(text)
    if boot is not None:
        boot = msgspec.structs.replace(boot, lenient=True)
    return _finish(path, text, reader, boot, tuple(ignored))


def read_message(message: Any, directory: Path, version: str) -> tuple[Boot, list[Refused]]:
    """A bootstrap that has been read already, and what is refused in it."""
    reader = _Reader(directory, version)
    return reader.convert(message), reader.refusals


def _finish(path: Path, text: str, reader: _Reader, boot: Boot | None, ignored: tuple[str, ...] = ()) -> Boot:
    if reader.refusals or boot is None:
        lines = _with_lines(text, reader.refusals)
        if any(refusal.reason.startswith("is not supported") for refusal in reader.refusals):
            lines.append("with --lenient, fields that are not supported are left out and told in the log")
        raise OperatorError("\n".join([f"cannot start from the bootstrap {path}:", *lines]), REFUSED)
    return msgspec.structs.replace(boot, ignored=ignored)


def _with_lines(text: str, refusals: Sequence[Refused]) -> list[str]:
    """The refusals, each with the line that it speaks of, where that can be known. YAML is loaded only to say so."""
    from mainstay.sidecar.bootstrap.yaml_text import Lines

    lines, told = Lines(text), []
    for refusal in refusals:
        line = lines.find(refusal.path)
        words = "".join(each if each.isprintable() else "?" for each in str(refusal))
        told.append(f"  line {line}: {words}" if line else f"  {words}")
    return told


class _Reader:
    def __init__(self, directory: Path, version: str) -> None:
        self._directory = directory
        self._disk = Disk(directory)
        self._version = version
        self.refusals: list[Refused] = []

    def read(self, text: str) -> Boot | None:
        found: list[Any] = []
        self._collect(lambda: found.append(document.parse(text)))
        if not found:
            return None
        return self.convert(found[0])

    def convert(self, message: Any) -> Boot:
        """The message, which is changed."""
        self._collect(lambda: check(message, _BOOTSTRAP_FIELDS))
        static = tuple(self._static(message.static_resources))
        dynamic = self._dynamic(message) if message.HasField("dynamic_resources") else None
        admin: list[plan.Address | None] = []
        if message.HasField("admin"):
            self._collect(lambda: admin.append(self._admin(message.admin)))
        self._check_names(static)
        boot = Boot(
            node=self._node(message.node),
            node_id=message.node.id,
            node_cluster=message.node.cluster,
            static=static,
            dynamic=dynamic,
            admin=admin[0] if admin else None,
            directory=self._directory,
        )
        if not self.refusals:
            self.refusals += _unreachable(boot)
        return boot

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
                        yield convert_message(KINDS[kind], entry, self._disk.read)
                except Refused as refused:
                    self.refusals.append(refused)

    def _check_names(self, static: tuple[Converted, ...]) -> None:
        seen: set[tuple[str, str]] = set()
        for converted in static:
            key = (converted.resource.kind, converted.resource.name)
            if key in seen:
                self.refusals.append(Refused("static_resources", f"{key[0]} {key[1]!r} stands there twice"))
            seen.add(key)

    def _node(self, message: Any) -> bytes:
        self._collect(lambda: _check_within("node", message, _NODE))
        message.user_agent_name = "mainstay"
        message.user_agent_version = self._version
        message.metadata.fields[PROTOCOLS_METADATA].string_value = ",".join(protocols_had())
        return bytes(message.SerializeToString(deterministic=True))

    def _admin(self, message: Any) -> plan.Address | None:
        with at("admin"):
            check(message, _ADMIN_FIELDS)
            # Most files say that there shall be no log of the admin pages, and there is none.
            if message.access_log_path not in ("", NO_LOG):
                unsupported("access_log_path", _ADMIN_LOG)
            for index, log in enumerate(message.access_log):
                if not is_file_log(log, NO_LOG):
                    unsupported(f"access_log[{index}]", _ADMIN_LOG)
            if not message.HasField("address"):
                return None
            with at("address"):
                return values.bound_address(message.address)

    def _dynamic(self, message: Any) -> Dynamic:
        dynamic = message.dynamic_resources
        self._collect(
            lambda: _check_within("dynamic_resources", dynamic, _BOOTSTRAP_DYNAMIC_RESOURCES_FIELDS)
        )
        found: dict[str, Any] = {}
        for field in ("ads_config", "cds_config", "lds_config"):
            if dynamic.HasField(field):
                try:
                    found[field] = _source(dynamic, field)
                except Refused as refused:
                    self.refusals.append(refused)
        return Dynamic(found.get("ads_config"), found.get("cds_config"), found.get("lds_config"))


def _source(dynamic: Any, field: str) -> Source:
    with at(f"dynamic_resources.{field}"):
        message = getattr(dynamic, field)
        found = api_source(message) if field == "ads_config" else config_source(message)
        if isinstance(found, Same):
            raise Refused("self", "has no meaning here; name the server")
        return found


def _unreachable(boot: Boot) -> Iterator[Refused]:
    """Sources to which nothing leads: what they should bring would be waited for without end."""
    dynamic = boot.dynamic if boot.dynamic is not None else Dynamic(None, None, None)
    asked: list[tuple[str, Source | None]] = [
        ("dynamic_resources.ads_config", dynamic.ads),
        ("dynamic_resources.cds_config", dynamic.clusters),
        ("dynamic_resources.lds_config", dynamic.listeners),
    ]
    here = {(part.kind, part.name) for each in boot.static for part in each.parts}
    for each in boot.static:
        sources = dict(each.resource.sources)
        for need in sorted(each.resource.needs - here):
            if need[0] != "cluster":
                what = f"static_resources: {each.resource.kind} {each.resource.name!r}: {need[0]} {need[1]!r}"
                asked.append((what, sources.get(need, AGGREGATED)))
    if not boot.node_id and any(isinstance(source, Service | Aggregated) for _, source in asked):
        yield Refused("node.id", "is required where a server gives the configuration")
    for where, source in asked:
        if isinstance(source, Service) and source.cluster not in boot.clusters:
            if where.startswith("dynamic_resources") or dynamic.ads is None:
                reason = f"its source {source.cluster!r} is not one of static_resources.clusters"
                yield Refused(where, reason)
        elif isinstance(source, Aggregated | Same) and dynamic.ads is None:
            yield Refused(where, "would come over ADS, but dynamic_resources.ads_config is not set")


def _check_within(path: str, message: Any, fields: Known) -> None:
    with at(path):
        check(message, fields)
