"""The language in which a framed RPC protocol is described: one YAML file, from which the engine makes a codec.

**A frame is a list of fields**, in the order of the wire. A field is a number of 1 to 8 bytes (`size`), constant bytes
(`magic`), or a part whose length another field tells (`length`) or that takes what is left (`rest`). A number may have
named `bits`, a set of `values` outside of which the frame is broken, and its own byte order. A field with `when` is
only there if earlier fields have certain values: so variants and versions are one list. All combinations are worked out
when the description is compiled; each becomes a *shape* with fixed offsets, and the engine finds a frame's shape and
kind by comparing its first 16 bytes. There are no loops and no expressions: a length is one field `times` and `plus` a
constant; all lengths together are the size of the frame, or `frameSize` tells it. What does not fit is a native
codec, written in Rust.

**Kinds** say which values make a request, a one-way request, a response, a heartbeat, its answer, a go-away. **The
engine does with each** what it does for HTTP: requests are routed by `service` and `method`, counted, limited, retried;
their `id` is replaced so that many callers share few connections; heartbeats are answered hop by hop and made on idle
connections; what a frame brings otherwise (class names, codec bytes, header maps it does not change) leaves as it came.
The `checksum` is verified and made anew.

**Where things are**: `service`, `method`, `deadline` and `attributes` are lists of sources, the first that has text
counts (of deadlines the shortest): a pair of the header map, a field, a value in the body, or fixed text, cut at
`before` or `after` a separator. `body.hessian` names the first values of a hessian body, in either dialect; they are
skipped to, never built. Where a header and the body both tell the method they must tell the same, since servers differ in
which of them they obey: such a call is refused. `trace` names the headers that tell a call's trace, and those that begin one.

**What is made here**: a frame is copied from one that was received (`copy`) with some fields `set`; lengths, id, status
and checksum are filled in. `errorReply` says how to tell callers what went wrong, `status` maps the protocol's numbers
to outcomes and back.

**Detection** is `certain` if the first bytes can be nothing else (at least 16 fixed bits, checked against other
protocols), else `declared-only`: then a
port must be declared to speak it.

In: fields decoded by `api.decode`. Out: frozen values for `check` and `compile`. Invariant: pure data; defaults are
filled in.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import msgspec

from mainstay.api.define import Count, Duration, Length, OneOf, Part, Pattern, Range, Unit
from mainstay.model.rpc import OutcomeName

NAME = Pattern(r"[a-zA-Z][a-zA-Z0-9]{0,39}", "a letter, then letters and digits, at most 40")
HEX = Pattern(r"([0-9a-fA-F]{2}){1,64}", "hexadecimal digits, two a byte, at most 64 bytes")
ATTRIBUTE = Pattern(r"[a-z][a-z0-9-]{0,62}", "lower-case letters, digits and '-'")

Name = Annotated[str, NAME]
Order = Literal["big", "little"]
Condition = Annotated[
    dict[str, tuple[int, ...]],
    "Fields or bits, and the values that each may have; all must hold.",
    Length(0, 8),
]
KindName = Literal["request", "oneWay", "response", "heartbeat", "heartbeatAnswer", "goAway"]
Algorithm = Literal["crc32", "crc32c", "adler32", "sum", "xor"]
TraceValueName = Literal["traceId", "spanId", "context", "sampled"]
Certainty = Literal["certain", "declared-only"]
LengthBytes = Annotated[int, Range(0, 4)]


class Bits(Part, frozen=True):
    """Some bits of a number."""

    name: Annotated[Name, "Name; may stand wherever a field may."]
    at: Annotated[int, "Lowest bit, counted from 0.", Range(0, 63)]
    count: Annotated[int, "Number of bits.", Range(1, 32)] = 1


class LengthOf(Part, frozen=True):
    """A length that a field tells: its value, times and plus something."""

    field: Annotated[Name, "Field that has the value."]
    times: Annotated[int, "Factor, for lengths in words.", Range(1, 8)] = 1
    plus: Annotated[int, "Added, for lengths that count more or less than the part.", Range(-64, 64)] = 0


class Field(Part, frozen=True):
    """A piece of a frame."""

    exclusive: ClassVar[tuple[OneOf, ...]] = (OneOf(("size", "magic", "length", "rest")),)

    name: Annotated[Name, "Name, unique in the description."]
    size: Annotated[int | None, "A number of so many bytes.", Range(1, 8)] = None
    magic: Annotated[str | None, "These bytes and no others.", HEX] = None
    length: Annotated[LengthOf | None, "A part whose length a field tells."] = None
    rest: Annotated[bool | None, "A part that takes what is left of the frame (`true`)."] = None
    byte_order: Annotated[Order | None, "Byte order, if not that of the description."] = None
    signed: Annotated[bool, "The number has a sign."] = False
    values: Annotated[
        tuple[int, ...], "All values that may occur; others break the frame.", Length(0, 16)
    ] = ()
    bits: Annotated[tuple[Bits, ...], "Named bits of the number.", Length(0, 16)] = ()
    when: Condition = {}


class FrameKind(Part, frozen=True):
    """Which values make a kind of frame. The first that fits counts."""

    kind: Annotated[KindName, "What such a frame is."]
    when: Condition = {}


class Checksum(Part, frozen=True):
    """A checksum over consecutive fields."""

    field: Annotated[Name, "Number that holds it; it may stand behind everything, or in front."]
    algorithm: Annotated[Algorithm, "How it is reckoned. `sum` and `xor` go byte by byte."]
    from_: Annotated[Name, "First field that it covers."] = msgspec.field(name="from")
    to: Annotated[Name, "Last field that it covers."]
    when: Condition = {}
    verify: Annotated[bool, "A wrong one breaks the frame."] = True


class Pairs(Part, frozen=True):
    """Name and value, each behind its length."""

    count_bytes: Annotated[LengthBytes, "Bytes of the number of pairs in front; 0: they fill the part."] = 0
    name_bytes: Annotated[int, "Bytes of a name's length.", Range(1, 4)] = 4
    value_bytes: Annotated[int, "Bytes of a value's length.", Range(1, 4)] = 4
    byte_order: Annotated[Order | None, "Byte order, if not that of the description."] = None
    nulls: Annotated[bool, "A negative length is a null: such a pair is passed over."] = False


class TextLines(Part, frozen=True):
    """Name and value as text."""

    between: Annotated[str, "What stands between name and value.", Length(1, 8)] = ": "
    behind: Annotated[str, "What stands behind each value.", Length(1, 8)] = "\r\n"


class HeaderMap(Part, frozen=True):
    """A part that holds header fields."""

    exclusive: ClassVar[tuple[OneOf, ...]] = (OneOf(("pairs", "text")),)

    field: Annotated[Name, "The part."]
    pairs: Annotated[Pairs | None, "Length-prefixed pairs."] = None
    text: Annotated[TextLines | None, "Text with separators."] = None
    duplicates: Annotated[
        Literal["last", "first"],
        "Which of two equal names the peers believe. The mesh looks at no other, and leaves it out where it writes the map anew.",
    ] = "last"


class Source(Part, frozen=True):
    """Where a text is found."""

    exclusive: ClassVar[tuple[OneOf, ...]] = (OneOf(("header", "field", "body", "text")),)

    header: Annotated[str | None, "Header of this name, as written on the wire.", Length(1, 200)] = None
    field: Annotated[Name | None, "Field or bits; a number is written in decimals."] = None
    body: Annotated[Name | None, "Value that `body` names."] = None
    text: Annotated[str | None, "This text.", Length(1, 200)] = None
    before: Annotated[str | None, "Only what stands in front of the first such text.", Length(1, 8)] = None
    after: Annotated[
        str | None, "Only what stands behind the first such text, all if there is none.", Length(1, 8)
    ] = None


Sources = Annotated[tuple[Source, ...], Length(0, 4)]


HeaderName = Annotated[str, Length(1, 200)]


class TraceHeader(Part, frozen=True):
    """A header of a call whose trace begins in the mesh."""

    exclusive: ClassVar[tuple[OneOf, ...]] = (OneOf(("value", "text")),)

    header: Annotated[HeaderName, "Name, as written on the wire."]
    value: Annotated[
        TraceValueName | None,
        "`traceId`: 32 hexadecimal digits; `spanId`: 16; `context`: both, as W3C's `traceparent` has them; `sampled`: `true` or"
        " `false`.",
    ] = None
    text: Annotated[str | None, "This text.", Length(0, 200)] = None


class Trace(Part, frozen=True):
    """Where a call's trace is told. Headers that a call brings are never changed: the mesh adds no span of its own."""

    id: Annotated[
        HeaderName | None, "Header whose text names the trace, as the protocol's own tools log it."
    ] = None
    context: Annotated[
        HeaderName | None, "Header with a W3C trace context, looked at where `id` is missing."
    ] = None
    sampled: Annotated[
        HeaderName | None, "Header that says `true` or `1` if the trace is sampled; one that does not say is."
    ] = None
    begin: Annotated[
        tuple[TraceHeader, ...],
        "What a call without a trace gets, where tracing is on. Without it none are begun.",
        Length(0, 8),
    ] = ()


