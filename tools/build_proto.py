"""Writes our subset of Envoy's types: `python tools/build_proto.py` (needs xds-protos, a tool of the build only).

In: the descriptors of the installed xds-protos. Out: `src/mainstay/_proto/types.fds`, a FileDescriptorSet with the messages and
enums reachable from `ROOTS`; options, extensions, services and source information are dropped. Invariant: the same packages
give the same bytes; a test repeats it.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor

TARGET = Path(__file__).resolve().parent.parent / "src" / "mainstay" / "_proto" / "types.fds"

ROOTS = (
    "envoy.config.bootstrap.v3.Bootstrap",
    "envoy.config.cluster.v3.Cluster",
    "envoy.config.endpoint.v3.ClusterLoadAssignment",
    "envoy.config.listener.v3.Listener",
    "envoy.config.route.v3.RouteConfiguration",
    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog",
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    "envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
    "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
    "envoy.extensions.filters.http.rbac.v3.RBAC",
    "envoy.extensions.filters.http.rbac.v3.RBACPerRoute",
    "envoy.extensions.filters.http.router.v3.Router",
    "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector",
    "envoy.extensions.filters.listener.original_dst.v3.OriginalDst",
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector",
    "envoy.extensions.filters.network.generic_proxy.action.v3.RouteAction",
    "envoy.extensions.filters.network.generic_proxy.codecs.dubbo.v3.DubboCodecConfig",
    "envoy.extensions.filters.network.generic_proxy.matcher.v3.HostMatchInput",
    "envoy.extensions.filters.network.generic_proxy.matcher.v3.MethodMatchInput",
    "envoy.extensions.filters.network.generic_proxy.matcher.v3.PathMatchInput",
    "envoy.extensions.filters.network.generic_proxy.matcher.v3.PropertyMatchInput",
    "envoy.extensions.filters.network.generic_proxy.matcher.v3.RequestMatchInput",
    "envoy.extensions.filters.network.generic_proxy.matcher.v3.RequestMatcher",
    "envoy.extensions.filters.network.generic_proxy.matcher.v3.ServiceMatchInput",
    "envoy.extensions.filters.network.generic_proxy.router.v3.Router",
    "envoy.extensions.filters.network.generic_proxy.v3.GenericProxy",
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    "envoy.extensions.filters.network.rbac.v3.RBAC",
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
    "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
    "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer",
    "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
    "envoy.extensions.transport_sockets.tls.v3.Secret",
    "envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig",
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    "envoy.service.discovery.v3.DeltaDiscoveryRequest",
    "envoy.service.discovery.v3.DeltaDiscoveryResponse",
    "envoy.service.discovery.v3.DiscoveryRequest",
    "envoy.service.discovery.v3.DiscoveryResponse",
    "google.protobuf.Any",
    "google.protobuf.BoolValue",
    "google.protobuf.BytesValue",
    "google.protobuf.DoubleValue",
    "google.protobuf.Duration",
    "google.protobuf.Empty",
    "google.protobuf.StringValue",
    "google.protobuf.Struct",
    "google.protobuf.UInt32Value",
    "google.rpc.Status",
    "udpa.type.v1.TypedStruct",
    "xds.type.v3.TypedStruct",
)
"""Full names of the messages we read or write. What they refer to comes along."""

PACKAGES = ("envoy", "google.protobuf", "google.rpc", "udpa", "xds", "validate")

LEFT_OUT = {
    "envoy.config.bootstrap.v3.Bootstrap": {
        "overload_manager",
        "stats_sinks",
        "watchdog",
        "watchdogs",
        "hds_config",
    },
    "envoy.config.core.v3.Extension": {"type_descriptor"},
}
"""Fields not worth what they drag in: a document that sets one is refused as having an unknown field."""


def find(name: str) -> Descriptor:
    """The descriptor of a message, importing the package it lives in."""
    package, _, short = name.rpartition(".")
    module = importlib.import_module(package)
    for found in pkgutil.iter_modules(module.__path__):
        if found.name.endswith("_pb2"):
            file: FileDescriptor = importlib.import_module(f"{package}.{found.name}").DESCRIPTOR
            if short in file.message_types_by_name:
                return file.message_types_by_name[short]
    raise SystemExit(f"{name} is not in the installed packages")


def reach(roots: Iterable[Descriptor]) -> set[str]:
    """Full names of every top-level message and enum that the roots need."""
    seen: set[str] = set()
    queue: list[Descriptor | EnumDescriptor] = list(roots)
    while queue:
        item = top(queue.pop())
        if item.full_name in seen:
            continue
        seen.add(item.full_name)
        if isinstance(item, Descriptor):
            for field in fields(item):
                queue += [target for target in (field.message_type, field.enum_type) if target is not None]
    return seen


def top(item: Descriptor | EnumDescriptor) -> Descriptor | EnumDescriptor:
    while item.containing_type is not None:
        item = item.containing_type
    return item


def fields(message: Descriptor) -> list[FieldDescriptor]:
    dropped = LEFT_OUT.get(message.full_name, set())
    own = [field for field in message.fields if field.name not in dropped]
    return own + [field for nested in message.nested_types for field in fields(nested)]


def strip(message: descriptor_pb2.DescriptorProto, name: str) -> None:
    """Drops options (but for what gives map entries and packed fields their meaning) and fields left out."""
    dropped = LEFT_OUT.get(name, set())
    kept = [field for field in message.field if field.name not in dropped]
    del message.field[:]
    message.field.extend(kept)
    is_map = message.options.map_entry
    message.ClearField("options")
    if is_map:
        message.options.map_entry = True
    del message.extension[:]
    for field in message.field:
        packed = field.options.packed if field.options.HasField("packed") else None
        field.ClearField("options")
        if packed is not None:
            field.options.packed = packed
    for oneof in message.oneof_decl:
        oneof.ClearField("options")
    for enum in message.enum_type:
        strip_enum(enum)
    for nested in message.nested_type:
        strip(nested, f"{name}.{nested.name}")


def strip_enum(enum: descriptor_pb2.EnumDescriptorProto) -> None:
    enum.ClearField("options")
    for value in enum.value:
        value.ClearField("options")


def build() -> bytes:
    """The FileDescriptorSet, files in dependency order."""
    roots = [find(name) for name in ROOTS]
    wanted = reach(roots)
    files: dict[str, FileDescriptor] = {}

    def visit(file: FileDescriptor) -> None:
        if file.name not in files:
            for dependency in file.dependencies:
                visit(dependency)
            files[file.name] = file

    for root in roots:
        visit(root.file)
    for name in sorted(wanted):
        visit(find_file(name, files))
    result = descriptor_pb2.FileDescriptorSet()
    kept: set[str] = set()
    for file in files.values():
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        prune(proto, wanted)
        if proto.message_type or proto.enum_type:
            needed = [name for name in proto.dependency if name in kept]
            del proto.dependency[:]
            proto.dependency.extend(needed)
            kept.add(file.name)
            result.file.append(proto)
    return result.SerializeToString(deterministic=True)


def find_file(name: str, files: dict[str, FileDescriptor]) -> FileDescriptor:
    for file in files.values():
        package = f"{file.package}." if file.package else ""
        short = name.removeprefix(package)
        if name.startswith(package) and (
            short in file.message_types_by_name or short in file.enum_types_by_name
        ):
            return file
    return find(name).file


def prune(proto: descriptor_pb2.FileDescriptorProto, wanted: set[str]) -> None:
    messages = [message for message in proto.message_type if f"{proto.package}.{message.name}" in wanted]
    enums = [enum for enum in proto.enum_type if f"{proto.package}.{enum.name}" in wanted]
    for message in messages:
        strip(message, f"{proto.package}.{message.name}")
    for enum in enums:
        strip_enum(enum)
    for field in (
        "message_type",
        "enum_type",
        "service",
        "extension",
        "source_code_info",
        "options",
        "public_dependency",
    ):
        proto.ClearField(field)
    proto.ClearField("weak_dependency")
    proto.message_type.extend(messages)
    proto.enum_type.extend(enums)


if __name__ == "__main__":
    TARGET.write_bytes(build())
    sys.stdout.write(f"{TARGET}: {TARGET.stat().st_size} bytes\n")
