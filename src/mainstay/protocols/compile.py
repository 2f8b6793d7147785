"""Makes the engine's plan of a description: shapes with their items, what first bytes tell, frames that are made here.

In: a description that `check` has nothing against. Out: `plan.RpcProtocol`. Pure. The engine turns names into offsets;
everything that needs thought about conditions is done here, once.
"""

from __future__ import annotations

from collections.abc import Sequence

from mainstay.model.rpc import HTTP_STATUS, OutcomeName
from mainstay.protocols.description import (
    Field,
    KindName,
    Made,
    Order,
    Piece,
    Protocol,
    Source,
    Trace,
    TraceHeader,
    TraceValueName,
    resolve,
)
from mainstay.protocols.shapes import (
    Number,
    Opening,
    Pattern,
    Shape,
    detection_of,
    numbers_of,
    openings_of,
    patterns_of,
    shapes_of,
)
from mainstay.sidecar import plan

# Among replies each outcome has a status of its own; 421 (sent to whom cannot answer it) is what HTTP says of such a request.
_REPLIES: dict[OutcomeName, int] = {**HTTP_STATUS, "unreached": 421}

_KINDS: dict[KindName, plan.RpcKind] = {
    "request": "request",
    "oneWay": "one_way",
    "response": "response",
    "heartbeat": "heartbeat",
    "heartbeatAnswer": "heartbeat_answer",
    "goAway": "go_away",
}
_TRACE_VALUES: dict[TraceValueName, plan.RpcTraceValue] = {
    "traceId": plan.TraceIdValue(),
    "spanId": plan.SpanIdValue(),
    "context": plan.ContextValue(),
    "sampled": plan.SampledValue(),
}
_DIALECTS: dict[str, plan.RpcDialect] = {
    "draft": "draft",
    "final": "final",
    "by-first-byte": "by_first_byte",
}


class Unmakable(Exception):  # noqa: N818  it reports the author's mistake
    """What is given for a frame made here does not make one."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def compile_protocol(name: str, description: Protocol) -> plan.RpcProtocol:
    """Return the plan; `name` becomes the scheme of requests and the protocol's label."""
    description = resolve(description)
    shapes = shapes_of(description)
    openings = openings_of(description, shapes)
    heartbeat, go_away = description.heartbeat, description.go_away

    def made(given: Made | None, like: KindName, target: KindName) -> tuple[plan.RpcTemplate, ...]:
        return () if given is None else compile_made(description, shapes, openings, given, like, target)

    sends = made(heartbeat.send, "request", "heartbeat") if heartbeat else ()
    certain = description.detection == "certain"
    detection = detection_of(description, shapes, openings) if certain else []
    reply = description.error_reply
    return plan.RpcProtocol(
        name=name,
        openings=tuple(
            plan.RpcOpening(_pattern(each.pattern), each.shape, _KINDS[each.kind]) for each in openings
        ),
        shapes=tuple(_shape(description, shape) for shape in shapes),
        detection=tuple(map(_pattern, detection)),
        headers=_headers(description),
        service=_sources(description, description.service),
        method=_sources(description, description.method),
        deadline=_sources(description, description.deadline),
        attributes=tuple(
            plan.RpcAttribute(key, _sources(description, sources))
            for key, sources in sorted(description.attributes.items())
        ),
        trace=_trace(description.trace),
        body=_body(description),
        statuses=tuple(
            plan.RpcStatus(value % (1 << 64), HTTP_STATUS[known.outcome])
            for known in description.status.outcomes
            for value in known.values
        ),
        other_status=HTTP_STATUS[description.status.other],
        replies=tuple(plan.RpcStatus(each.status, _REPLIES[each.outcome]) for each in reply.statuses),
        other_reply=reply.other,
        error_replies=made(reply, "request", "response"),
        heartbeat=plan.RpcHeartbeat(
            templates=sends,
            interval=heartbeat.interval,
            longest_interval=max(heartbeat.interval, heartbeat.longest_interval),
            timeout=heartbeat.timeout,
            misses=heartbeat.misses,
        )
        if heartbeat and sends
        else None,
        heartbeat_answers=made(heartbeat.answer, "heartbeat", "heartbeatAnswer") if heartbeat else (),
        go_away=made(go_away.send, "request", "goAway") if go_away else (),
        pinned=description.pinned,
        limits=plan.RpcLimits(
            frame=description.limits.frame,
            head=description.limits.head,
            headers=description.limits.headers,
            calls=description.limits.calls,
            provider_calls=description.limits.provider_calls,
        ),
    )


