"""Refuses frames that cannot be laid out, told apart or made: what only shows when all combinations are worked out.

In: a description whose references `check` found sound, with its shapes and openings. Out: findings, empty if the engine takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from mainstay.api.node import Path
from mainstay.protocols.compile import Unmakable, compile_made
from mainstay.protocols.description import KindName, Made, Protocol
from mainstay.protocols.finding import Finding, say
from mainstay.protocols.shapes import WINDOW, Opening, Shape, fixed_size, numbers_of

MAX_FRONT, MAX_PARTS = 256, 8
"""Bytes in front of the first part, and parts, that the engine takes."""


def check_frames(
    description: Protocol, shapes: Sequence[Shape], openings: Sequence[Opening]
) -> Iterator[Finding]:
    """Everything but what is made here."""
    yield from _check_kinds(description, shapes, openings)
    for index, shape in enumerate(shapes):
        if any(each.shape == index for each in openings):
            yield from _check_shape(description, shape)
    yield from _check_found_texts(description, shapes, openings)


def check_made(
    description: Protocol, shapes: Sequence[Shape], openings: Sequence[Opening]
) -> Iterator[Finding]:
    for index, shape in enumerate(shapes):
        is_response = any(each.shape == index and each.kind == "response" for each in openings)
        if is_response and not shape.has(description.status.field):
            reason = f"responses with {shape.name} have no {description.status.field}"
            yield say("status", "field", reason=reason, remedy="Use a field that all responses have")
    targets: dict[Path, tuple[KindName, KindName]] = {
        ("errorReply",): ("request", "response"),
        ("heartbeat", "send"): ("request", "heartbeat"),
        ("heartbeat", "answer"): ("heartbeat", "heartbeatAnswer"),
        ("goAway", "send"): ("request", "goAway"),
    }
    for path, made in made_frames(description):
        like, target = targets[path]
        try:
            compile_made(description, shapes, openings, made, like, target)
        except Unmakable as error:
            yield Finding(path, error.reason, error.remedy)


def made_frames(description: Protocol) -> Iterator[tuple[Path, Made]]:
    yield ("errorReply",), description.error_reply
    if description.heartbeat is not None:
        for key in ("send", "answer"):
            if (made := getattr(description.heartbeat, key)) is not None:
                yield ("heartbeat", key), made
    if description.go_away is not None and description.go_away.send is not None:
        yield ("goAway", "send"), description.go_away.send


def _check_kinds(
    description: Protocol, shapes: Sequence[Shape], openings: Sequence[Opening]
) -> Iterator[Finding]:
    for wanted in ("request", "response"):
        if not any(kind.kind == wanted for kind in description.kinds):
            yield say("kinds", reason=f"nothing is a {wanted}", remedy=f"Add a kind {wanted}")
    for index, kind in enumerate(description.kinds):
        numbers = numbers_of(description)
        for name in kind.when:
            if all(not shape.has(name) for shape in shapes):
                yield say("kinds", index, "when", name, reason=f"no frame has {name}", remedy="Remove it")
            field = numbers[name].field
            places = [shape.place(field.name) for shape in shapes if shape.has(name)]
            if any(place is None or place + (field.size or 0) > WINDOW for place in places):
                reason = f"{name} does not lie within the first {WINDOW} bytes"
                yield say("kinds", index, "when", name, reason=reason, remedy="Tell kinds by earlier fields")
        if not any(opening.kind == kind.kind for opening in openings):
            yield say(
                "kinds", index, reason=f"no frame can be a {kind.kind}", remedy="Check values and conditions"
            )
    for index, kind in enumerate(description.kinds):
        for earlier in description.kinds[:index]:
            if earlier.when.items() <= kind.when.items() and earlier.kind != kind.kind:
                reason = f"every such frame is a {earlier.kind} already"
                yield say(
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
    which = "" if shape.name == "frame" else f" in frames with {shape.name}"
    for key, name in (("id", description.id), ("body", description.body.field)):
        if not shape.has(name):
            yield say(key, reason=f"{name} is missing{which}", remedy="Every frame needs it")
    if not shape.has(description.body.field):
        return
    yield from _check_order(description, shape, which)
    yield from _check_lengths(description, shape, which)
    yield from _check_window(description, shape, which)


def _where(description: Protocol, name: str) -> Path:
    return ("fields", next(at for at, field in enumerate(description.fields) if field.name == name))


def _check_order(description: Protocol, shape: Shape, which: str) -> Iterator[Finding]:
    """What lies in front of the parts and behind the body, and how many parts there are."""
    fields, checksum = shape.fields, description.checksum
    body = next(at for at, field in enumerate(fields) if field.name == description.body.field)
    for field in fields[body + 1 :]:
        if checksum is None or field.name != checksum.field:
            reason = f"{field.name} lies behind the body{which}"
            yield Finding(_where(description, field.name), reason, "Only a checksum may follow the body")
    parts = [field for field in fields if fixed_size(field) is None]
    front = sum(fixed_size(field) or 0 for field in fields[: fields.index(parts[0])])
    if not 1 <= front <= MAX_FRONT:
        reason = f"{front} bytes lie in front of the first part{which}; 1 to {MAX_FRONT} may"
        remedy = "Put what tells lengths in front, and little else"
        yield Finding(_where(description, parts[0].name), reason, remedy)
    if len(parts) > MAX_PARTS:
        reason = f"there are {len(parts)} parts{which}, and {MAX_PARTS} may be"
        remedy = "Describe parts that nothing asks for as one"
        yield Finding(_where(description, parts[MAX_PARTS].name), reason, remedy)
    for field in parts[:-1]:
        if field.rest is not None:
            reason = f"{field.name} leaves nothing for the part behind it{which}"
            remedy = "Let the last part take the rest"
            yield Finding((*_where(description, field.name), "rest"), reason, remedy)
    if checksum is not None and shape.has(checksum.field):
        for key, name in (("from", checksum.from_), ("to", checksum.to)):
            if not shape.has(name):
                yield say("checksum", key, reason=f"{name} is missing{which}", remedy="Every frame needs it")
    if any(field.name == description.id for field in fields[body:]):
        yield say("id", reason=f"{description.id} lies behind the body{which}", remedy="Use a field in front")


def _check_lengths(description: Protocol, shape: Shape, which: str) -> Iterator[Finding]:
    """What tells where parts and the frame end must be there before they do."""
    fields = shape.fields
    if description.frame_size is not None and shape.place(description.frame_size.field) is None:
        reason = f"the frame's size must lie before all parts{which}"
        yield say("frameSize", "field", reason=reason, remedy="Use a field in front")
    if sum(field.rest is not None for field in fields) > 1:
        yield say("fields", reason=f"two parts take the rest{which}", remedy="Give one of them a length")
    for field in fields:
        here = _where(description, field.name)
        if field.rest is not None and description.frame_size is None:
            reason = "there is no rest without frameSize"
            yield Finding((*here, "rest"), reason, "Say which field tells the frame's size")
        if field.length is None:
            continue
        told = field.length.field
        if not shape.has(told):
            reason, remedy = f"{told} is missing{which}", "Give both the same condition"
        elif shape.place(told) is None and description.frame_size is None:
            reason = "a length must lie before all parts, unless frameSize tells where the frame ends"
            remedy = "Move it, or give frameSize"
        elif [each.name for each in fields].index(told) > fields.index(field):
            reason, remedy = "the length lies behind the part", "Move it"
        else:
            continue
        yield Finding((*here, "length", "field"), reason, remedy)


def _check_window(description: Protocol, shape: Shape, which: str) -> Iterator[Finding]:
    """What decides what a frame is, or is compared while that is found out, lies within its first bytes."""
    conditions: list[tuple[Path, Mapping[str, Sequence[int]]]] = []
    if description.checksum is not None:
        conditions.append((("checksum", "when"), description.checksum.when))
    if description.body.hessian is not None:
        conditions.append((("body", "hessian", "when"), description.body.hessian.when))
    for path, when in conditions:
        for name in filter(shape.has, when):
            if not _is_early(description, shape, name):
                reason = f"{name} does not lie within the first {WINDOW} bytes{which}"
                yield Finding((*path, name), reason, "Depend on earlier fields")
    for field in shape.fields:
        if not field.values and not field.magic:
            continue
        place = shape.place(field.name)
        if place is None or (place + (fixed_size(field) or 0) > WINDOW and not field.magic):
            reason = f"{field.name} does not lie within the first {WINDOW} bytes{which}"
            yield Finding(_where(description, field.name), reason, "Leave out `values`")
    for name in shape.told_by:
        if not _is_early(description, shape, name):
            reason = f"{name} decides, but does not lie within the first {WINDOW} bytes{which}"
            owner = numbers_of(description)[name].field.name
            yield Finding(_where(description, owner), reason, "Depend on earlier fields")


def _is_early(description: Protocol, shape: Shape, number: str) -> bool:
    """Whether first bytes tell this number."""
    field = numbers_of(description)[number].field
    place = shape.place(field.name)
    return place is not None and place + (field.size or 0) <= WINDOW