class Hessian(Part, frozen=True):
    """The body begins with hessian values."""

    exclusive: ClassVar[tuple[OneOf, ...]] = (OneOf(("object", "values")),)

    dialect: Annotated[
        Literal["draft", "final", "by-first-byte"],
        "`draft`: the 3.1 line (SOFA hessian 3); `final`: Hessian 2.0 (Dubbo, SOFA hessian 4); or told by the class definition.",
    ]
    when: Condition = {}
    object: Annotated[
        dict[str, Name] | None,
        "The first value is an object: names of its fields, and what they are called here.",
        Length(1, 8),
    ] = None
    values: Annotated[
        tuple[Name, ...] | None, "The first values are these texts, in this order.", Length(1, 8)
    ] = None
    attachments_behind: Annotated[
        Name | None,
        "The value that lists parameter types as the JVM writes them: behind so many arguments follows a map, whose texts become"
        " headers.",
    ] = None


class Body(Part, frozen=True):
    """The part that filters and retries know as the body; nothing but a checksum may follow it."""

    field: Annotated[Name, "The part."]
    hessian: Annotated[
        Hessian | None, "Values at its beginning, for `service`, `method` and `attributes`."
    ] = None


class Outcomes(Part, frozen=True):
    """What some values of the status mean."""

    values: Annotated[tuple[int, ...], "Values.", Length(1, 64)]
    outcome: Annotated[OutcomeName, "What they mean to retries, outlier detection and metrics."]


