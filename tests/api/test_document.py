"""Texts become documents with positions, or problems with positions; nothing a text may hold raises."""

from __future__ import annotations

import json

import pytest
from api_reading import read_all
from hypothesis import given
from hypothesis import strategies as st

from mainstay.api.document import read
from mainstay.api.node import plain_value


def problems_of(text: str, file: str = "x.yaml") -> list[tuple[str, int, int]]:
    return [(problem.code, problem.line, problem.column) for problem in read(text, file)[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1\n", [("MS1001", 2, 1)]),
        ("a: 1\na: 2", [("MS1002", 2, 1)]),
        ("a: &x [*x]", [("MS1003", 1, 8)]),
        ("a: *x", [("MS1001", 1, 4)]),
        ("- 1", [("MS1006", 1, 1)]),
        ("a: !thing 1", [("MS1014", 1, 4)]),
        ("<<: {a: 1}", [("MS1014", 1, 1)]),
        ("{[1]: 2}", [("MS1014", 1, 2)]),
        ("a: " + "[" * 70 + "]" * 70, [("MS1004", 1, 67)]),
        ("a: '" + "x" * (1 << 20) + "'", [("MS1005", 1, 1)]),
        ("a: \x07", [("MS1001", 1, 1)]),
        ("fine: 1\n---\nb: [\n---\nc: 1\nc: 2", [("MS1001", 4, 1), ("MS1002", 6, 1)]),
    ],
)
def test_what_cannot_be_read_is_reported_at_its_place(
    text: str, expected: list[tuple[str, int, int]]
) -> None:
    assert problems_of(text) == expected


def test_aliases_cost_no_more_than_what_they_stand_for() -> None:
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 10)
    )
    assert [code for code, _, _ in problems_of(bomb)] == ["MS1005"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a": 1,}', [("MS1001", 1, 9)]),
        ('{"a": 1, "a": 2}', [("MS1002", 1, 10)]),
        ('{"a": "\\ud800"}', [("MS1001", 1, 7)]),
        ("[" * 80, [("MS1004", 1, 65)]),
        ('{"a": 1} x', [("MS1001", 1, 10)]),
        ('{"a": nul}', [("MS1001", 1, 7)]),
    ],
)
def test_json_is_as_strict(text: str, expected: list[tuple[str, int, int]]) -> None:
    assert problems_of(text, "x.json") == expected


def test_one_broken_document_does_not_hide_its_neighbours() -> None:
    text = "kind: A\n---\nkind: [\n---\nkind: B\n"
    documents, problems = read(text, "x.yaml")
    assert [document.kind for document in documents] == ["A", "B"]
    assert [document.root.line for document in documents] == [1, 5]
    assert len(problems) == 1


def test_a_list_is_taken_apart() -> None:
    text = "kind: List\nitems:\n- {kind: A}\n- {kind: B}\n"
    assert [document.kind for document in read(text, "x.yaml")[0]] == ["A", "B"]


def test_unquoted_scalars_are_read_by_the_field() -> None:
    objects, problems = read_all(
        """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one, labels: {answer: on, zero: 0123, yes: true}}
spec: {address: 10.0.0.1, weight: 012}
"""
    )
    assert not problems
    assert objects[0].metadata.labels == {"answer": "on", "zero": "0123", "yes": "true"}
    assert objects[0].spec.weight == 12


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.text(min_size=1, max_size=8), VALUES, max_size=4))
def test_json_and_yaml_agree(value: dict[str, object]) -> None:
    text = json.dumps(value)
    [by_json], problems = read(text, "x.json")
    assert not problems
    assert plain_value(by_json.root) == value
    found, refused = read(text, "x.yaml")
    # YAML knows a few characters less, and merge keys; what both take they take alike.
    if not refused and len(found) == 1:
        assert plain_value(found[0].root) == value


@given(st.text(max_size=300), st.sampled_from(["x.yaml", "x.json"]))
def test_no_text_raises(text: str, file: str) -> None:
    read_all(text, file)


YAMLISH = st.lists(
    st.sampled_from(
        [
            "a: ",
            "- ",
            "\n",
            "  ",
            "{",
            "}",
            "[",
            "]",
            ", ",
            "&x ",
            "*x",
            "!!str ",
            "? ",
            "|",
            ">",
            "'",
            '"',
            "---\n",
            "#",
            "<<: ",
            "kind: Service",
            "1",
        ]
    ),
    max_size=40,
).map("".join)


@given(YAMLISH)
def test_no_notation_raises(text: str) -> None:
    documents, problems = read(text, "x.yaml")
    assert all(problem.remedy and problem.line >= 1 and problem.column >= 1 for problem in problems)
    assert all(document.root.line >= 1 for document in documents)
