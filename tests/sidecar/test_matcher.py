"""A tree of matchers and the rows made of it decide alike, whatever the tree and the call."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from generic_messages import GENERIC, Fields, action, matchers, predicate
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstay._proto import pool
from mainstay.sidecar import plan
from mainstay.sidecar.convert.matcher import HOST, METHOD, PATH, rows_of


class Call(NamedTuple):
    host: str
    method: str
    properties: dict[str, str]

    def get(self, kind: str, name: str) -> str | None:
        """As Envoy's inputs give it: only properties can be absent."""
        match kind:
            case "Property":
                return self.properties.get(name)
            case "Path":
                return f"/{self.host}/{self.method}"
            case "Method":
                return self.method
            case _:
                return self.host

    def field(self, name: str) -> str | None:
        """As the engine's header matchers see it: what is empty is not there, but for headers."""
        known = {HOST: self.host, METHOD: self.method, PATH: f"/{self.host}/{self.method}"}
        return known[name] or None if name in known else self.properties.get(name)


# --- the tree, read off literally ---------------------------------------------------------------------------------


def passes(text: str, pattern: Fields) -> bool:
    ignore = pattern.get("ignore_case", False)
    (kind, wanted), *_ = ((key, value) for key, value in pattern.items() if key != "ignore_case")
    if kind == "safe_regex":
        return re.fullmatch(wanted["regex"], text) is not None
    if ignore:
        text, wanted = text.lower(), str(wanted).lower()
    match kind:
        case "exact":
            return bool(text == wanted)
        case "prefix":
            return text.startswith(wanted)
        case "suffix":
            return text.endswith(wanted)
    return wanted in text


def value_of(chosen: Fields, call: Call) -> str | None:
    config = chosen["typed_config"]
    kind = config["@type"].removeprefix(f"{GENERIC}matcher.v3.").removesuffix("MatchInput")
    return call.get(kind, config.get("property_name", ""))


def holds(asked: Fields, call: Call) -> bool:
    match asked:
        case {"not_matcher": inner}:
            return not holds(inner, call)
        case {"or_matcher": {"predicate": several}}:
            return any(holds(each, call) for each in several)
        case {"and_matcher": {"predicate": several}}:
            return all(holds(each, call) for each in several)
        case {"single_predicate": single}:
            value = value_of(single["input"], call)
            return value is not None and passes(value, single["value_match"])
    raise AssertionError(asked)


def decide(tree: Fields, call: Call) -> str | None:
    for entry in tree.get("matcher_list", {}).get("matchers", []):
        if holds(entry["predicate"], call) and (found := then(entry["on_match"], call)) is not None:
            return found
    if "matcher_tree" in tree:
        mapped = tree["matcher_tree"]
        value = value_of(mapped["input"], call)
        exact = mapped.get("exact_match_map", {}).get("map", {})
        prefixes = mapped.get("prefix_match_map", {}).get("map", {})
        keys = [key for key in exact if value == key]
        keys += sorted((key for key in prefixes if (value or "").startswith(key)), key=len, reverse=True)
        for key in keys if value is not None else []:
            if (found := then((exact | prefixes)[key], call)) is not None:
                return found
    return then(tree["on_no_match"], call) if "on_no_match" in tree else None


def then(on_match: Fields, call: Call) -> str | None:
    if "matcher" in on_match:
        return decide(on_match["matcher"], call)
    found: str = on_match["action"]["typed_config"]["cluster"]
    return found


# --- the rows, as the engine reads them ---------------------------------------------------------------------------


def accepts(test: plan.HeaderMatch, call: Call) -> bool:
    value = call.field(test.name)
    if isinstance(test.test, plan.PresentTest):
        return ((value is not None) == test.test.present) != test.invert
    if value is None and test.absent_as_empty:
        value = ""
    assert isinstance(test.test, plan.TextTest)
    found = test.test.matches
    kind = type(found.test).__name__.removesuffix("Text").lower()
    pattern = {"safe_regex": {"regex": found.test.text}} if kind == "regex" else {kind: found.test.text}
    return value is not None and passes(value, pattern | {"ignore_case": found.ignore_case}) != test.invert


# --- trees --------------------------------------------------------------------------------------------------------

TEXTS = st.sampled_from(["", "a", "ab", "b", "A", "/"])
PATTERNS = st.one_of(
    st.builds(
        lambda kind, text, ignore: {kind: text, "ignore_case": ignore},
        st.sampled_from(["exact", "prefix", "suffix", "contains"]),
        TEXTS,
        st.booleans(),
    ),
    st.sampled_from(["a*", "[^a]*", "a|b", ""]).map(lambda regex: {"safe_regex": {"regex": regex}}),
)
SINGLE = st.builds(
    lambda kind, pattern, name: predicate(
        kind, pattern, **({"property_name": name} if kind == "Property" else {})
    ),
    st.sampled_from(["Host", "Service", "Path", "Method", "Property", "Property"]),
    PATTERNS,
    st.sampled_from("xy"),
)
PREDICATES = st.recursive(
    SINGLE,
    lambda inner: st.one_of(
        inner.map(lambda one: {"not_matcher": one}),
        st.builds(
            lambda kind, several: {kind: {"predicate": several}},
            st.sampled_from(["or_matcher", "and_matcher"]),
            st.lists(inner, min_size=2, max_size=3),
        ),
    ),
    max_leaves=5,
)


def trees(depth: int = 0) -> st.SearchStrategy[Fields]:
    acts: st.SearchStrategy[Fields] = st.sampled_from("abc").map(action)
    if depth < 2:
        acts = st.one_of(acts, st.deferred(lambda: trees(depth + 1)).map(lambda inner: {"matcher": inner}))
    lists = st.builds(
        lambda pairs, last: matchers(*pairs, otherwise=last),
        st.lists(st.tuples(PREDICATES, acts), max_size=3),
        st.none() | acts,
    )
    maps = st.builds(
        lambda single, kind, entries, last: {
            "matcher_tree": {"input": single["single_predicate"]["input"], kind: {"map": entries}},
            **({} if last is None else {"on_no_match": last}),
        },
        SINGLE,
        st.sampled_from(["exact_match_map", "prefix_match_map"]),
        st.dictionaries(TEXTS, acts, min_size=1, max_size=3),
        st.none() | acts,
    )
    return st.one_of(lists, maps)


CALLS = st.builds(
    Call,
    st.sampled_from(["", "a", "ab", "A"]),
    st.sampled_from(["", "a", "b", "ab"]),
    st.dictionaries(st.sampled_from("xy"), st.sampled_from(["", "a", "ab", "B"])),
)


def cluster_of(message: Any) -> str:
    found = pool.parse(message.typed_config.type_url.rpartition("/")[2], message.typed_config.value)
    return str(found.cluster)


@settings(deadline=None, max_examples=300)
@given(trees(), st.lists(CALLS, min_size=1, max_size=8))
def test_rows_decide_as_their_tree(tree: Fields, calls: list[Call]) -> None:
    rows = rows_of(pool.from_json("xds.type.matcher.v3.Matcher", tree), cluster_of)
    for call in calls:
        decided = next((name for tests, name in rows if all(accepts(test, call) for test in tests)), None)
        assert decided == decide(tree, call), call
