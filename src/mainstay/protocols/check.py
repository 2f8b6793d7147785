"""Refuses descriptions that contradict themselves, with path, reason and remedy.

In: a description of sound shape (types, ranges and patterns are the decoder's). Out: findings, empty if `compile` can
make a codec of it. Invariant: what passes here compiles, and the engine takes it. References are checked first; what
builds on them only if they are sound. `check_together` compares the first bytes of several descriptions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from mainstay.api.node import Path
from mainstay.protocols.compile import Unmakable, compile_made
from mainstay.protocols.description import (
    Checksum,
    Field,
    Hessian,
    KindName,
    Made,
    Piece,
    Protocol,
    Source,
    Trace,
    resolve,
)
from mainstay.protocols.shapes import (
    MAX_OPENINGS,
    MAX_SHAPES,
    WINDOW,
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

MAX_FRONT, MAX_PARTS = 256, 8
"""Bytes in front of the first part, and parts, that the engine takes."""

_CHECKSUM_BYTES = {"crc32": 4, "crc32c": 4, "adler32": 4}


class Finding(msgspec.Struct, frozen=True):
    """One fault of a description; `path` begins below `spec`."""

    path: Path
    reason: str
    remedy: str


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
    found = list(_check_kinds(description, shapes, openings))
    used = [shape for index, shape in enumerate(shapes) if any(each.shape == index for each in openings)]
    for shape in used:
        found += _check_shape(description, shape)
    found += _check_found_texts(description, shapes, openings)
    return found or [
        *_check_made(description, shapes, openings),
        *_check_detection(description, shapes, openings),
    ]


def check_together(descriptions: Mapping[str, Protocol]) -> list[tuple[str, Finding]]:
    """Return the pairs of certain protocols that some first bytes fit both of, by the name of the later one."""
    found = []
    seen: list[tuple[str, list[Pattern]]] = []
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


def _say(*path: str | int, reason: str, remedy: str) -> Finding:
    return Finding(path, reason, remedy)


def _check_fields(description: Protocol) -> Iterator[Finding]:
    names: set[str] = set()
    for index, field in enumerate(description.fields):
        here = ("fields", index)
        if field.name in names:
            yield _say(*here, "name", reason=f"there are two fields {field.name}", remedy="Rename one")
        names.add(field.name)
        if field.rest is False:
            yield _say(*here, "rest", reason="rest can only be true", remedy="Leave it out")
        if field.size is None:
            for what, given in (("bits", field.bits), ("values", field.values), ("signed", field.signed)):
                if given:
                    reason = f"{what} are of numbers, and {field.name} is none"
                    yield _say(*here, what, reason=reason, remedy="Give it a size, or remove them")
        for at, bits in enumerate(field.bits):
            if bits.name in names:
                yield _say(
                    *here, "bits", at, "name", reason=f"there are two {bits.name}", remedy="Rename one"
                )
            names.add(bits.name)
            if field.size is not None and bits.at + bits.count > 8 * field.size:
                reason = f"{field.name} has {8 * field.size} bits"
                yield _say(*here, "bits", at, reason=reason, remedy="Count bits from 0, the lowest")
            for other in field.bits[:at]:
                if bits.at < other.at + other.count and other.at < bits.at + bits.count:
                    reason = f"{bits.name} and {other.name} share bits"
                    yield _say(*here, "bits", at, reason=reason, remedy="Give each bit one name")
        for value in field.values:
            if field.size is not None and not _fits(value, 8 * field.size):
                yield _say(
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
    for path, made in _made_frames(description):
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


def _made_frames(description: Protocol) -> Iterator[tuple[Path, Made]]:
    yield ("errorReply",), description.error_reply
    if description.heartbeat is not None:
        for key in ("send", "answer"):
            if (made := getattr(description.heartbeat, key)) is not None:
                yield ("heartbeat", key), made
    if description.go_away is not None and description.go_away.send is not None:
        yield ("goAway", "send"), description.go_away.send


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


def _check_kinds(
    description: Protocol, shapes: Sequence[Shape], openings: Sequence[Opening]
) -> Iterator[Finding]:
    for wanted in ("request", "response"):
        if not any(kind.kind == wanted for kind in description.kinds):
            yield _say("kinds", reason=f"nothing is a {wanted}", remedy=f"Add a kind {wanted}")
    for index, kind in enumerate(description.kinds):
        numbers = numbers_of(description)
        for name in kind.when:
            if all(not shape.has(name) for shape in shapes):
                yield _say("kinds", index, "when", name, reason=f"no frame has {name}", remedy="Remove it")
            field = numbers[name].field
            places = [shape.place(field.name) for shape in shapes if shape.has(name)]
            if any(place is None or place + (field.size or 0) > WINDOW for place in places):
                reason = f"{name} does not lie within the first {WINDOW} bytes"
                yield _say("kinds", index, "when", name, reason=reason, remedy="Tell kinds by earlier fields")
        if not any(opening.kind == kind.kind for opening in openings):
            yield _say(
                "kinds", index, reason=f"no frame can be a {kind.kind}", remedy="Check values and conditions"
            )
    for index, kind in enumerate(description.kinds):
        for earlier in description.kinds[:index]:
            if earlier.when.items() <= kind.when.items() and earlier.kind != kind.kind:
                reason = f"every such frame is a {earlier.kind} already"
                yield _say(
                    "kinds", index, reason=reason, remedy="Put the narrower one first, or tell them apart"
                )


def _check_found_texts(
    description: Protocol, shapes: Sequence[Shape], openings: Sequence[Opening]
) -> Iterator[Finding]:
    """What is read of requests must be in one of them."""
    asked = [shapes[each.shape] for each in openings if each.kind in ("request", "oneWay")]
    lists = {name: getattr(description, name) for name in ("service", "method", "deadline")}
    for path, sources in [
        *(((name,), sources) for name, sources in lists.items()),
        *((("attributes", name), sources) for name, sources in description.attributes.items()),
    ]:
        for index, source in enumerate(sources):
            if source.field and not any(shape.has(source.field) for shape in asked):
                reason = f"no request has {source.field}"
                yield Finding((*path, index, "field"), reason, "Use a field that requests have")


def _check_shape(description: Protocol, shape: Shape) -> Iterator[Finding]:
    def where(name: str) -> Path:
        return ("fields", next(at for at, field in enumerate(description.fields) if field.name == name))

    which = "" if shape.name == "frame" else f" in frames with {shape.name}"
    fields = shape.fields
    for key, name in (("id", description.id), ("body", description.body.field)):
        if not shape.has(name):
            yield _say(key, reason=f"{name} is missing{which}", remedy="Every frame needs it")
    if not shape.has(description.body.field):
        return
    body = next(at for at, field in enumerate(fields) if field.name == description.body.field)
    checksum = description.checksum
    for field in fields[body + 1 :]:
        if checksum is None or field.name != checksum.field:
            reason = f"{field.name} lies behind the body{which}"
            yield Finding(where(field.name), reason, "Only a checksum may follow the body")
    first = next(at for at, field in enumerate(fields) if fixed_size(field) is None)
    front = sum(fixed_size(field) or 0 for field in fields[:first])
    if not 1 <= front <= MAX_FRONT:
        reason = f"{front} bytes lie in front of the first part{which}; 1 to {MAX_FRONT} may"
        yield Finding(where(fields[first].name), reason, "Put what tells lengths in front, and little else")
    if len(parts := [field for field in fields if fixed_size(field) is None]) > MAX_PARTS:
        reason = f"there are {len(parts)} parts{which}, and {MAX_PARTS} may be"
        yield Finding(where(parts[MAX_PARTS].name), reason, "Describe parts that nothing asks for as one")
    for field in parts[:-1]:
        if field.rest is not None:
            reason = f"{field.name} leaves nothing for the part behind it{which}"
            yield Finding((*where(field.name), "rest"), reason, "Let the last part take the rest")
    if checksum is not None and shape.has(checksum.field):
        for key, name in (("from", checksum.from_), ("to", checksum.to)):
            if not shape.has(name):
                yield _say("checksum", key, reason=f"{name} is missing{which}", remedy="Every frame needs it")
    if any(field.name == description.id for field in fields[body:]):
        yield _say(
            "id", reason=f"{description.id} lies behind the body{which}", remedy="Use a field in front"
        )
    conditions: list[tuple[Path, Mapping[str, Sequence[int]]]] = []
    if checksum is not None:
        conditions.append((("checksum", "when"), checksum.when))
    if description.body.hessian is not None:
        conditions.append((("body", "hessian", "when"), description.body.hessian.when))
    for path, when in conditions:
        for name in filter(shape.has, when):
            if not _is_early(description, shape, name):
                reason = f"{name} does not lie within the first {WINDOW} bytes{which}"
                yield Finding((*path, name), reason, "Depend on earlier fields")
    if description.frame_size is not None and shape.place(description.frame_size.field) is None:
        reason = f"the frame's size must lie before all parts{which}"
        yield _say("frameSize", "field", reason=reason, remedy="Use a field in front")
    if sum(field.rest is not None for field in fields) > 1:
        yield _say("fields", reason=f"two parts take the rest{which}", remedy="Give one of them a length")
    for field in fields:
        if field.rest is not None and description.frame_size is None:
            reason = "there is no rest without frameSize"
            yield Finding((*where(field.name), "rest"), reason, "Say which field tells the frame's size")
        if field.length is None:
            continue
        told = shape.place(field.length.field)
        if not shape.has(field.length.field):
            reason = f"{field.length.field} is missing{which}"
            yield Finding((*where(field.name), "length", "field"), reason, "Give both the same condition")
        elif told is None and description.frame_size is None:
            reason = "a length must lie before all parts, unless frameSize tells where the frame ends"
            yield Finding((*where(field.name), "length", "field"), reason, "Move it, or give frameSize")
        elif [f.name for f in fields].index(field.length.field) > fields.index(field):
            yield Finding(
                (*where(field.name), "length", "field"), "the length lies behind the part", "Move it"
            )
    for name in [field.name for field in fields if field.values or field.magic]:
        place = shape.place(name)
        size = fixed_size(next(field for field in fields if field.name == name)) or 0
        if place is None or (place + size > WINDOW and not next(f for f in fields if f.name == name).magic):
            reason = f"{name} does not lie within the first {WINDOW} bytes{which}"
            yield Finding(where(name), reason, "Leave out `values`")
    for name in shape.told_by:
        if not _is_early(description, shape, name):
            reason = f"{name} decides, but does not lie within the first {WINDOW} bytes{which}"
            yield Finding(where(numbers_of(description)[name].field.name), reason, "Depend on earlier fields")


def _is_early(description: Protocol, shape: Shape, number: str) -> bool:
    """Whether first bytes tell this number."""
    field = numbers_of(description)[number].field
    place = shape.place(field.name)
    return place is not None and place + (field.size or 0) <= WINDOW


def _check_made(
    description: Protocol, shapes: Sequence[Shape], openings: Sequence[Opening]
) -> Iterator[Finding]:
    for index, shape in enumerate(shapes):
        is_response = any(each.shape == index and each.kind == "response" for each in openings)
        if is_response and not shape.has(description.status.field):
            reason = f"responses with {shape.name} have no {description.status.field}"
            yield _say("status", "field", reason=reason, remedy="Use a field that all responses have")
    targets: dict[Path, tuple[KindName, KindName]] = {
        ("errorReply",): ("request", "response"),
        ("heartbeat", "send"): ("request", "heartbeat"),
        ("heartbeat", "answer"): ("heartbeat", "heartbeatAnswer"),
        ("goAway", "send"): ("request", "goAway"),
    }
    for path, made in _made_frames(description):
        like, target = targets[path]
        try:
            compile_made(description, shapes, openings, made, like, target)
        except Unmakable as error:
            yield Finding(path, error.reason, error.remedy)


def _check_detection(
    description: Protocol, shapes: Sequence[Shape], openings: Sequence[Opening]
) -> Iterator[Finding]:
    if description.detection != "certain":
        return
    patterns = detection_of(description, shapes, openings)
    weakest = min((pattern.bits for pattern in patterns), default=0)
    if weakest < CERTAIN_BITS:
        reason = f"a client's first frame has only {weakest} bits that are fixed; {CERTAIN_BITS} are needed to be certain"
        yield _say(
            "detection", reason=reason, remedy="Give `values` or `magic` to more fields, or say declared-only"
        )
    for name, known in _KNOWN.items():
        if any(
            all(_may_be(pattern, at, allowed) for at, allowed in enumerate(known)) for pattern in patterns
        ):
            reason = f"{name} may begin with the same bytes"
            yield _say("detection", reason=reason, remedy="Say declared-only")


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
