"""Reads descriptions: from YAML to `Described`, or every problem by file, line and path.

In: text and its file's name, or the names of the descriptions that come with Mainstay. Out: names with descriptions,
and problems. The same decoder reads all that users write, so unknown fields, wrong types and ranges are refused as
everywhere.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from mainstay.api.decode import decode
from mainstay.api.document import Document, read
from mainstay.api.problems import make_problem
from mainstay.api.publish import schema_document
from mainstay.model.problem import Problem
from mainstay.protocols.check import check, check_together
from mainstay.protocols.description import Protocol
from mainstay.protocols.finding import Finding
from mainstay.protocols.kind import ALIKE, BAD_NAME, CONTRADICTS, KIND, OTHER_NAME, name_fault


class Described(msgspec.Struct, frozen=True):
    """A description with its name and where it was written."""

    name: str
    description: Protocol
    document: Document


def read_descriptions(texts: list[tuple[str, str]]) -> tuple[list[Described], list[Problem]]:
    """Read and check descriptions, each alone and all together; texts are (file name, text)."""
    found: list[Described] = []
    problems: list[Problem] = []
    for file, text in texts:
        documents, faults = read(text, file)
        problems += faults
        if not documents and not faults:
            remedy = "Begin with what `mainstay protocol new` writes"
            problems.append(make_problem("MS1006", "the file is empty", remedy, file=file, line=1, column=1))
        for document in documents:
            described = _decode(document, problems)
            if described is not None:
                found.append(described)
    problems += _compare(found)
    return found, problems


def _decode(document: Document, problems: list[Problem]) -> Described | None:
    if document.kind != KIND.name or document.api_version != KIND.api_version:
        reason = f"{document.api_version or 'no apiVersion'}, {document.kind or 'no kind'} is no description of a protocol"
        remedy = f"Write apiVersion: {KIND.api_version} and kind: {KIND.name}"
        problems.append(document.problem("MS1007", ("kind",), reason, remedy))
        return None
    thing = decode(document, KIND)
    if isinstance(thing, list):
        problems += thing
        return None
    findings = check(thing.spec)
    problems += [_problem(document, CONTRADICTS, finding) for finding in findings]
    if reason := name_fault(thing.name):
        problems.append(document.problem(BAD_NAME, ("metadata", "name"), reason, OTHER_NAME))
        return None
    return None if findings else Described(thing.name, thing.spec, document)


def _problem(document: Document, code: str, finding: Finding) -> Problem:
    return document.problem(code, ("spec", *finding.path), finding.reason, finding.remedy)


def _compare(found: list[Described]) -> list[Problem]:
    documents: dict[str, Document] = {}
    problems = []
    for each in found:
        if each.name in documents:
            reason = f"there are two protocols {each.name}"
            problems.append(each.document.problem("MS2001", ("metadata", "name"), reason, "Rename one"))
        documents.setdefault(each.name, each.document)
    for name, finding in check_together({each.name: each.description for each in found}):
        problems.append(_problem(documents[name], ALIKE, finding))
    return problems


def shipped_texts() -> dict[str, str]:
    """Return the descriptions that come with Mainstay, by name."""
    folder = Path(str(resources.files("mainstay.protocols")))
    return {
        path.stem: path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*.yaml"))
        if path.stem != "template"
    }


def shipped() -> list[Described]:
    """Return the descriptions that come with Mainstay; that they are sound is a test's matter."""
    found, problems = read_descriptions([(f"{name}.yaml", text) for name, text in shipped_texts().items()])
    if problems:
        raise ValueError("; ".join(map(str, problems)))
    return found


def description_schema() -> dict[str, Any]:
    """Return the JSON Schema of a description, for editors."""
    return schema_document(KIND)
