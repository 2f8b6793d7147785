"""Reads the text of a file into documents: YAML or JSON nodes with positions, all problems in one pass.

In: text and the name of its file. Out: ``Document`` values and problems. Invariants: never raises for what a text may
hold; a document that cannot be read does not keep its neighbours from being read; every limit below is checked before
memory or stack is spent on what exceeds it. Called by ``load``, the REST API and the file source.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec
import yaml

from mainstay.api.json_document import parse_json
from mainstay.api.limits import MAX_BYTES, MAX_DEPTH, MAX_NODES, Unreadable, too_deep, too_many
from mainstay.api.node import Entry, Mapping, Node, Path, Scalar, Sequence, Style, locate, show_path
from mainstay.api.problems import make_problem
from mainstay.model.problem import Problem

Notation = Literal["yaml", "json"]

_MARKER = re.compile(r"^---(?=\s|$)", re.MULTILINE)
"""A line that begins so starts a document wherever it stands, even inside a scalar (YAML 1.2 §9.1.2)."""

_TEXT_TAG = "tag:yaml.org,2002:str"


class Document(msgspec.Struct, frozen=True):
    """One object as written. ``text`` is its part of the file. ``whole`` is False if problems were already found, so that
    it is decoded only to find more."""

    file: str
    root: Mapping
    text: str
    whole: bool = True

    @property
    def api_version(self) -> str:
        """``apiVersion`` as written, or empty."""
        return self._text(("apiVersion",))

    @property
    def kind(self) -> str:
        """``kind`` as written, or empty."""
        return self._text(("kind",))

    @property
    def label(self) -> str:
        """``Kind/namespace/name`` as far as they are written, for problems."""
        parts = (self.kind, self._text(("metadata", "namespace")), self._text(("metadata", "name")))
        return "/".join(part for part in parts if part)

    def problem(self, code: str, path: Path, reason: str, remedy: str) -> Problem:
        """Return a problem at the deepest existing part of ``path``."""
        line, column = locate(self.root, path)
        return make_problem(code, reason, remedy, self.label, self.file, line, column, show_path(path))

    def _text(self, path: Path) -> str:
        node: Node | None = self.root
        for step in path:
            entry = node.find(str(step)) if isinstance(node, Mapping) else None
            node = entry.value if entry else None
        return node.text if isinstance(node, Scalar) and not node.is_null else ""


def read(text: str, file: str, notation: Notation | None = None) -> tuple[list[Document], list[Problem]]:
    """Read all documents of a text; ``notation`` defaults to JSON for files named ``.json``, else YAML.

    A ``List`` (Kubernetes) is taken apart into its items. Empty documents are skipped.
    """
    documents: list[Document] = []
    problems: list[Problem] = []
    chosen = notation or ("json" if file.endswith(".json") else "yaml")
    pieces = [(text, 0)] if chosen == "json" else _split(text)
    for piece, line in pieces:
        for root in _read_piece(piece, line, chosen, file, problems):
            documents.extend(_take_apart(root, piece, file, problems))
    return documents, problems


def _split(text: str) -> Iterator[tuple[str, int]]:
    starts = [0, *(match.start() for match in _MARKER.finditer(text) if match.start() > 0), len(text)]
    line = 0
    for start, end in itertools.pairwise(starts):
        piece = text[start:end]
        yield piece, line
        line += piece.count("\n")


def _read_piece(
    piece: str, line: int, notation: str, file: str, problems: list[Problem]
) -> list[tuple[Node, bool]]:
    """Return the roots of a piece and whether each is without problems."""
    try:
        size = len(piece.encode())
    except UnicodeEncodeError as error:
        at = line + piece.count("\n", 0, error.start) + 1
        problems.append(
            make_problem(
                "MS1001", "the text is not Unicode", "Save the file as UTF-8", file=file, line=at, column=1
            )
        )
        return []
    if size > MAX_BYTES:
        reason = f"the object has {size:,} bytes; {MAX_BYTES:,} are the limit"
        problems.append(
            make_problem(
                "MS1005", reason, "Split it into several objects", file=file, line=line + 1, column=1
            )
        )
        return []
    try:
        if notation == "json":
            node, found = parse_json(piece, file)
            problems.extend(found)
            return [(node, not found)]
        builder = _YamlBuilder(file, line)
        builder.read(piece)
    except Unreadable as error:
        problems.append(
            make_problem(
                error.code, error.reason, error.remedy, file=file, line=error.line, column=error.column
            )
        )
        return []
    problems.extend(builder.problems)
    return builder.roots


def _take_apart(
    read_root: tuple[Node, bool], piece: str, file: str, problems: list[Problem]
) -> Iterator[Document]:
    root, whole = read_root
    if isinstance(root, Scalar) and root.is_null:
        return
    if not isinstance(root, Mapping):
        problems.append(
            make_problem(
                "MS1006",
                "the document is no mapping",
                "Write apiVersion, kind and metadata",
                file=file,
                line=root.line,
                column=root.column,
            )
        )
        return
    items = root.find("items")
    document = Document(file, root, piece, whole)
    if document.kind.endswith("List") and items and isinstance(items.value, Sequence):
        for item in items.value.items:
            yield from _take_apart((item, whole), piece, file, problems)
    else:
        yield document


class _Open:
    """A collection whose end has not been read."""

    __slots__ = ("anchor", "column", "entries", "height", "items", "key", "line", "names", "size")

    def __init__(self, line: int, column: int, anchor: str | None, mapping: bool) -> None:
        self.line, self.column, self.anchor = line, column, anchor
        self.items: list[Node] = []
        self.entries: list[Entry] | None = [] if mapping else None
        self.names: set[str] = set()
        self.key: tuple[str, int, int] | None = None
        self.size = 1
        self.height = 1


class _YamlBuilder:
    """Builds nodes from the C parser's events with an own stack, so that depth and expansion are bounded."""

    def __init__(self, file: str, first_line: int) -> None:
        self.roots: list[tuple[Node, bool]] = []
        self.problems: list[Problem] = []
        self._file = file
        self._line = first_line
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._problems_before = 0

    def read(self, text: str) -> None:
        try:
            for event in yaml.parse(text, Loader=yaml.CLoader):
                self._take(event)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            reason = " ".join(part for part in (error.problem, error.context) if part)
            raise Unreadable(
                "MS1001",
                reason or "the text is not YAML",
                "Correct the notation at this place",
                self._line + (mark.line if mark else 0) + 1,
                (mark.column if mark else 0) + 1,
            ) from error
        except yaml.YAMLError as error:
            place = getattr(error, "position", 0)
            line = self._line + text.count("\n", 0, place) + 1
            reason = "the text holds a character that YAML does not allow"
            raise Unreadable("MS1001", reason, "Remove control characters", line, 1) from error

    def _take(self, event: Any) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._take_scalar(event)
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            line, column = self._place(event)
            self._refuse_tag(event)
            if len(self._stack) >= MAX_DEPTH:
                raise too_deep(line, column)
            if event.anchor:
                self._anchors.pop(event.anchor, None)
            self._stack.append(_Open(line, column, event.anchor, isinstance(event, yaml.MappingStartEvent)))
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._take_alias(event)
        elif isinstance(event, yaml.DocumentStartEvent):
            self._anchors.clear()
            self._problems_before = len(self.problems)

    def _place(self, event: Any) -> tuple[int, int]:
        return self._line + event.start_mark.line + 1, event.start_mark.column + 1

    def _take_scalar(self, event: Any) -> None:
        line, column = self._place(event)
        style: Style = "quoted" if event.style else "plain"  # the C parser says "" for plain
        if event.tag == _TEXT_TAG:
            style = "quoted"
        else:
            self._refuse_tag(event)
        scalar = Scalar(event.value, style, line, column)
        if event.anchor:
            self._anchors[event.anchor] = (scalar, 1, 0)
        self._add(scalar, 1, 0)

    def _take_alias(self, event: Any) -> None:
        line, column = self._place(event)
        if any(parent.anchor == event.anchor for parent in self._stack):
            remedy = "Write the value out instead of referring to it"
            raise Unreadable("MS1003", f"*{event.anchor} stands inside &{event.anchor}", remedy, line, column)
        if event.anchor not in self._anchors:
            remedy = f"Define &{event.anchor} earlier in this document"
            raise Unreadable("MS1001", f"there is no anchor &{event.anchor}", remedy, line, column)
        node, size, height = self._anchors[event.anchor]
        if len(self._stack) + height > MAX_DEPTH:
            raise too_deep(line, column)
        self._add(node, size, height)

    def _refuse_tag(self, event: Any) -> None:
        if event.tag and event.tag != "!":
            line, column = self._place(event)
            reason = f"the tag {event.tag} is not taken"
            self._report("MS1014", reason, "Leave the tag out; fields know their type", line, column)

    def _report(self, code: str, reason: str, remedy: str, line: int, column: int) -> None:
        self.problems.append(make_problem(code, reason, remedy, file=self._file, line=line, column=column))

    def _add(self, node: Node, size: int, height: int) -> None:
        if not self._stack:
            self.roots.append((node, len(self.problems) == self._problems_before))
            return
        parent = self._stack[-1]
        parent.size += size
        parent.height = max(parent.height, height + 1)
        if parent.size > MAX_NODES:
            raise too_many(node.line, node.column)
        if parent.entries is None:
            parent.items.append(node)
        elif parent.key is None:
            parent.key = self._read_key(node)
        else:
            name, line, column = parent.key
            parent.key = None
            if name in parent.names:
                self._report("MS1002", f"the key {name!r} is given twice", "Keep one of them", line, column)
            elif name != "<<":
                parent.names.add(name)
                parent.entries.append(Entry(name, line, column, node))

    def _read_key(self, node: Node) -> tuple[str, int, int]:
        if not isinstance(node, Scalar):
            self._report("MS1014", "a key must be plain text", "Use a name as key", node.line, node.column)
            return "<<", node.line, node.column
        if node.text == "<<" and node.style == "plain":
            remedy = "Write the fields out"
            self._report("MS1014", "merge keys are not taken", remedy, node.line, node.column)
        return node.text, node.line, node.column

    def _close(self) -> None:
        done = self._stack.pop()
        node: Node = (
            Sequence(tuple(done.items), done.line, done.column)
            if done.entries is None
            else Mapping(tuple(done.entries), done.line, done.column)
        )
        if done.anchor:
            self._anchors[done.anchor] = (node, done.size, done.height)
        self._add(node, done.size, done.height)
