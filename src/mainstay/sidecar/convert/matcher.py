"""Trees of matchers (`xds.type.matcher.v3.Matcher`) to rows in order, the first of which that matches decides.

In: a matcher over what generic proxies match: host, path, method and properties of a call. Out: rows, each the tests that must
all pass and what then happens. Envoy goes on behind a nested matcher that matches nothing, so that a tree and its rows in order
say the same. Invariants: no more than `MAX_ROUTES` rows and `MAX_DEPTH` levels come of it; what has no row is refused by path.

A property is a header of the call or an attribute of its protocol. Tests of host, path and method go by the names that the engine
has for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from mainstay.sidecar import plan
from mainstay.sidecar.convert import values
from mainstay.sidecar.convert.filters.table import open_config
from mainstay.sidecar.convert.refuse import Refused, at, check, known

_MATCHER = "xds.type.matcher.v3.Matcher"
_INPUTS = "envoy.extensions.filters.network.generic_proxy.matcher.v3"
REQUEST = f"{_INPUTS}.RequestMatchInput"
REQUEST_MATCHER = f"{_INPUTS}.RequestMatcher"
PROPERTY = f"{_INPUTS}.PropertyMatchInput"
HOST, PATH, METHOD = ":authority", ":path", ":rpc-method"
INPUTS = {
    f"{_INPUTS}.HostMatchInput": HOST,
    f"{_INPUTS}.ServiceMatchInput": HOST,
    f"{_INPUTS}.PathMatchInput": PATH,
    f"{_INPUTS}.MethodMatchInput": METHOD,
}
"""By type, what the engine calls it."""
TYPES = (*INPUTS, PROPERTY, REQUEST, REQUEST_MATCHER)

MAX_DEPTH = 16
"""Nesting of matchers, and of predicates."""
MAX_ROUTES = 4_096
"""Rows that a tree may come to; alternatives multiply."""

Tests = tuple[plan.HeaderMatch, ...]
Action = TypeVar("Action")
Row = tuple[Tests, Action]

_MATCHER_FIELDS = known(_MATCHER, {"matcher_list", "matcher_tree", "on_no_match"})
_ON_MATCH_FIELDS = known(f"{_MATCHER}.OnMatch", {"matcher", "action"})
_SINGLE_FIELDS = known(
    f"{_MATCHER}.MatcherList.Predicate.SinglePredicate", {"input", "value_match", "custom_match"}
)
_TREE_FIELDS = known(f"{_MATCHER}.MatcherTree", {"input", "exact_match_map", "prefix_match_map"})
_REQUEST_FIELDS = known(REQUEST_MATCHER, {"host", "path", "method", "properties"})
_PROPERTY_FIELDS = known(PROPERTY, {"property_name"})
known(f"{_INPUTS}.KeyValueMatchEntry", {"name", "string_match"})
known(f"{_MATCHER}.MatcherList", {"matchers"})
known(f"{_MATCHER}.MatcherList.FieldMatcher", {"predicate", "on_match"})
known(f"{_MATCHER}.MatcherList.Predicate", {"single_predicate", "or_matcher", "and_matcher", "not_matcher"})
known(f"{_MATCHER}.MatcherList.Predicate.PredicateList", {"predicate"})
known(f"{_MATCHER}.MatcherTree.MatchMap", {"map"})
for _name in (*INPUTS, REQUEST):
    known(_name, ())


def rows_of(message: Any, act: Callable[[Any], Action], depth: int = 0) -> list[Row[Action]]:
    """The rows of a matcher. `act` converts the configuration of an action."""
    if depth >= MAX_DEPTH:
        raise Refused("", f"is nested deeper than {MAX_DEPTH}")
    check(message, _MATCHER_FIELDS)
    rows: list[Row[Action]] = []
    match message.WhichOneof("matcher_type"):
        case "matcher_list":
            for index, entry in enumerate(message.matcher_list.matchers):
                with at(f"matcher_list.matchers[{index}]"):
                    with at("predicate"):
                        alternatives = _predicate(entry.predicate, False, 0)
                    with at("on_match"):
                        rows += _product(alternatives, _on_match(entry.on_match, act, depth))
                    _bounded(rows)
        case "matcher_tree":
            with at("matcher_tree"):
                for tests, path, entry in _tree(message.matcher_tree):
                    with at(path):
                        rows += _product([tests], _on_match(entry, act, depth))
                        _bounded(rows)
    if message.HasField("on_no_match"):
        with at("on_no_match"):
            rows += _on_match(message.on_no_match, act, depth)
    return _bounded(rows)


def _bounded(rows: list[Row[Action]]) -> list[Row[Action]]:
    if len(rows) > MAX_ROUTES:
        raise Refused("", f"comes to more than {MAX_ROUTES} routes")
    return rows


def _on_match(message: Any, act: Callable[[Any], Action], depth: int) -> list[Row[Action]]:
    check(message, _ON_MATCH_FIELDS)
    match message.WhichOneof("on_match"):
        case "matcher":
            with at("matcher"):
                return rows_of(message.matcher, act, depth + 1)
        case "action":
            with at("action"):
                return [((), act(message.action))]
        case _:
            raise Refused("", "needs a matcher or an action")


def _product(alternatives: Sequence[Tests], rows: Sequence[Row[Action]]) -> list[Row[Action]]:
    if len(alternatives) * len(rows) > MAX_ROUTES:
        raise Refused("", f"comes to more than {MAX_ROUTES} routes")
    made = []
    for tests in alternatives:
        for more, action in rows:
            joined = _join(tests, more)
            if joined is not None:
                made.append((joined, action))
    return made


def _join(tests: Tests, more: Tests) -> Tests | None:
    """All of both, each once; `None` if one thing would have to be two."""
    joined = list(tests)
    for test in more:
        if test in joined:
            continue
        wanted = _only(test)
        if wanted is not None and any(
            other.name == test.name and _only(other) not in (None, wanted) for other in tests
        ):
            return None
        joined.append(test)
    return tuple(joined)


def _only(test: plan.HeaderMatch) -> str | None:
    """The one text that passes, if the test is of what has only one."""
    match test:
        case plan.HeaderMatch(
            name=name,
            test=plan.TextTest(plan.StringMatch(plan.ExactText(text), False)),
            invert=False,
        ) if name.startswith(":"):
            return text
    return None


# --- predicates ---------------------------------------------------------------------------------------------------


def _predicate(message: Any, negated: bool, depth: int) -> list[Tests]:
    """Alternatives, each of tests that must all pass."""
    if depth >= MAX_DEPTH:
        raise Refused("", f"is nested deeper than {MAX_DEPTH}")
    match message.WhichOneof("match_type"):
        case "single_predicate":
            with at("single_predicate"):
                return _single(message.single_predicate, negated)
        case "not_matcher":
            with at("not_matcher"):
                return _predicate(message.not_matcher, not negated, depth + 1)
        case "or_matcher" | "and_matcher" as kind:
            with at(f"{kind}"):
                several = _several(getattr(message, kind).predicate, negated, depth)
                # Not both is one of the negations; not one of them is both negations.
                return _any(several) if (kind == "or_matcher") != negated else _all(several)
        case _:
            raise Refused("", "needs a predicate")


def _several(messages: Any, negated: bool, depth: int) -> list[list[Tests]]:
    if len(messages) < 2:
        raise Refused("predicate", "needs at least two")
    found = []
    for index, each in enumerate(messages):
        with at(f"predicate[{index}]"):
            found.append(_predicate(each, negated, depth + 1))
    return found


def _any(several: Iterable[list[Tests]]) -> list[Tests]:
    return [tests for alternatives in several for tests in alternatives]


def _all(several: Iterable[list[Tests]]) -> list[Tests]:
    found: list[Tests] = [()]
    for alternatives in several:
        if len(found) * len(alternatives) > MAX_ROUTES:
            raise Refused("", f"comes to more than {MAX_ROUTES} routes")
        joined = (_join(tests, more) for tests in found for more in alternatives)
        found = [tests for tests in joined if tests is not None]
    return found


def _single(message: Any, negated: bool) -> list[Tests]:
    check(message, _SINGLE_FIELDS)
    with at("input"):
        name = _input(message.input)
    match message.WhichOneof("matcher"):
        case "value_match":
            if name == REQUEST:
                raise Refused("value_match", f"the whole request is matched by {REQUEST_MATCHER}")
            with at("value_match"):
                return _literal(name, values.string_match(message.value_match), negated)
        case "custom_match":
            with at("custom_match"):
                kind, config = open_config(message.custom_match.typed_config)
                if kind != REQUEST_MATCHER:
                    raise Refused("typed_config", f"{kind} is not supported; use {REQUEST_MATCHER}")
                if name != REQUEST:
                    raise Refused("", f"matches the whole request; its input is {REQUEST}")
                with at("typed_config"):
                    return _request(config, negated)
        case _:
            raise Refused("", "needs a value_match or a custom_match")


def _request(message: Any, negated: bool) -> list[Tests]:
    check(message, _REQUEST_FIELDS)
    several = []
    for field, name in (("host", HOST), ("path", PATH), ("method", METHOD)):
        if message.HasField(field):
            with at(field):
                several.append(_literal(name, values.string_match(getattr(message, field)), negated))
    for index, entry in enumerate(message.properties):
        with at(f"properties[{index}]"):
            with at("string_match"):
                test = values.string_match(entry.string_match)
            several.append(_literal(_property(entry.name, "name"), test, negated))
    return _any(several) if negated else _all(several)


def _input(message: Any) -> str:
    kind, config = open_config(message.typed_config)
    with at("typed_config"):
        if kind in INPUTS:
            return INPUTS[kind]
        if kind == PROPERTY:
            check(config, _PROPERTY_FIELDS)
            return _property(config.property_name, "property_name")
        if kind == REQUEST:
            return REQUEST
        raise Refused("", f"{kind} is not supported; use the inputs of the generic proxy")


def _property(name: str, field: str) -> str:
    if not name:
        raise Refused(field, "is required")
    lower = name.lower()
    if lower == "host" or lower.startswith(":"):
        raise Refused(field, f"{name!r} is no property; the host is matched by HostMatchInput")
    return lower


def _literal(name: str, test: plan.StringMatch, negated: bool) -> list[Tests]:
    """A test of one thing. What is absent fails it, and passes its negation; host, path and method are never absent."""
    may_be_empty = _may_match_empty(test)
    text = plan.TextTest(test)
    if not negated:
        return [(plan.HeaderMatch(name, text, absent_as_empty=may_be_empty and name.startswith(":")),)]
    if may_be_empty and not name.startswith(":"):
        absent = plan.HeaderMatch(name, plan.PresentTest(False))
        return [(plan.HeaderMatch(name, text, invert=True),), (absent,)]
    return [(plan.HeaderMatch(name, text, invert=True, absent_as_empty=True),)]


def _may_match_empty(test: plan.StringMatch) -> bool:
    return isinstance(test.test, plan.RegexText) or not test.test.text


# --- maps ---------------------------------------------------------------------------------------------------------


def _tree(message: Any) -> list[tuple[Tests, str, Any]]:
    """Entries in the order in which they are looked at: tests, field path, what then happens."""
    check(message, _TREE_FIELDS)
    with at("input"):
        name = _input(message.input)
        if name == REQUEST:
            raise Refused("typed_config", "the whole request is no key of a map")
    kind = message.WhichOneof("tree_type")
    if kind not in ("exact_match_map", "prefix_match_map"):
        raise Refused(kind or "tree_type", "is not supported" if kind else "is required")
    entries = getattr(message, kind).map
    if not entries:
        raise Refused(kind, "needs at least one entry")
    # Of several prefixes the longest goes first.
    keys = sorted(entries, key=lambda key: (-len(key), key))
    make = plan.ExactText if kind == "exact_match_map" else plan.PrefixText
    return [
        (_literal(name, plan.StringMatch(make(key)), False)[0], f"{kind}.map[{key!r}]", entries[key])
        for key in keys
    ]