def compile_made(
    description: Protocol,
    shapes: Sequence[Shape],
    openings: Sequence[Opening],
    given: Made,
    like: KindName,
    target: KindName,
) -> tuple[plan.RpcTemplate, ...]:
    """Return how to make a frame of kind `target`, for each shape that a frame of kind `like` may have; raises Unmakable."""
    numbers = numbers_of(description)
    found = []
    for index in sorted({opening.shape for opening in openings if opening.kind == like}):
        chosen = _target(description, shapes, numbers, given, shapes[index], target)
        if chosen is None:
            which = "" if shapes[index].name == "frame" else f", out of one with {shapes[index].name}"
            reason = f"what is set and copied does not make a frame of kind {target}{which}"
            raise Unmakable(reason, "Set the values that tell its kind and shape")
        shape = shapes[chosen]
        found.append(
            plan.RpcTemplate(
                like=index,
                shape=chosen,
                values=tuple(
                    plan.RpcValue(_field(numbers[name]), value)
                    for name, value in sorted(given.set.items())
                    if shape.has(name)
                ),
                copies=tuple(name for name in given.copy_ if shape.has(name) and shapes[index].has(name)),
                parts=tuple(
                    plan.RpcPart(name, tuple(_piece(description, piece) for piece in pieces))
                    for name, pieces in sorted(given.parts.items())
                    if shape.has(name)
                ),
            )
        )
    return tuple(found)


def _target(
    description: Protocol,
    shapes: Sequence[Shape],
    numbers: dict[str, Number],
    given: Made,
    source: Shape,
    target: KindName,
) -> int | None:
    """The first shape that a frame with these values has, if that makes it one of the wanted kind."""
    for index, shape in enumerate(shapes):
        told = all(
            values is None or _may_have(numbers[name], name, given, source) <= values
            for name, values in shape.told_by.items()
        )
        if not told:
            continue
        for kind in description.kinds:
            fits = all(
                shape.has(name)
                and _may_have(numbers[name], name, given, source)
                <= frozenset(value % (1 << numbers[name].bits) for value in wanted)
                for name, wanted in kind.when.items()
            )
            if fits and kind.kind == target:
                return index
            if fits:
                return None
    return None


def _may_have(number: Number, name: str, given: Made, source: Shape) -> frozenset[int]:
    """The values that a number may have in a frame that is made."""
    if name in given.set:
        return frozenset((given.set[name] % (1 << number.bits),))
    if number.count and number.field.name in given.set:
        return frozenset((given.set[number.field.name] >> number.at & ((1 << number.count) - 1),))
    if name in given.copy_ or number.field.name in given.copy_:
        told = source.told_by.get(name)
        if told is not None:
            return told
        return number.declared or frozenset((-1,))
    return frozenset((0,))


def _pattern(pattern: Pattern) -> plan.RpcPattern:
    return plan.RpcPattern(pattern.mask, pattern.value)


def _field(number: Number) -> plan.RpcField:
    return plan.RpcField(number.field.name, number.at, number.count)


def _shape(description: Protocol, shape: Shape) -> plan.RpcShape:
    numbers = numbers_of(description)
    size = description.frame_size
    headers = description.headers
    status = description.status.field
    hessian = description.body.hessian
    condition = hessian.when if hessian else {}
    checksum = _checksum(description, shape)
    return plan.RpcShape(
        name=shape.name,
        items=tuple(
            _item(field) for field in shape.fields if checksum or field.name != _checksum_field(description)
        ),
        size=plan.RpcLength(size.field, size.times, size.plus) if size else None,
        id=description.id,
        status=_field(numbers[status]) if shape.has(status) else None,
        headers=headers.field if headers and shape.has(headers.field) else None,
        body=description.body.field,
        checksum=checksum,
        look_into_body=tuple(
            map(_pattern, patterns_of(numbers, shape, condition, whole=False)) if condition else ()
        ),
    )


