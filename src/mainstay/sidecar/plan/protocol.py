"""Framed RPC protocols: what `mainstay.protocols` makes of their descriptions. The engine's twin documents every field."""

from __future__ import annotations

from typing import Literal

import msgspec


class RpcPattern(msgspec.Struct, frozen=True):
    mask: bytes
    value: bytes


RpcKind = Literal["request", "one_way", "response", "heartbeat", "heartbeat_answer", "go_away"]
RpcAlgorithm = Literal["crc32", "crc32c", "adler32", "sum", "xor"]
RpcDialect = Literal["draft", "final", "by_first_byte"]


class RpcOpening(msgspec.Struct, frozen=True):
    pattern: RpcPattern
    shape: int
    frame: RpcKind


class RpcLength(msgspec.Struct, frozen=True):
    item: str
    times: int
    plus: int


class RpcBits(msgspec.Struct, frozen=True):
    name: str
    at: int
    count: int


class RpcField(msgspec.Struct, frozen=True):
    item: str
    at: int = 0
    count: int = 0


class RpcNumber(msgspec.Struct, frozen=True, tag_field="kind", tag="number"):
    bytes: int


class RpcMagic(msgspec.Struct, frozen=True, tag_field="kind", tag="magic"):
    value: bytes


class RpcTold(msgspec.Struct, frozen=True, tag_field="kind", tag="told"):
    by: RpcLength


class RpcRest(msgspec.Struct, frozen=True, tag_field="kind", tag="rest"):
    pass


RpcSize = RpcNumber | RpcMagic | RpcTold | RpcRest


class RpcItem(msgspec.Struct, frozen=True):
    name: str
    size: RpcSize
    little_endian: bool
    signed: bool
    bits: tuple[RpcBits, ...]


class RpcChecksum(msgspec.Struct, frozen=True):
    item: str
    algorithm: RpcAlgorithm
    first: str
    last: str
    present: tuple[RpcPattern, ...]
    verify: bool


class RpcShape(msgspec.Struct, frozen=True):
    name: str
    items: tuple[RpcItem, ...]
    size: RpcLength | None
    id: str
    status: RpcField | None
    headers: str | None
    body: str
    checksum: RpcChecksum | None
    look_into_body: tuple[RpcPattern, ...]


class RpcPairs(msgspec.Struct, frozen=True, tag_field="kind", tag="pairs"):
    count_bytes: int
    name_bytes: int
    value_bytes: int
    little_endian: bool
    nulls: bool
    last_wins: bool


class RpcText(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    between: str
    behind: str
    last_wins: bool


RpcHeaders = RpcPairs | RpcText


class FromHeader(msgspec.Struct, frozen=True, tag_field="kind", tag="header"):
    name: str


class FromItem(msgspec.Struct, frozen=True, tag_field="kind", tag="item"):
    field: RpcField


class FromBody(msgspec.Struct, frozen=True, tag_field="kind", tag="body"):
    number: int


class FromText(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    text: str


RpcOrigin = FromHeader | FromItem | FromBody | FromText


class RpcSource(msgspec.Struct, frozen=True):
    from_: RpcOrigin = msgspec.field(name="from")
    before: str
    after: str


class RpcAttribute(msgspec.Struct, frozen=True):
    name: str
    sources: tuple[RpcSource, ...]


class TraceIdValue(msgspec.Struct, frozen=True, tag_field="kind", tag="trace_id"):
    pass


class SpanIdValue(msgspec.Struct, frozen=True, tag_field="kind", tag="span_id"):
    pass


class ContextValue(msgspec.Struct, frozen=True, tag_field="kind", tag="context"):
    pass


class SampledValue(msgspec.Struct, frozen=True, tag_field="kind", tag="sampled"):
    pass


class TextValue(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    text: str


RpcTraceValue = TraceIdValue | SpanIdValue | ContextValue | SampledValue | TextValue


class RpcTraceHeader(msgspec.Struct, frozen=True):
    name: str
    value: RpcTraceValue


class RpcTrace(msgspec.Struct, frozen=True):
    id: str | None
    context: str | None
    sampled: str | None
    begin: tuple[RpcTraceHeader, ...]


class RpcBody(msgspec.Struct, frozen=True):
    dialect: RpcDialect
    object: tuple[str, ...]
    values: int
    attachments_behind: int | None


class RpcStatus(msgspec.Struct, frozen=True):
    status: int
    http: int


class RpcValue(msgspec.Struct, frozen=True):
    field: RpcField
    value: int


class BytesPiece(msgspec.Struct, frozen=True, tag_field="kind", tag="bytes"):
    value: bytes


class MessagePiece(msgspec.Struct, frozen=True, tag_field="kind", tag="message"):
    length_bytes: int
    little_endian: bool


class StatusPiece(msgspec.Struct, frozen=True, tag_field="kind", tag="status"):
    bytes: int
    little_endian: bool


RpcPiece = BytesPiece | MessagePiece | StatusPiece


class RpcPart(msgspec.Struct, frozen=True):
    item: str
    pieces: tuple[RpcPiece, ...]


class RpcTemplate(msgspec.Struct, frozen=True):
    like: int
    shape: int
    values: tuple[RpcValue, ...]
    copies: tuple[str, ...]
    parts: tuple[RpcPart, ...]


class RpcHeartbeat(msgspec.Struct, frozen=True):
    templates: tuple[RpcTemplate, ...]
    interval: int
    longest_interval: int
    timeout: int
    misses: int


class RpcLimits(msgspec.Struct, frozen=True):
    frame: int
    head: int
    headers: int
    calls: int
    provider_calls: int


class RpcProtocol(msgspec.Struct, frozen=True):
    name: str
    openings: tuple[RpcOpening, ...]
    shapes: tuple[RpcShape, ...]
    detection: tuple[RpcPattern, ...]
    headers: RpcHeaders | None
    service: tuple[RpcSource, ...]
    method: tuple[RpcSource, ...]
    deadline: tuple[RpcSource, ...]
    attributes: tuple[RpcAttribute, ...]
    trace: RpcTrace | None
    body: RpcBody | None
    statuses: tuple[RpcStatus, ...]
    other_status: int
    replies: tuple[RpcStatus, ...]
    other_reply: int
    error_replies: tuple[RpcTemplate, ...]
    heartbeat: RpcHeartbeat | None
    heartbeat_answers: tuple[RpcTemplate, ...]
    go_away: tuple[RpcTemplate, ...]
    pinned: tuple[str, ...]
    limits: RpcLimits


class RpcDescribedCodec(msgspec.Struct, frozen=True, tag_field="kind", tag="described"):
    protocol: RpcProtocol


RpcOption = str | int | float | bool


class RpcNativeCodec(msgspec.Struct, frozen=True, tag_field="kind", tag="native"):
    name: str
    options: dict[str, RpcOption] = {}


RpcCodec = RpcDescribedCodec | RpcNativeCodec


class RpcNative(msgspec.Struct, frozen=True):
    name: str
    about: str
    detection: tuple[RpcPattern, ...]


class RpcRow(msgspec.Struct, frozen=True):
    name: str
    offset: int
    length: int
    bytes_: bytes = msgspec.field(name="bytes")
    number: int | None


class RpcSeen(msgspec.Struct, frozen=True):
    offset: int
    size: int
    frame: RpcKind
    shape: str
    rows: tuple[RpcRow, ...]
    service: str
    method: str
    status: int | None
    deadline: int | None
    headers: tuple[tuple[str, str], ...]
    checksum: bool | None


class RpcExplained(msgspec.Struct, frozen=True):
    frames: tuple[RpcSeen, ...]
    left: int
    problem: str
