"""Works out every combination of a description's conditions: each is a shape, with all its fields in their places.

In: a description whose references `check` found sound. Out: `Shape` values. Invariant: a frame has exactly one shape,
told by fields that lie before the first one that depends on them; bounded by `MAX_SHAPES`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from mainstay.protocols.description import Field, KindName, Protocol

MAX_SHAPES = 32
WINDOW = 16
"""First bytes of a frame that decide what it is."""
MAX_OPENINGS = 256

Values = frozenset[int] | None
"""The values that a number may have; None: any that no other shape claims."""


class TooMany(Exception):  # noqa: N818  it reports the author's mistake
    """The conditions have more combinations than a codec should try."""


class Number(msgspec.Struct, frozen=True):
    """A whole field, or some bits of one. `count` 0 is the whole."""

    field: Field
    at: int = 0
    count: int = 0

    @property
    def bits(self) -> int:
        return self.count or 8 * (self.field.size or 0)

    @property
    def declared(self) -> Values:
        """All values it may have, where the description says so or there are few."""
        if not self.count:
            return frozenset(self.field.values) if self.field.values else None
        return frozenset(range(1 << self.count)) if self.count <= 4 else None


class Pattern(msgspec.Struct, frozen=True, order=True):
    """First bytes under a mask; both of the same length."""

    mask: bytes
    value: bytes

    @property
    def bits(self) -> int:
        return sum(byte.bit_count() for byte in self.mask)


class Shape(msgspec.Struct, frozen=True):
    """One order of fields. `told_by`: the numbers that tell it, with their values."""

    fields: tuple[Field, ...]
    told_by: Mapping[str, Values]

    @property
    def name(self) -> str:
        told = [
            f"{name} {', '.join(map(str, sorted(values)))}" for name, values in self.told_by.items() if values
        ]
        return "; ".join(told) or "frame"

    def has(self, name: str) -> bool:
        return any(
            field.name == name or any(bits.name == name for bits in field.bits) for field in self.fields
        )

    def field(self, name: str) -> Field | None:
        return next((field for field in self.fields if field.name == name), None)

    def place(self, name: str) -> int | None:
        """Offset of a field that lies at a fixed place, else None."""
        offset = 0
        for field in self.fields:
            if field.name == name:
                return offset
            size = fixed_size(field)
            if size is None:
                return None
            offset += size
        return None


class Opening(msgspec.Struct, frozen=True):
    """What first bytes say: the shape, by its number, and the kind of frame."""

    pattern: Pattern
    shape: int
    kind: KindName


def fixed_size(field: Field) -> int | None:
    """Bytes of a number or of magic; None for parts."""
    if field.magic is not None:
        return len(field.magic) // 2
    return field.size


def numbers_of(description: Protocol) -> dict[str, Number]:
    """Every number by name: fields and named bits."""
    found: dict[str, Number] = {}
    for field in description.fields:
        if field.size is not None:
            found.setdefault(field.name, Number(field))
            for bits in field.bits:
                found.setdefault(bits.name, Number(field, bits.at, bits.count))
    return found


def shapes_of(description: Protocol) -> tuple[Shape, ...]:
    """Every shape; raises TooMany."""
    numbers = numbers_of(description)
    deciding: dict[str, list[frozenset[int]]] = {}
    for field in description.fields:
        for name, values in field.when.items():
            deciding.setdefault(name, []).append(frozenset(values))
    groups = {name: _groups(numbers[name], claims) for name, claims in deciding.items()}
    found: list[Shape] = []

    def walk(at: int, placed: tuple[Field, ...], told: dict[str, Values]) -> None:
        if at == len(description.fields):
            found.append(Shape(placed, told))
            if len(found) > MAX_SHAPES:
                raise TooMany
            return
        field = description.fields[at]
        if not all(
            name in told and (values := told[name]) is not None and values <= frozenset(wanted)
            for name, wanted in field.when.items()
        ):
            walk(at + 1, placed, told)
            return
        mine = [name for name in groups if numbers[name].field.name == field.name]
        for choice in itertools.product(*(groups[name] for name in mine)):
            walk(at + 1, (*placed, field), told | dict(zip(mine, choice, strict=True)))

    walk(0, (), {})
    # Those told by exclusion come last: the first that fits counts.
    return tuple(sorted(found, key=lambda shape: sum(values is None for values in shape.told_by.values())))


def _groups(number: Number, claims: Sequence[frozenset[int]]) -> list[Values]:
    """Splits the values into those that every condition treats alike."""
    declared = number.declared
    every = declared if declared is not None else frozenset().union(*claims)
    alike: dict[tuple[bool, ...], set[int]] = {}
    for value in sorted(every):
        alike.setdefault(tuple(value in claim for claim in claims), set()).add(value)
    groups: list[Values] = [frozenset(values) for values in alike.values()]
    return groups if declared is not None else [*groups, None]


def openings_of(description: Protocol, shapes: Sequence[Shape]) -> tuple[Opening, ...]:
    """What first bytes tell shape and kind, in the order in which they are tried; raises TooMany."""
    numbers = numbers_of(description)
    found: list[Opening] = []
    for by_exclusion in (False, True):
        for kind in description.kinds:
            for index, shape in enumerate(shapes):
                if any(values is None for values in shape.told_by.values()) != by_exclusion:
                    continue
                for pattern in patterns_of(numbers, shape, kind.when):
                    found.append(Opening(pattern, index, kind.kind))
                    if len(found) > MAX_OPENINGS:
                        raise TooMany
    return tuple(found)


def patterns_of(
    numbers: Mapping[str, Number],
    shape: Shape,
    when: Mapping[str, Sequence[int]],
    *,
    whole: bool = True,
) -> Iterator[Pattern]:
    """Patterns of the frames of a shape for which the condition holds; none if it cannot hold.

    `whole`: with magic, declared values and what tells the shape, else the condition alone.
    """
    wanted: dict[str, frozenset[int]] = {}
    if whole:
        for field in shape.fields:
            if field.values:
                wanted[field.name] = frozenset(field.values)
        for name, values in shape.told_by.items():
            if values is not None:
                wanted[name] = wanted.get(name, values) & values
    for name, given in when.items():
        if not shape.has(name):
            return
        values = _unsigned(numbers[name], given)
        told = shape.told_by.get(name)
        wanted[name] = wanted.get(name, values) & values if told is None else values & told
    if sum(len(values) > 1 for values in wanted.values()) > 8:
        raise TooMany
    names = list(wanted)
    magic = [
        (place, field.magic)
        for field in shape.fields
        if whole and field.magic is not None and (place := shape.place(field.name)) is not None
    ]
    for choice in itertools.islice(
        itertools.product(*(sorted(wanted[name]) for name in names)), MAX_OPENINGS + 1
    ):
        mask, value = bytearray(WINDOW), bytearray(WINDOW)
        for place, text in magic:
            _put(mask, value, place, b"\xff" * (len(text) // 2), bytes.fromhex(text))
        # A field and bits of it, or two conditions on the same bits, may contradict each other.
        if not all(
            _put_number(mask, value, shape, numbers[name], number)
            for name, number in zip(names, choice, strict=True)
        ):
            continue
        length = max((at + 1 for at, byte in enumerate(mask) if byte), default=0)
        yield Pattern(bytes(mask[:length]), bytes(value[:length]))


def _unsigned(number: Number, given: Sequence[int]) -> frozenset[int]:
    return frozenset(value % (1 << number.bits) for value in given)


def _put(mask: bytearray, value: bytearray, place: int, part: bytes, text: bytes) -> bool:
    """Add to a pattern; false if it says something else of the same bits already."""
    agrees = True
    for at, (mask_byte, byte) in enumerate(zip(part, text, strict=True), place):
        if at < WINDOW:
            agrees &= mask[at] & mask_byte & (value[at] ^ byte) == 0
            mask[at] |= mask_byte
            value[at] = (value[at] & ~mask_byte) | (byte & mask_byte)
    return agrees


def _put_number(mask: bytearray, value: bytearray, shape: Shape, number: Number, given: int) -> bool:
    place = shape.place(number.field.name)
    if place is None:
        return True
    size = number.field.size or 0
    part = ((1 << number.bits) - 1) << number.at
    order = number.field.byte_order or "big"
    return _put(
        mask,
        value,
        place,
        part.to_bytes(size, order),
        (given % (1 << number.bits) << number.at).to_bytes(size, order),
    )


def detection_of(
    description: Protocol, shapes: Sequence[Shape], openings: Sequence[Opening]
) -> list[Pattern]:
    """First bytes that a client may open a connection with, lengths beyond the limit left out."""
    found: dict[Pattern, None] = {}
    for opening in openings:
        if opening.kind in ("request", "oneWay", "heartbeat"):
            found[_within_limit(description, shapes[opening.shape], opening.pattern)] = None
    return list(found)


def _within_limit(description: Protocol, shape: Shape, pattern: Pattern) -> Pattern:
    """Adds that the upper bytes of the frame's length are 0."""
    told = description.frame_size
    field = shape.field(told.field) if told else None
    place = shape.place(told.field) if told else None
    if told is None or field is None or place is None or not field.size:
        return pattern
    high = field.size - (-(-(description.limits.frame // told.times).bit_length() // 8))
    mask, value = bytearray(pattern.mask.ljust(WINDOW, b"\0")), bytearray(pattern.value.ljust(WINDOW, b"\0"))
    zeros = b"\xff" * max(high, 0)
    part = zeros.ljust(field.size, b"\0") if field.byte_order != "little" else zeros.rjust(field.size, b"\0")
    _put(mask, value, place, part, bytes(field.size))
    length = max((at + 1 for at, byte in enumerate(mask) if byte), default=0)
    return Pattern(bytes(mask[:length]), bytes(value[:length]))


def collide(one: Pattern, other: Pattern) -> bool:
    """Tell whether some bytes fit both."""
    return all(
        (a & b) & (x ^ y) == 0
        for a, b, x, y in zip(one.mask, other.mask, one.value, other.value, strict=False)
    )
