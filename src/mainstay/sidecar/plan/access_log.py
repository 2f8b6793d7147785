"""Access logs (`envoy.config.accesslog.v3.AccessLog` with the file and stream loggers)."""

from __future__ import annotations

from typing import Literal

import msgspec

from mainstay.sidecar.plan.matching import Fraction, HeaderMatch


class FileSink(msgspec.Struct, frozen=True, tag_field="kind", tag="file"):
    path: str


class StdoutSink(msgspec.Struct, frozen=True, tag_field="kind", tag="stdout"):
    pass


class StderrSink(msgspec.Struct, frozen=True, tag_field="kind", tag="stderr"):
    pass


class JsonField(msgspec.Struct, frozen=True):
    name: str
    value: str = ""
    fields: tuple[JsonField, ...] = ()


class TextFormat(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    format: str


class JsonFormat(msgspec.Struct, frozen=True, tag_field="kind", tag="json"):
    fields: tuple[JsonField, ...]
    omit_empty: bool


class LogComparison(msgspec.Struct, frozen=True):
    kind: Literal["eq", "ge", "le", "ne"]
    value: int


class StatusCodeFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="status_code"):
    comparison: LogComparison


class DurationFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="duration"):
    comparison: LogComparison


class NotHealthCheckFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="not_health_check"):
    pass


class TraceableFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="traceable"):
    pass


class RuntimeFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="runtime"):
    fraction: Fraction
    independent: bool = False


class HeaderFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    matches: HeaderMatch


class ResponseFlagFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="response_flag"):
    flags: tuple[str, ...] = ()


class GrpcStatusFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="grpc_status"):
    statuses: tuple[int, ...] = ()
    exclude: bool = False


class AndFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="and"):
    filters: tuple[LogFilter, ...]


class OrFilter(msgspec.Struct, frozen=True, tag_field="kind", tag="or"):
    filters: tuple[LogFilter, ...]


LogFilter = (
    StatusCodeFilter
    | DurationFilter
    | NotHealthCheckFilter
    | TraceableFilter
    | RuntimeFilter
    | HeaderFilter
    | ResponseFlagFilter
    | GrpcStatusFilter
    | AndFilter
    | OrFilter
)


class AccessLog(msgspec.Struct, frozen=True):
    sink: FileSink | StdoutSink | StderrSink
    format: TextFormat | JsonFormat
    filter: LogFilter | None = None
