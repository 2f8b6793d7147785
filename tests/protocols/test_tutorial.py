"""`docs/protocols.md` is followed step by step: its files are written, its commands print what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "protocols.md"
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_tutorial_can_be_followed(tmp_path: Path) -> None:
    shim = tmp_path / "mainstay"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mainstay "$@"\n')
    shim.chmod(0o755)
    commands = 0
    for kind, name, text in BLOCK.findall(PAGE.read_text()):
        if kind == "console":
            for step in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
                command, _, expected = step.partition("\n")
                run = subprocess.run(
                    ["sh", "-c", f'PATH="{tmp_path}:$PATH"; {command}'],
                    cwd=tmp_path,
                    capture_output=True,
                    text=True,
                    check=False,
                )
                assert (run.stdout + run.stderr).rstrip() == expected.rstrip(), command
                commands += 1
        else:
            (tmp_path / name).write_text(text)
    assert commands == 4
