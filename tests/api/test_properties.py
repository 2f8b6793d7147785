"""For documents at random: what the definitions allow is decoded, what is decoded is written back, nothing raises."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from api_reading import DEFAULTS, World, read_all
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from mainstay.api.define import Field, Part, Type, parts_below, shape_of
from mainstay.api.encode import encode
from mainstay.api.kind import Kind
from mainstay.api.kinds import KINDS
from mainstay.api.publish import schema_of
from mainstay.model.problem import Problem

SLOW = settings(max_examples=60, suppress_health_check=list(HealthCheck))
WORDS = st.sampled_from(
    ["a", "reviews", "reviews.shop.svc.cluster.local", "*.example.org", "*", ".", "~", "10.0.0.1"]
)


def value_of(type_: Type, depth: int) -> st.SearchStrategy[Any]:
    """Values of a type, as JSON has them."""
    match type_.base:
        case "part":
            assert type_.part is not None
            return part_of(type_.part, depth - 1)
        case "list":
            assert type_.item is not None
            low = type_.length.minimum
            return st.lists(
                value_of(type_.item, depth), min_size=low, max_size=max(low, 2 if depth > 0 else 0)
            )
        case "map":
            assert type_.item is not None
            low = type_.length.minimum
            keys = st.sampled_from(["app", "version", "x-one", "8080", "./gw"])
            return st.dictionaries(keys, value_of(type_.item, depth), min_size=low, max_size=max(low, 2))
        case "choice":
            refused = {value for mark in type_.refused for value in mark.values}
            return st.sampled_from([choice for choice in type_.choices if choice not in refused])
        case "duration":
            return st.sampled_from(["0s", "250ms", "5s", "1m30s", "1.5h"])
        case "truth":
            return st.booleans()
        case "whole":
            return st.integers(int(type_.range.minimum or 0), int(type_.range.maximum or 2**31))
        case "number":
            return st.floats(type_.range.minimum, type_.range.maximum or 1e6).map(
                lambda value: round(value, 3)
            )
        case "anything":
            return st.just({"any": [1, "x"]})
    if type_.pattern:
        fits = re.compile(type_.pattern.expression).fullmatch
        return st.sampled_from(["a", "web", "aGVsbG8="]).filter(lambda text: bool(fits(text)))
    longest = type_.length.maximum
    return WORDS.filter(
        lambda text: type_.length.minimum <= len(text) and (longest is None or len(text) <= longest)
    )


def part_of(part: type[Part], depth: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    """Objects of a struct that its definition allows."""
    shape = shape_of(part)
    usable: dict[str, Field] = {key: field for key, field in shape.fields.items() if not field.not_yet}
    grouped = {name for rule in shape.rules for name in rule.names}

    @st.composite
    def draw_object(draw: st.DrawFn) -> dict[str, Any]:
        chosen = {key for key, field in usable.items() if field.required}
        for rule in shape.rules:
            names = [name for name in rule.names if name in usable]
            pick = draw(st.sampled_from([*names, None] if rule.optional or not names else names))
            if pick:
                chosen.add(pick)
        free = [key for key in usable if key not in chosen and key not in grouped]
        if free and depth > 0:
            chosen |= draw(st.sets(st.sampled_from(free), max_size=3))
        return {key: draw(value_of(usable[key].type, depth)) for key in usable if key in chosen}

    return draw_object()


def document_of(which: Kind) -> st.SearchStrategy[dict[str, Any]]:
    """Whole objects of a kind."""

    def wrap(body: dict[str, Any]) -> dict[str, Any]:
        metadata = {"name": "one", "namespace": "shop"} if which.namespaced else {"name": "one"}
        head = {"apiVersion": which.api_version, "kind": which.name, "metadata": metadata}
        return {**head, **body} if which.inline else {**head, "spec": body}

    return part_of(which.struct).map(wrap)


ANY_DOCUMENT = st.sampled_from(KINDS).flatmap(
    lambda which: document_of(which).map(lambda body: (which, body))
)


def _keeps_nodes(kind: Kind) -> bool:
    """Whether objects of a kind hold what somebody wrote as it stood, with its positions, which differ when written again."""
    for part in parts_below(kind.struct):
        for field in shape_of(part).fields.values():
            if field.type.base == "anything" or (field.type.item and field.type.item.base == "anything"):
                return True
    return False


@SLOW
@given(ANY_DOCUMENT)
def test_what_a_definition_allows_is_decoded_and_written_back_the_same(
    pair: tuple[Kind, dict[str, Any]],
) -> None:
    _, body = pair
    objects, problems = read_all(json.dumps(body), "x.json")
    assert not problems, problems
    written = encode(objects[0], reveal_secrets=True)
    again, problems = read_all(json.dumps(written), "x.json")
    assert not problems, problems
    if not _keeps_nodes(objects[0].kind):
        assert again[0].spec == objects[0].spec
    assert encode(again[0], reveal_secrets=True) == written


@SLOW
@given(ANY_DOCUMENT)
def test_yaml_and_json_give_the_same_object(pair: tuple[Kind, dict[str, Any]]) -> None:
    _, body = pair
    by_json, _ = read_all(json.dumps(body), "x.json")
    by_yaml, problems = read_all(yaml.safe_dump(body), "x.yaml")
    assert not problems, problems
    assert encode(by_json[0], reveal_secrets=True) == encode(by_yaml[0], reveal_secrets=True)


@SLOW
@given(st.lists(ANY_DOCUMENT, min_size=1, max_size=4))
def test_translating_and_checking_never_raises(pairs: list[tuple[Kind, dict[str, Any]]]) -> None:
    text = "\n---\n".join(json.dumps(body) for _, body in pairs)
    world = World(text)
    for thing in world.all:
        made = thing.kind.translate(thing, DEFAULTS)
        again = thing.kind.translate(thing, DEFAULTS)
        assert made == again, "translation is pure"
        found = [*(each for each in made if isinstance(each, Problem)), *thing.kind.check(thing, world)]
        assert all(problem.remedy and problem.line >= 1 and problem.path is not None for problem in found)
        keys = [fact.key for fact in made if hasattr(fact, "key")]
        assert len(keys) == len(set(keys)), "two facts of one key"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["", "5s", "*", "a/b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def damaged(draw: st.DrawFn) -> dict[str, Any]:
    """A document with something put in place of one of its parts."""
    _, body = draw(ANY_DOCUMENT)
    places: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        pairs = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for key, inner in pairs:
            places.append((value, key))
            collect(inner)

    collect(body)
    holder, key = draw(st.sampled_from(places))
    holder[key] = draw(JUNK)
    return body


@SLOW
@given(damaged())
def test_damaged_documents_are_refused_or_taken_but_never_raise(body: dict[str, Any]) -> None:
    objects, problems = read_all(json.dumps(body), "x.json")
    assert len(objects) <= 1
    assert objects or problems
    for thing in objects:
        thing.kind.translate(thing, DEFAULTS)


@SLOW
@given(damaged())
def test_schema_and_decoder_accept_the_same(body: dict[str, Any]) -> None:
    which = next((each for each in KINDS if each.name == body.get("kind")), None)
    assume(which is not None and not has_null(body))
    assert which is not None
    _, problems = read_all(json.dumps(body), "x.json")
    assert accepts(schema_of(which), body) == (not problems), problems


def has_null(value: Any) -> bool:
    """For the decoder, null is "not given"; JSON Schema has no word for that."""
    if isinstance(value, dict):
        return any(has_null(inner) for inner in value.values())
    return any(has_null(inner) for inner in value) if isinstance(value, list) else value is None


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """JSON Schema as far as our schemas use it."""
    checks: dict[str, Callable[[Any], bool]] = {
        "type": lambda want: _is_type(want, value),
        "enum": lambda want: value in want,
        "const": lambda want: value == want,
        "required": lambda want: not isinstance(value, dict) or all(name in value for name in want),
        "pattern": lambda want: not isinstance(value, str) or re.search(want, value) is not None,
        "minimum": lambda want: _is_type("number", value) and value >= want,
        "maximum": lambda want: _is_type("number", value) and value <= want,
        "minLength": lambda want: len(value) >= want,
        "maxLength": lambda want: len(value) <= want,
        "minItems": lambda want: len(value) >= want,
        "maxItems": lambda want: len(value) <= want,
        "minProperties": lambda want: len(value) >= want,
        "maxProperties": lambda want: len(value) <= want,
        "items": lambda want: all(accepts(want, item) for item in value),
        "allOf": lambda want: all(accepts(each, value) for each in want),
        "anyOf": lambda want: any(accepts(each, value) for each in want),
        "oneOf": lambda want: sum(accepts(each, value) for each in want) == 1,
        "not": lambda want: not accepts(want, value),
    }
    for name in ("type", *checks):
        if name in schema and not checks[name](schema[name]):
            return False
    if not isinstance(value, dict):
        return True
    known = schema.get("properties", {})
    rest = schema.get("additionalProperties", True)
    for key, inner in value.items():
        if key in known:
            if not accepts(known[key], inner):
                return False
        elif rest is False or (isinstance(rest, dict) and not accepts(rest, inner)):
            return False
    return True


def _is_type(name: str, value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "number": number,
        "integer": number and float(value).is_integer(),
    }[name]


@pytest.mark.parametrize("which", KINDS, ids=lambda which: which.name)
def test_every_field_is_documented(which: Kind) -> None:
    assert which.documentation
    for part in parts_below(which.struct):
        assert part.__doc__, part
        for key, field in shape_of(part).fields.items():
            assert field.text, f"{part.__name__}.{key}"
