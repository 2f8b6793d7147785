"""A node written as JSON in which everything stands in the line its author wrote it in, and in its column where there is room.

In: a part of a document. Out: text that gives equal values and, read as a document of its own, the positions of the file.
`up` sends parts of its file to the control plane, whose problems then point into that file.
"""

from __future__ import annotations

import json

from mainstay.api.node import Mapping, Node, Scalar, Sequence, plain_value


def placed_json(node: Node) -> str:
    """The text."""
    writer = _Writer()
    writer.node(node)
    return "".join(writer.parts)


class _Writer:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self._line, self._column = 1, 1

    def node(self, node: Node) -> None:
        match node:
            case Mapping():
                self._put("{")
                for at, entry in enumerate(node.entries):
                    self._put("," if at else "")
                    self._go(entry.line, entry.column)
                    self._put(f"{json.dumps(entry.key)}:")
                    self.node(entry.value)
                self._put("}")
            case Sequence():
                self._put("[")
                for at, item in enumerate(node.items):
                    self._put("," if at else "")
                    # A mapping's brace stands in front of its first key, which has the same place.
                    self._go(item.line, item.column - isinstance(item, Mapping))
                    self.node(item)
                self._put("]")
            case Scalar():
                self._go(node.line, node.column)
                self._put(json.dumps(plain_value(node)))

    def _go(self, line: int, column: int) -> None:
        """On to a place, unless it has been passed."""
        if line > self._line:
            self.parts.append("\n" * (line - self._line))
            self._line, self._column = line, 1
        if line == self._line and column > self._column:
            self._put(" " * (column - self._column))

    def _put(self, text: str) -> None:
        self.parts.append(text)
        self._column += len(text)
