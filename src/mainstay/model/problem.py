"""What is told to the author of an object: one fault, where it is, and what to do about it.

In: made by decoders, translators, checks, compile steps and proxies' refusals. Out: shown by ``apply``, ``validate``,
``status`` and the REST API. Invariant: a code is never reused and a remedy is always given.
Code ranges: ``IST0…`` Istio's analysis codes, ``MS1…`` shape, ``MS2…`` references, ``MS3…`` sources, ``MS4…`` compile
and capability, ``MS5…`` refused by a proxy.
"""

from typing import Literal

import msgspec

Severity = Literal["error", "warning", "info"]


class Problem(msgspec.Struct, frozen=True, gc=False):
    """One fault.

    ``object`` is ``Kind/namespace/name`` as the author knows it; ``file`` is a path or empty; ``line`` and ``column``
    count from 1, 0 where unknown; ``path`` is the field path such as ``spec.http[0].route[1].weight``.
    """

    code: str
    severity: Severity
    object: str
    reason: str
    remedy: str
    file: str = ""
    line: int = 0
    column: int = 0
    path: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}: " if self.file else ""
        field = f" {self.path}:" if self.path else ""
        return f"{place}{self.severity} {self.code} [{self.object}]{field} {self.reason}. {self.remedy}"


class Refused(Exception):  # noqa: N818  it reports the author's mistake, not ours
    """Raised inside a pure step that cannot produce a value; carries the problems, never empty."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = problems