class Status(Part, frozen=True):
    """How a response says what came of the request."""

    field: Annotated[Name, "Field or bits with the status."]
    outcomes: Annotated[tuple[Outcomes, ...], "Known values.", Length(1, 16)]
    other: Annotated[OutcomeName, "What all other values mean."] = "serverError"


class LengthPrefixed(Part, frozen=True):
    """Text with its length in front."""

    length_bytes: Annotated[LengthBytes, "Bytes of the length; 0: without."] = 0


class NumberPiece(Part, frozen=True):
    """A number."""

    size: Annotated[int, "Bytes.", Range(1, 8)]


class Piece(Part, frozen=True):
    """A piece of a part that is made here."""

    exclusive: ClassVar[tuple[OneOf, ...]] = (OneOf(("bytes", "message", "status")),)

    bytes: Annotated[str | None, "These bytes.", HEX] = None
    message: Annotated[LengthPrefixed | None, "What went wrong, as text."] = None
    status: Annotated[NumberPiece | None, "The status of the reply."] = None


class Made(Part, frozen=True):
    """A frame that is made here. What is neither set nor copied is 0 or empty."""

    set: Annotated[dict[str, int], "Values of fields or bits.", Length(0, 16)] = {}
    copy_: Annotated[
        tuple[Name, ...],
        "Fields taken over: from the frame that is answered, or from the connection's first request.",
        Length(0, 16),
    ] = msgspec.field(name="copy", default=())
    parts: Annotated[dict[str, tuple[Piece, ...]], "What parts hold.", Length(0, 4)] = {}


class ReplyStatus(Part, frozen=True):
    """The status that tells an outcome to callers."""

    outcome: Annotated[OutcomeName, "What happened."]
    status: Annotated[int, "The protocol's number.", Range(0, 2**32 - 1)]


