"""Access logs (`envoy.config.accesslog.v3.AccessLog` with the file and stream loggers)."""

from __future__ import annotations

import msgspec


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


class AccessLog(msgspec.Struct, frozen=True):
    sink: FileSink | StdoutSink | StderrSink
    format: TextFormat | JsonFormat
