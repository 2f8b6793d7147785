"""The real engine takes whatever our compiler sends."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay import _engine

PROGRAM = Path(__file__).with_name("engine_takes_goldens.py")


@pytest.mark.skipif(
    not hasattr(_engine, "Engine"), reason="the engine is built without its border; `make build` has it"
)
def test_the_engine_takes_every_golden_case(tmp_path: Path) -> None:
    """In a process of its own: nothing may fork once an engine has started."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    cases = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(cases) > 20
    assert [case for case in cases if case[1] or case[2]] == []
