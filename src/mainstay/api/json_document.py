"""Reads a JSON text into nodes with positions.

In: text of one file. Out: a node and the problems that did not stop the reading. Raises ``Unreadable`` for what did.
Python's own decoder keeps no positions and takes duplicate keys; its scanner of strings is used, which is strict about
control characters. Grammar: RFC 8259.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from json import JSONDecodeError
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in practice, absent from the stubs

from mainstay.api.limits import MAX_DEPTH, MAX_NODES, Unreadable, too_deep, too_many
from mainstay.api.node import Entry, Mapping, Node, Scalar, Sequence
from mainstay.api.problems import make_problem
from mainstay.model.problem import Problem

_SPACE = re.compile(r"[ \t\n\r]*")
_WORD = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")
_SURROGATE = re.compile("[\ud800-\udfff]")


def parse_json(text: str, file: str) -> tuple[Node, list[Problem]]:
    """Read one JSON value; nothing but white space may follow it."""
    reader = _Reader(text, file)
    at = reader.skip(0)
    if at == len(text):
        return Scalar("null", "json", 1, 1), []
    node, at = reader.value(at, 0)
    at = reader.skip(at)
    if at != len(text):
        raise reader.fail(at, "something follows the value")
    return node, reader.problems


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]
        self._count = 0
        self.problems: list[Problem] = []

    def skip(self, at: int) -> int:
        match = _SPACE.match(self._text, at)
        return match.end() if match else at

    def place(self, at: int) -> tuple[int, int]:
        line = bisect_right(self._lines, at)
        return line, at - self._lines[line - 1] + 1

    def fail(self, at: int, reason: str) -> Unreadable:
        return Unreadable("MS1001", reason, "Correct the notation at this place", *self.place(at))

    def value(self, at: int, depth: int) -> tuple[Node, int]:
        self._count += 1
        if self._count > MAX_NODES:
            raise too_many(*self.place(at))
        first = self._text[at : at + 1]
        if first in ("{", "["):
            if depth >= MAX_DEPTH:
                raise too_deep(*self.place(at))
            return self._mapping(at, depth) if first == "{" else self._sequence(at, depth)
        line, column = self.place(at)
        if first == '"':
            content, end = self._string(at)
            return Scalar(content, "quoted", line, column), end
        word = _WORD.match(self._text, at)
        if not word:
            raise self.fail(at, "a JSON value is wanted here")
        return Scalar(word.group(), "json", line, column), word.end()

    def _string(self, at: int) -> tuple[str, int]:
        try:
            content, end = scanstring(self._text, at + 1, True)
        except JSONDecodeError as error:
            raise self.fail(min(error.pos, len(self._text)), error.msg) from error
        if _SURROGATE.search(content):
            raise self.fail(at, "the text holds half a surrogate pair")
        return content, end

    def _sequence(self, at: int, depth: int) -> tuple[Node, int]:
        line, column = self.place(at)
        items: list[Node] = []
        at = self.skip(at + 1)
        if self._text[at : at + 1] == "]":
            return Sequence((), line, column), at + 1
        while True:
            item, at = self.value(at, depth + 1)
            items.append(item)
            at = self.skip(at)
            mark = self._text[at : at + 1]
            if mark == "]":
                return Sequence(tuple(items), line, column), at + 1
            if mark != ",":
                raise self.fail(at, "a comma or ] is wanted here")
            at = self.skip(at + 1)

    def _mapping(self, at: int, depth: int) -> tuple[Node, int]:
        line, column = self.place(at)
        entries: dict[str, Entry] = {}
        at = self.skip(at + 1)
        if self._text[at : at + 1] == "}":
            return Mapping((), line, column), at + 1
        while True:
            if self._text[at : at + 1] != '"':
                raise self.fail(at, "a key in double quotes is wanted here")
            key_line, key_column = self.place(at)
            key, at = self._string(at)
            at = self.skip(at)
            if self._text[at : at + 1] != ":":
                raise self.fail(at, "a colon is wanted here")
            value, at = self.value(self.skip(at + 1), depth + 1)
            if key in entries:
                reason = f"the key {key!r} is given twice"
                problem = make_problem(
                    "MS1002",
                    reason,
                    "Keep one of them",
                    file=self._file,
                    line=key_line,
                    column=key_column,
                )
                self.problems.append(problem)
            else:
                entries[key] = Entry(key, key_line, key_column, value)
            at = self.skip(at)
            mark = self._text[at : at + 1]
            if mark == "}":
                return Mapping(tuple(entries.values()), line, column), at + 1
            if mark != ",":
                raise self.fail(at, "a comma or } is wanted here")
            at = self.skip(at + 1)