class ErrorReply(Made, frozen=True):
    """The response to a request that nobody answers."""

    statuses: Annotated[tuple[ReplyStatus, ...], "Status by outcome.", Length(0, 8)] = ()
    other: Annotated[int, "Status of every other outcome.", Range(0, 2**32 - 1)] = 0


class Heartbeat(Part, frozen=True):
    """Proofs of life, hop by hop."""

    send: Annotated[Made | None, "A heartbeat; without one none are sent."] = None
    answer: Annotated[Made | None, "The answer to one; without one they are swallowed."] = None
    interval: Annotated[Duration, "Silence before the first heartbeat."] = 15_000
    longest_interval: Annotated[Duration, "An idle connection's heartbeats become rarer up to this."] = 90_000
    timeout: Annotated[Duration, "How long an answer may take."] = 3_000
    misses: Annotated[int, "Missing answers in a row that end the connection.", Range(1, 10)] = 3


class GoAway(Part, frozen=True):
    """How a server asks for no new requests; always understood, sent only if this says so."""

    send: Annotated[Made | None, "The frame. Only give one if every peer understands it."] = None


class Limits(Part, frozen=True):
    """What a peer may cost."""

    frame: Annotated[int, "Largest frame.", Unit("bytes"), Range(64, 1 << 30)] = (8 << 20) + (64 << 10)
    head: Annotated[int, "All in front of the body.", Unit("bytes"), Range(16, 64 << 10)] = 60 << 10
    headers: Annotated[Count, "Pairs of a header map.", Range(1, 1_000)] = 128
    calls: Annotated[
        Count, "Calls in flight on a connection; more are answered as overloaded.", Range(1, 65_536)
    ] = 8_192
    provider_calls: Annotated[
        Count,
        "Calls in flight on one connection to a provider. 1: providers answer one call after the other; calls then have "
        "a connection each, and one that is given up ends its own.",
        Range(1, 65_536),
    ] = 1_024


class Protocol(Part, frozen=True, kw_only=True):
    """A framed RPC protocol, from which the engine makes a codec."""

    about: Annotated[str, "One sentence for the reference page.", Length(0, 300)] = ""
    detection: Annotated[Certainty, "Whether first bytes tell the protocol, or a port must declare it."] = (
        "declared-only"
    )
    byte_order: Annotated[Order, "Byte order of numbers."] = "big"
    fields: Annotated[tuple[Field, ...], "The frame, piece by piece.", Length(1, 48)]
    frame_size: Annotated[
        LengthOf | None, "Size of the whole frame, if a field tells it; else the sum of the fields."
    ] = None
    kinds: Annotated[tuple[FrameKind, ...], "Kinds of frames, the frequent ones first.", Length(2, 16)]
    id: Annotated[Name, "Field that ties a response to its request."]
    body: Annotated[Body, "The body."]
    headers: Annotated[HeaderMap | None, "The header map, if there is one."] = None
    checksum: Annotated[Checksum | None, "The checksum, if there is one."] = None
    service: Annotated[Sources, "Sources of the service's name."]
    method: Annotated[Sources, "Sources of the method's name."]
    deadline: Annotated[
        Sources, "Sources of the time that the caller waits, in milliseconds; the shortest counts."
    ] = ()
    attributes: Annotated[
        dict[str, tuple[Source, ...]],
        "What routes and logs may ask for besides headers, by the name under which it looks like one.",
        Length(0, 8),
    ] = {}
    trace: Annotated[Trace | None, "Where a call's trace is told, if it is."] = None
    status: Annotated[Status, "What a response says."]
    error_reply: Annotated[ErrorReply, "How callers are told what went wrong here."]
    heartbeat: Annotated[Heartbeat | None, "Heartbeats, if there are any."] = None
    go_away: Annotated[GoAway | None, "Asking for no new requests, if that exists."] = None
    pinned: Annotated[
        tuple[Name, ...],
        "Fields that peers expect not to change on a connection, such as a version.",
        Length(0, 4),
    ] = ()
    limits: Annotated[Limits, "Limits."] = Limits()


def resolve(description: Protocol) -> Protocol:
    """Return the description with every field's byte order filled in."""
    fields = tuple(
        msgspec.structs.replace(field, byte_order=field.byte_order or description.byte_order)
        for field in description.fields
    )
    return msgspec.structs.replace(description, fields=fields)
