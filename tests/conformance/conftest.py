"""Helpers of the conformance suite are modules of this folder; what it found is told at the end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "engine")]

if TYPE_CHECKING:
    from _pytest.terminal import TerminalReporter


@pytest.fixture(scope="session")
def envoy() -> str:
    """The Envoy binary that the test set-up installs."""
    found = os.environ.get("MAINSTAY_TEST_ENVOY", "")
    assert found, "run `make conformance` or `make test`, which install Envoy"
    assert Path(found).exists(), found
    return found


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Counts and justified differences; tests that ran in other processes handed theirs over as properties."""
    from conformance_page import summary

    passed: dict[str, list[int]] = {}
    tables: list[str] = []
    for reports in terminalreporter.stats.values():
        for report in (one for one in reports if getattr(one, "when", "") == "call"):
            for name, value in getattr(report, "user_properties", ()):
                if name == "conformance":
                    for kind, counts in json.loads(value).items():
                        mine = passed.setdefault(kind, [0, 0])
                        passed[kind] = [mine[0] + counts[0], mine[1] + counts[1]]
                elif name == "table" and value not in tables:
                    tables.append(value)
    if passed or tables:
        terminalreporter.section("conformance")
    if passed:
        terminalreporter.write_line(summary(passed))
    for table in tables:
        terminalreporter.write_line(table)
