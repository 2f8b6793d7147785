"""Every case on Envoy and on Mainstay, from the same bootstrap file."""

from __future__ import annotations

import dataclasses
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import conformance_page
import pytest
from conformance_case import Case, Subject, load_subjects
from conformance_world import run_subject

if TYPE_CHECKING:
    from collections.abc import Callable

SUBJECTS = load_subjects()


@pytest.mark.envoy
@pytest.mark.parametrize("subject", SUBJECTS, ids=[one.stem for one in SUBJECTS])
def test_cases(
    subject: Subject, envoy: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    wanted = os.environ.get("MAINSTAY_CONFORMANCE_CASES")
    if wanted:
        chosen = tuple(case for case in subject.cases if re.search(wanted, f"{case.slug} {case.name}"))
        if not chosen:
            pytest.skip("none of the cases asked for")
        subject = dataclasses.replace(subject, cases=chosen)
    found = run_subject(subject, tmp_path, envoy)
    counts = {}
    said = []
    for kind, by_case in found.items():
        wrong = 0
        for case in subject.cases:
            lines = judge(case, kind, by_case[case.slug])
            wrong += bool(lines)
            if lines:
                said.append(f"{kind}: {case.slug} {case.name}\n    " + "\n    ".join(lines))
        counts[kind] = [len(by_case) - wrong, len(by_case)]
    record_property("conformance", json.dumps(counts))
    assert not said, "\n" + "\n".join(said)


def judge(case: Case, kind: str, wrong: list[str]) -> list[str]:
    """What is left to complain about: a failure that is known is fine, and one that is mended must lose its mark."""
    known = kind == "mainstay" and any(one.get("known") for one in case.differences)
    if not known:
        return wrong
    return [] if wrong else ["it is marked as a known failure, and passes"]


def test_page_is_current() -> None:
    assert conformance_page.PAGE.read_text() == conformance_page.page(), "run `make docs`"
