"""Access logs (`envoy.config.accesslog.v3.AccessLog`) to files and standard streams, as text or JSON."""

from __future__ import annotations

from typing import Any, Literal

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.filters.table import open_config, type_of
from mainstay.sidecar.convert.refuse import Refused, at, check, known, unsupported

_FILE = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
_STREAMS: dict[str, plan.StdoutSink | plan.StderrSink] = {
    "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog": plan.StdoutSink(),
    "envoy.extensions.access_loggers.stream.v3.StderrAccessLog": plan.StderrSink(),
}
TYPES = (_FILE, *_STREAMS)
_DEVICES: dict[str, plan.StdoutSink | plan.StderrSink] = {
    "/dev/stdout": plan.StdoutSink(),
    "/dev/stderr": plan.StderrSink(),
}
DEFAULT_FORMAT = (
    '[%START_TIME%] "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% '
    "%RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% %RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% "
    '"%REQ(X-FORWARDED-FOR)%" "%REQ(USER-AGENT)%" "%REQ(X-REQUEST-ID)%" "%REQ(:AUTHORITY)%" '
    '"%UPSTREAM_HOST%"\n'
)
"""What Envoy writes where no format is given."""

MAX_DEPTH = 8
"""Nesting of JSON objects."""


_ACCESS_LOG_FIELDS = known("envoy.config.accesslog.v3.AccessLog", {"name", "typed_config", "filter"})
_V3 = "envoy.config.accesslog.v3"
_FILTER_FIELDS = known(
    f"{_V3}.AccessLogFilter",
    {
        "status_code_filter",
        "duration_filter",
        "not_health_check_filter",
        "traceable_filter",
        "runtime_filter",
        "and_filter",
        "or_filter",
        "header_filter",
        "response_flag_filter",
        "grpc_status_filter",
    },
)
_COMPARISON_FIELDS = known(f"{_V3}.ComparisonFilter", {"op", "value"})
_STATUS_CODE_FIELDS = known(f"{_V3}.StatusCodeFilter", {"comparison"})
_DURATION_FIELDS = known(f"{_V3}.DurationFilter", {"comparison"})
_RUNTIME_FIELDS = known(
    f"{_V3}.RuntimeFilter", {"runtime_key", "percent_sampled", "use_independent_randomness"}
)
_AND_FIELDS = known(f"{_V3}.AndFilter", {"filters"})
_OR_FIELDS = known(f"{_V3}.OrFilter", {"filters"})
_HEADER_FIELDS = known(f"{_V3}.HeaderFilter", {"header"})
_FLAG_FIELDS = known(f"{_V3}.ResponseFlagFilter", {"flags"})
_NOTHING = (known(f"{_V3}.NotHealthCheckFilter", set()), known(f"{_V3}.TraceableFilter", set()))
_GRPC_STATUS_FIELDS = known(f"{_V3}.GrpcStatusFilter", {"statuses", "exclude"})
_OPERATORS: tuple[Literal["eq", "ge", "le", "ne"], ...] = ("eq", "ge", "le", "ne")
MAX_FILTER_DEPTH = 12
# fmt: off
FLAGS = frozenset((
    "LH", "UH", "UT", "LR", "UR", "UF", "UC", "UO", "NR", "DI", "FI", "RL", "UAEX", "RLSE", "DC", "URX", "SI", "IH", "DPE",
    "UMSDR", "RFCF", "NFCF", "DT", "UPE", "NC", "OM", "DF", "DO", "DR", "MD",
))
# fmt: on
"""Those of Envoy; some are never set here."""
_SUBSTITUTION_FORMAT_STRING_FIELDS = known(
    "envoy.config.core.v3.SubstitutionFormatString",
    {"text_format", "text_format_source", "json_format", "omit_empty_values", "json_format_options"},
)
_FILE_ACCESS_LOG_FIELDS = known(
    "envoy.extensions.access_loggers.file.v3.FileAccessLog", {"path", "log_format", "format", "json_format"}
)
_STDOUT_ACCESS_LOG_FIELDS = known("envoy.extensions.access_loggers.stream.v3.StdoutAccessLog", {"log_format"})


def access_logs(messages: Any, field: str = "access_log") -> tuple[plan.AccessLog, ...]:
    found = []
    for index, message in enumerate(messages):
        with at(f"{field}[{index}]"):
            log = _access_log(message)
            if log is not None:
                found.append(log)
    return tuple(found)


def is_file_log(message: Any, path: str) -> bool:
    """Whether it writes to that file."""
    if type_of(message.typed_config) != _FILE:
        return False
    _, config = open_config(message.typed_config)
    return bool(config.path == path)


