"""Refuses descriptions that contradict themselves, with path, reason and remedy.

In: a description of sound shape (types, ranges and patterns are the decoder's). Out: findings, empty if `compile` can
make a codec of it. Invariant: what passes here compiles, and the engine takes it. References are checked first; what
builds on them only if they are sound. `check_together` compares the first bytes of several descriptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mainstay.api.node import Path
from mainstay.protocols.check_frames import check_frames, check_made, made_frames
from mainstay.protocols.description import (
    Checksum,
    Field,
    Hessian,
    Made,
    Piece,
    Protocol,
    Source,
    Trace,
    resolve,
)
from mainstay.protocols.finding import Finding, say
from mainstay.protocols.native import native_codecs
from mainstay.protocols.shapes import (
    MAX_OPENINGS,
    MAX_SHAPES,
    Number,
    Opening,
    Pattern,
    Shape,
    TooMany,
    collide,
    detection_of,
    fixed_size,
    numbers_of,
    openings_of,
    shapes_of,
)

CERTAIN_BITS = 16
"""Fixed bits that first bytes must have to be called certain: one connection in 65,536 of random bytes is misjudged."""

WHOLE = 64 << 10
"""Bytes up to which the engine handles a frame whole."""

_CHECKSUM_BYTES = {"crc32": 4, "crc32c": 4, "adler32": 4}


def check(description: Protocol) -> list[Finding]:
    """Return every fault."""
    description = resolve(description)
    found = list(_check_fields(description)) or list(_check_references(description))
    if found:
        return found
    try:
        shapes = shapes_of(description)
        openings = openings_of(description, shapes)
    except TooMany:
        reason = f"the conditions have more than {MAX_SHAPES} combinations, or {MAX_OPENINGS} with all values"
        return [Finding(("fields",), reason, "Use fewer values in `when`, or two descriptions")]
    return list(check_frames(description, shapes, openings)) or [
        *check_made(description, shapes, openings),
        *_check_detection(description, shapes, openings),
    ]


def check_together(descriptions: Mapping[str, Protocol]) -> list[tuple[str, Finding]]:
    """Return the pairs of certain protocols that some first bytes fit both of, by the name of the later one.
    Native codecs count too."""
    found = []
    native = ((each.name, each.detection) for each in native_codecs() if each.name not in descriptions)
    seen = [(name, [Pattern(one.mask, one.value) for one in detection]) for name, detection in native]
    for name, description in descriptions.items():
        if description.detection != "certain":
            continue
        resolved = resolve(description)
        shapes = shapes_of(resolved)
        mine = detection_of(resolved, shapes, openings_of(resolved, shapes))
        for other, theirs in seen:
            if any(collide(one, two) for one in mine for two in theirs):
                reason = f"a connection may begin with bytes that fit both {name} and {other}"
                remedy = "Say declared-only in one of them, or add fixed bytes"
                found.append((name, Finding(("detection",), reason, remedy)))
        seen.append((name, mine))
    return found


def _check_fields(description: Protocol) -> Iterator[Finding]:
    names: set[str] = set()
    for index, field in enumerate(description.fields):
        here = ("fields", index)
        if field.name in names:
            yield say(*here, "name", reason=f"there are two fields {field.name}", remedy="Rename one")
        names.add(field.name)
        if field.rest is False:
            yield say(*here, "rest", reason="rest can only be true", remedy="Leave it out")
        if field.size is None:
            for what, given in (("bits", field.bits), ("values", field.values), ("signed", field.signed)):
                if given:
                    reason = f"{what} are of numbers, and {field.name} is none"
                    yield say(*here, what, reason=reason, remedy="Give it a size, or remove them")
        for at, bits in enumerate(field.bits):
            if bits.name in names:
                yield say(*here, "bits", at, "name", reason=f"there are two {bits.name}", remedy="Rename one")
            names.add(bits.name)
            if field.size is not None and bits.at + bits.count > 8 * field.size:
                reason = f"{field.name} has {8 * field.size} bits"
                yield say(*here, "bits", at, reason=reason, remedy="Count bits from 0, the lowest")
            for other in field.bits[:at]:
                if bits.at < other.at + other.count and other.at < bits.at + bits.count:
                    reason = f"{bits.name} and {other.name} share bits"
                    yield say(*here, "bits", at, reason=reason, remedy="Give each bit one name")
        for value in field.values:
            if field.size is not None and not _fits(value, 8 * field.size):
                yield say(
                    *here,
                    "values",
                    reason=f"{value} does not fit {field.size} bytes",
                    remedy="Give a value that fits",
                )


def _fits(value: int, bits: int) -> bool:
    return -(1 << (bits - 1)) <= value < 1 << bits


class _References:
    """What names stand for, with the findings for those that stand for nothing."""

    def __init__(self, description: Protocol) -> None:
        self.description = description
        self.numbers = numbers_of(description)
        self.parts = {field.name: field for field in description.fields if fixed_size(field) is None}
        self.order = {field.name: at for at, field in enumerate(description.fields)}
        self.found: list[Finding] = []

    def say(self, path: Path, reason: str, remedy: str) -> None:
        self.found.append(Finding(path, reason, remedy))

    def number(self, path: Path, name: str) -> Number | None:
        number = self.numbers.get(name)
        if number is None:
            self.say(path, f"there is no number {name}", f"Use one of {', '.join(self.numbers)}")
        return number

    def part(self, path: Path, name: str) -> Field | None:
        part = self.parts.get(name)
        if part is None:
            self.say(
                path,
                f"there is no part {name}",
                f"Use one of {', '.join(self.parts) or 'your fields with a length'}",
            )
        return part

    def condition(self, path: Path, when: Mapping[str, Sequence[int]], before: int | None = None) -> None:
        """Check a condition; `before`: the fields in it must come earlier than this one."""
        for name, values in when.items():
            number = self.number((*path, name), name)
            if number is None:
                continue
            if before is not None and self.order[number.field.name] >= before:
                self.say((*path, name), f"{name} comes later in the frame", "Depend on earlier fields only")
            if not values:
                self.say((*path, name), "there is no value", "List the values that it may have")
            for value in values:
                if not _fits(value, number.bits):
                    self.say(
                        (*path, name), f"{value} does not fit {number.bits} bits", "Give values that fit"
                    )


def _check_references(description: Protocol) -> Iterator[Finding]:
    see = _References(description)
    for index, field in enumerate(description.fields):
        see.condition(("fields", index, "when"), field.when, index)
        if field.length is not None:
            see.number(("fields", index, "length", "field"), field.length.field)
    if description.frame_size is not None:
        see.number(("frameSize", "field"), description.frame_size.field)
    for index, kind in enumerate(description.kinds):
        see.condition(("kinds", index, "when"), kind.when)
    if (number := see.number(("id",), description.id)) and number.count:
        see.say(("id",), f"{description.id} is a part of a field", "Use a whole field")
    body = see.part(("body", "field"), description.body.field)
    if description.headers is not None:
        part = see.part(("headers", "field"), description.headers.field)
        if part and body and see.order[part.name] >= see.order[body.name]:
            see.say(
                ("headers", "field"), "the header map must lie before the body", "Describe it as another part"
            )
    if description.checksum is not None:
        _check_checksum(see, description.checksum)
    if description.body.hessian is not None:
        _check_hessian(see, description.body.hessian)
    for name in ("service", "method", "deadline"):
        for index, source in enumerate(getattr(description, name)):
            _check_source(see, (name, index), source)
    for name, sources in description.attributes.items():
        for index, source in enumerate(sources):
            _check_source(see, ("attributes", name, index), source)
    if description.trace is not None:
        _check_trace(see, description.trace)
    _check_status(see)
    for index, name in enumerate(description.pinned):
        if (number := see.number(("pinned", index), name)) and number.count:
            see.say(("pinned", index), f"{name} is a part of a field", "Pin whole fields")
    for path, made in made_frames(description):
        _check_made_names(see, path, made)
    if description.heartbeat is not None:
        for key in ("interval", "timeout"):
            if not getattr(description.heartbeat, key):
                see.say(
                    ("heartbeat", key), "0 is no time", "Give at least 1ms; leave out `send` to send none"
                )
    yield from see.found


def _check_checksum(see: _References, checksum: Checksum) -> None:
    at = ("checksum",)
    number = see.number((*at, "field"), checksum.field)
    see.condition((*at, "when"), checksum.when)
    for key, name in (("from", checksum.from_), ("to", checksum.to)):
        if name not in see.order:
            see.say((*at, key), f"there is no field {name}", f"Use one of {', '.join(see.order)}")
    if number is None or see.found:
        return
    first, last, mine = (see.order[name] for name in (checksum.from_, checksum.to, number.field.name))
    if first > last:
        see.say((*at, "to"), f"{checksum.to} comes before {checksum.from_}", "Swap them")
    elif first <= mine <= last:
        see.say(
            (*at, "field"), "the checksum would cover itself", "Let it cover what lies before or behind it"
        )
    elif mine < last and see.description.limits.frame > WHOLE:
        reason = "a checksum in front of what it covers needs frames to be whole, and larger ones than 64 KiB are not"
        see.say(("limits", "frame"), reason, f"Set limits.frame to {WHOLE} at most, or cover less")
    if checksum.when and mine != len(see.order) - 1:
        see.say((*at, "when"), "only a checksum at the end may be absent", "Move it, or leave out `when`")
    wanted = _CHECKSUM_BYTES.get(checksum.algorithm)
    if number.count or (wanted and number.field.size != wanted):
        see.say(
            (*at, "field"),
            f"{checksum.algorithm} needs a field of {wanted or 'whole'} bytes",
            "Change its size",
        )


def _check_hessian(see: _References, hessian: Hessian) -> None:
    at = ("body", "hessian")
    see.condition((*at, "when"), hessian.when)
    names = list(hessian.object.values()) if hessian.object else list(hessian.values or ())
    if len(set(names)) != len(names):
        see.say((*at, "object" if hessian.object else "values"), "a name is given twice", "Rename one")
    behind = hessian.attachments_behind
    if behind is not None and (hessian.object or behind != names[-1]):
        reason = "attachments are found behind the arguments, whose types are the last of `values`"
        see.say((*at, "attachmentsBehind"), reason, "Name the last of `values`")


def _body_values(description: Protocol) -> list[str]:
    hessian = description.body.hessian
    if hessian is None:
        return []
    return list(hessian.object.values()) if hessian.object else list(hessian.values or ())


def _check_source(see: _References, path: Path, source: Source) -> None:
    description = see.description
    if source.header is not None:
        hessian = description.body.hessian
        if description.headers is None and (hessian is None or hessian.attachments_behind is None):
            see.say(
                (*path, "header"), "the frame has neither header map nor attachments", "Describe `headers`"
            )
    elif source.field is not None:
        if source.field not in see.numbers and source.field not in see.parts:
            known = ", ".join([*see.numbers, *see.parts])
            see.say((*path, "field"), f"there is no field {source.field}", f"Use one of {known}")
        elif source.field == description.body.field:
            see.say((*path, "field"), "the body may be large", "Look into it by `body.hessian`")
    elif source.body is not None and source.body not in (names := _body_values(description)):
        remedy = f"Use one of {', '.join(names)}" if names else "Describe `body.hessian`"
        see.say((*path, "body"), f"no value of the body is called {source.body}", remedy)


def _check_trace(see: _References, trace: Trace) -> None:
    if trace.id is None and trace.context is None:
        see.say(("trace",), "nothing tells a trace", "Give `id` or `context`")
    hessian = see.description.body.hessian
    if see.description.headers is None and (hessian is None or hessian.attachments_behind is None):
        see.say(("trace",), "the frame has neither header map nor attachments", "Describe `headers`")
    names = [header.header.lower() for header in trace.begin]
    if len(set(names)) != len(names):
        see.say(("trace", "begin"), "a header is given twice", "Keep one")
    tells = {trace.id: "traceId", trace.context: "context"}
    if trace.begin and not any(each.value and tells.get(each.header) == each.value for each in trace.begin):
        reason = "a trace that is begun so is not found again by the next proxy"
        see.say(
            ("trace", "begin"),
            reason,
            "Give the header of `id` its traceId, or that of `context` its context",
        )


def _check_status(see: _References) -> None:
    status = see.description.status
    see.number(("status", "field"), status.field)
    seen: set[int] = set()
    for index, known in enumerate(status.outcomes):
        for value in known.values:
            if value in seen:
                see.say(("status", "outcomes", index, "values"), f"{value} is listed twice", "Keep one")
            seen.add(value)


def _check_made_names(see: _References, path: Path, made: Made) -> None:
    for name, value in made.set.items():
        number = see.number((*path, "set", name), name)
        if number is not None and not _fits(value, number.bits):
            see.say(
                (*path, "set", name), f"{value} does not fit {number.bits} bits", "Give a value that fits"
            )
        if number is not None and name in made.copy_:
            see.say((*path, "set", name), f"{name} is copied too", "Keep one of them")
    for index, name in enumerate(made.copy_):
        if name == see.description.body.field:
            see.say((*path, "copy", index), "the body is not kept", "Make it of pieces, under `parts`")
        elif name not in see.order or (name not in see.numbers and name not in see.parts):
            see.say((*path, "copy", index), f"there is no field {name}", f"Use one of {', '.join(see.order)}")
    for name, pieces in made.parts.items():
        if see.part((*path, "parts", name), name) is not None and name in made.copy_:
            see.say((*path, "parts", name), f"{name} is copied too", "Keep one of them")
        for index, piece in enumerate(pieces):
            if path != ("errorReply",) and _tells_error(piece):
                reason = "only an error reply has a message and a status"
                see.say((*path, "parts", name, index), reason, "Use bytes")


def _tells_error(piece: Piece) -> bool:
    return piece.message is not None or piece.status is not None


def _check_detection(
    description: Protocol, shapes: Sequence[Shape], openings: Sequence[Opening]
) -> Iterator[Finding]:
    if description.detection != "certain":
        return
    patterns = detection_of(description, shapes, openings)
    weakest = min((pattern.bits for pattern in patterns), default=0)
    if weakest < CERTAIN_BITS:
        reason = f"a client's first frame has only {weakest} bits that are fixed; {CERTAIN_BITS} are needed to be certain"
        yield say(
            "detection", reason=reason, remedy="Give `values` or `magic` to more fields, or say declared-only"
        )
    for name, known in _KNOWN.items():
        if any(
            all(_may_be(pattern, at, allowed) for at, allowed in enumerate(known)) for pattern in patterns
        ):
            reason = f"{name} may begin with the same bytes"
            yield say("detection", reason=reason, remedy="Say declared-only")


_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_ANY = frozenset(range(256))
_KNOWN: dict[str, Sequence[Iterable[int]]] = {
    "HTTP/1": [_TOKEN | frozenset(b"\r"), _TOKEN | frozenset(b"\n"), _TOKEN | frozenset(b" ")],
    "HTTP/2": [frozenset((byte,)) for byte in b"PRI * HTTP/2.0\r\n"],
    "TLS": [frozenset((22,)), frozenset((3,)), frozenset(range(5)), _ANY, _ANY, frozenset((1,))],
}
"""What each byte may be at the beginning of protocols that the engine tells apart itself."""


def _may_be(pattern: Pattern, at: int, allowed: Iterable[int]) -> bool:
    if at >= len(pattern.mask):
        return True
    return any(byte & pattern.mask[at] == pattern.value[at] for byte in allowed)
