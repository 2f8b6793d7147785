"""Which tests run by themselves: whole meshes, file by file; those that want the machine, one by one (mark `machine`)."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# What tests of all folders share lies here.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one group and file may not run beside each other: `make test` runs them after the others."""
    for item in items:
        if item.get_closest_marker("xdist_group") is not None:
            item.add_marker(pytest.mark.alone)
