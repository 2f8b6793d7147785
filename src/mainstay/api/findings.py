"""Gathers what is wrong with one object while it is translated or checked, so that an author sees all of it at once.

In: an object. Out: its problems. Made at the start of each `translate` and `check`, thrown away at its end.
"""

from __future__ import annotations

from mainstay.api.kind import Fact
from mainstay.api.node import Path
from mainstay.api.object import Object
from mainstay.model.problem import Problem


class Findings:
    """Problems of one object, in the order of finding."""

    def __init__(self, thing: Object) -> None:
        self._thing = thing
        self.problems: list[Problem] = []

    @property
    def namespace(self) -> str:
        """Namespace of the object, with which short names are completed."""
        return self._thing.namespace

    def add(self, code: str, path: Path, reason: str, remedy: str) -> None:
        """Report one problem at ``path``."""
        self.problems.append(self._thing.problem(code, path, reason, remedy))

    def or_facts(self, facts: list[Fact]) -> list[Fact] | list[Problem]:
        """Return the problems, or ``facts`` if there are none: what every ``translate`` returns."""
        return self.problems or facts
