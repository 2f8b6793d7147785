"""Parts of a document that are sent on keep the places their author gave them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mainstay.api.document import Document, read
from mainstay.api.node import Mapping, Node, Sequence, find, locate, plain_value, walk
from mainstay.api.placed import placed_json

FILE = """\
# A comment.
spec:
  config:
  - apiVersion: v1
    kind: Thing
    spec:
      hosts: ["*", reviews]

      http:
      - route:
        - {destination: {host: reviews, subset: v1}, weight: 90}
      note: |
        two
        lines
"""


def part(text: str) -> Node:
    [document], problems = read(text, "mesh.yaml")
    assert not problems
    found = find(document.root, ("spec", "config", 0))
    assert found is not None
    return found


def again(node: Node) -> Document:
    [document], problems = read(placed_json(node), "mesh.yaml")
    assert not problems
    return document


def test_everything_stands_where_it_stood() -> None:
    node = part(FILE)
    root = again(node).root
    assert plain_value(root) == plain_value(node)
    for path in (("spec", "hosts", 1), ("spec", "http", 0, "route"), ("kind",), ("spec", "note")):
        assert locate(root, path) == locate(node, path), path
    assert locate(root, ("spec", "http", 0, "route", 0, "weight"))[0] == 11, (
        "columns drift where quotes are added"
    )


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab: #\n'\"{", max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("abc: -", max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(VALUES, st.booleans(), st.integers(0, 3))
def test_values_and_lines_are_equal_whatever_they_are(value: object, is_flow: bool, above: int) -> None:
    import yaml

    text = "\n" * above + yaml.safe_dump({"value": value}, default_flow_style=is_flow)
    [document], problems = read(text, "x")
    if problems or not isinstance(document.root, Mapping):
        return
    root = again(document.root).root
    assert plain_value(root) == plain_value(document.root)
    assert [line for line, _ in places(root)] == [line for line, _ in places(document.root)]


def places(node: Node) -> list[tuple[int, int]]:
    """Of all keys and items."""
    found = []
    for each in walk(node):
        if isinstance(each, Mapping):
            found += [(entry.line, entry.column) for entry in each.entries]
        elif isinstance(each, Sequence):
            found += [(item.line, item.column) for item in each.items]
    return found