def _item(field: Field) -> plan.RpcItem:
    size: plan.RpcSize
    if field.magic is not None:
        size = plan.RpcMagic(bytes.fromhex(field.magic))
    elif field.size is not None:
        size = plan.RpcNumber(field.size)
    elif field.length is not None:
        size = plan.RpcTold(plan.RpcLength(field.length.field, field.length.times, field.length.plus))
    else:
        size = plan.RpcRest()
    bits = tuple(plan.RpcBits(each.name, each.at, each.count) for each in field.bits)
    return plan.RpcItem(field.name, size, field.byte_order == "little", field.signed, bits)


def _checksum(description: Protocol, shape: Shape) -> plan.RpcChecksum | None:
    """The checksum of a shape; None if its field is not in it, or never there as the condition cannot hold."""
    given = description.checksum
    if given is None or not shape.has(given.field):
        return None
    numbers = numbers_of(description)
    present = tuple(map(_pattern, patterns_of(numbers, shape, given.when, whole=False))) if given.when else ()
    if given.when and not present:
        return None
    return plan.RpcChecksum(
        item=given.field,
        algorithm=given.algorithm,
        first=given.from_,
        last=given.to,
        present=present,
        verify=given.verify,
    )


def _checksum_field(description: Protocol) -> str:
    return description.checksum.field if description.checksum else ""


def _headers(description: Protocol) -> plan.RpcHeaders | None:
    given = description.headers
    if given is None:
        return None
    last_wins = given.duplicates == "last"
    if given.text is not None:
        return plan.RpcText(given.text.between, given.text.behind, last_wins)
    assert given.pairs is not None
    pairs = given.pairs
    return plan.RpcPairs(
        count_bytes=pairs.count_bytes,
        name_bytes=pairs.name_bytes,
        value_bytes=pairs.value_bytes,
        little_endian=_is_little(description, pairs.byte_order),
        nulls=pairs.nulls,
        last_wins=last_wins,
    )


def _is_little(description: Protocol, order: Order | None) -> bool:
    return (order or description.byte_order) == "little"


def _sources(description: Protocol, sources: Sequence[Source]) -> tuple[plan.RpcSource, ...]:
    return tuple(_source(description, source) for source in sources)


def _source(description: Protocol, source: Source) -> plan.RpcSource:
    origin: plan.RpcOrigin
    if source.header is not None:
        origin = plan.FromHeader(source.header)
    elif source.body is not None:
        origin = plan.FromBody(_body_names(description).index(source.body))
    elif source.field is not None:
        number = numbers_of(description).get(source.field)
        origin = plan.FromItem(_field(number) if number else plan.RpcField(source.field))
    else:
        assert source.text is not None
        origin = plan.FromText(source.text)
    return plan.RpcSource(origin, source.before or "", source.after or "")


def _body_names(description: Protocol) -> list[str]:
    hessian = description.body.hessian
    if hessian is None:
        return []
    return list(hessian.object.values()) if hessian.object else list(hessian.values or ())


def _body(description: Protocol) -> plan.RpcBody | None:
    hessian = description.body.hessian
    if hessian is None:
        return None
    behind = hessian.attachments_behind
    return plan.RpcBody(
        dialect=_DIALECTS[hessian.dialect],
        object=tuple(hessian.object or ()),
        values=len(hessian.values or ()),
        attachments_behind=None if behind is None else _body_names(description).index(behind),
    )


def _trace(trace: Trace | None) -> plan.RpcTrace | None:
    if trace is None:
        return None
    return plan.RpcTrace(
        id=trace.id,
        context=trace.context,
        sampled=trace.sampled,
        begin=tuple(plan.RpcTraceHeader(each.header, _trace_value(each)) for each in trace.begin),
    )


def _trace_value(given: TraceHeader) -> plan.RpcTraceValue:
    if given.value is None:
        return plan.TextValue(given.text or "")
    return _TRACE_VALUES[given.value]


def _piece(description: Protocol, piece: Piece) -> plan.RpcPiece:
    little = _is_little(description, None)
    if piece.bytes is not None:
        return plan.BytesPiece(bytes.fromhex(piece.bytes))
    if piece.message is not None:
        return plan.MessagePiece(piece.message.length_bytes, little)
    assert piece.status is not None
    return plan.StatusPiece(piece.status.size, little)