def _filter(message: Any, depth: int = 0) -> plan.LogFilter:
    """`envoy.config.accesslog.v3.AccessLogFilter`. What is not taken is refused also by the lenient: it would tell too much."""
    if depth >= MAX_FILTER_DEPTH:
        raise Refused("", f"is nested deeper than {MAX_FILTER_DEPTH}")
    kind = message.WhichOneof("filter_specifier")
    if kind is None:
        raise Refused("filter_specifier", "is required")
    for field, _ in message.ListFields():
        if field.name not in _FILTER_FIELDS:
            raise Refused(field.name, "is not supported")
    inner = getattr(message, kind)
    with at(kind):
        match kind:
            case "status_code_filter":
                check(inner, _STATUS_CODE_FIELDS)
                return plan.StatusCodeFilter(_comparison(inner.comparison))
            case "duration_filter":
                check(inner, _DURATION_FIELDS)
                return plan.DurationFilter(_comparison(inner.comparison))
            case "not_health_check_filter":
                return plan.NotHealthCheckFilter()
            case "traceable_filter":
                return plan.TraceableFilter()
            case "runtime_filter":
                check(inner, _RUNTIME_FIELDS)
                share = values.fraction(inner.percent_sampled)
                return plan.RuntimeFilter(share, inner.use_independent_randomness)
            case "header_filter":
                check(inner, _HEADER_FIELDS)
                with at("header"):
                    return plan.HeaderFilter(values.header_match(inner.header))
            case "response_flag_filter":
                check(inner, _FLAG_FIELDS)
                for index, flag in enumerate(inner.flags):
                    if flag not in FLAGS:
                        raise Refused(f"flags[{index}]", f"{flag!r} is no response flag")
                return plan.ResponseFlagFilter(tuple(inner.flags))
            case "grpc_status_filter":
                check(inner, _GRPC_STATUS_FIELDS)
                return plan.GrpcStatusFilter(tuple(inner.statuses), inner.exclude)
            case "and_filter":
                check(inner, _AND_FIELDS)
                return plan.AndFilter(_filters(inner.filters, depth))
            case _:
                check(inner, _OR_FIELDS)
                return plan.OrFilter(_filters(inner.filters, depth))


def _filters(messages: Any, depth: int) -> tuple[plan.LogFilter, ...]:
    if len(messages) < 2:
        raise Refused("filters", "must be two or more")
    found = []
    for index, each in enumerate(messages):
        with at(f"filters[{index}]"):
            found.append(_filter(each, depth + 1))
    return tuple(found)


def _comparison(message: Any) -> plan.LogComparison:
    """The default value counts: there is no runtime to look a key up in."""
    with at("comparison"):
        check(message, _COMPARISON_FIELDS)
        if message.op >= len(_OPERATORS):
            raise Refused("op", "is unknown")
        return plan.LogComparison(_OPERATORS[message.op], message.value.default_value)


def _access_log(message: Any) -> plan.AccessLog | None:
    check(message, _ACCESS_LOG_FIELDS)
    wanted = None
    if message.HasField("filter"):
        with at("filter"):
            wanted = _filter(message.filter)
    if (kind := type_of(message.typed_config)) and kind not in TYPES:
        unsupported("typed_config", f"{kind} is not supported")
        return None
    kind, config = open_config(message.typed_config)
    with at("typed_config"):
        if kind in _STREAMS:
            check(config, _STDOUT_ACCESS_LOG_FIELDS)
            return plan.AccessLog(_STREAMS[kind], _format(config), wanted)
        check(config, _FILE_ACCESS_LOG_FIELDS)
        if not config.path:
            raise Refused("path", "is required")
        sink = _DEVICES.get(config.path, plan.FileSink(config.path))
        return plan.AccessLog(sink, _format(config), wanted)


def _format(config: Any) -> plan.TextFormat | plan.JsonFormat:
    match config.WhichOneof("access_log_format"):
        case None:
            return plan.TextFormat(DEFAULT_FORMAT)
        case "format":
            return plan.TextFormat(config.format)
        case "json_format":
            with at("json_format"):
                return plan.JsonFormat(_fields(config.json_format, 0), omit_empty=False)
        case "log_format":
            with at("log_format"):
                return _substitution(config.log_format)
        case other:
            raise Refused(other, "is not supported; use log_format")


def _substitution(message: Any) -> plan.TextFormat | plan.JsonFormat:
    check(
        message,
        _SUBSTITUTION_FORMAT_STRING_FIELDS,
    )
    match message.WhichOneof("format"):
        case "text_format":
            return plan.TextFormat(message.text_format)
        case "text_format_source":
            if message.text_format_source.WhichOneof("specifier") != "inline_string":
                unsupported("text_format_source", "only inline_string is supported")
            return plan.TextFormat(message.text_format_source.inline_string)
        case "json_format":
            with at("json_format"):
                return plan.JsonFormat(_fields(message.json_format, 0), message.omit_empty_values)
        case other:
            raise Refused(other or "format", "is not supported" if other else "is required")


def _fields(struct: Any, depth: int) -> tuple[plan.JsonField, ...]:
    """In the order of names: a protobuf map has no other."""
    if depth >= MAX_DEPTH:
        raise Refused("", f"is nested deeper than {MAX_DEPTH}")
    found = []
    for name in sorted(struct.fields):
        value = struct.fields[name]
        match value.WhichOneof("kind"):
            case "string_value":
                found.append(plan.JsonField(name, value.string_value))
            case "struct_value":
                with at(name):
                    found.append(plan.JsonField(name, "", _fields(value.struct_value, depth + 1)))
            case other:
                unsupported(name, f"{other or 'nothing'} is not supported; use text or an object")
    return tuple(found)
