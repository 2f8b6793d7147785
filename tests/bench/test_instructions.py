"""Counting instructions: callgrind's files are read as they are meant."""

from __future__ import annotations

from pathlib import Path

from bench.instructions import read_profile

CALLGRIND = """\
positions: line
events: Ir

fl=(1) /src/a.rs
fn=(1) serve
10 100
fi=(2) /src/inlined.rs
+2 20
fe=(1)
* 5
cfn=(2) malloc
calls=7 30
-1 70

fl=(3) malloc.c
fn=(2)
30 70
"""


def test_costs_go_to_functions_files_and_callers(tmp_path: Path) -> None:
    file = tmp_path / "callgrind.out"
    file.write_text(CALLGRIND)
    told = read_profile(file, requests=2)
    assert told.alone == {"serve": 125, "malloc": 70}
    assert told.whole == {"serve": 195, "malloc": 70}
    assert told.files == {"/src/a.rs": 105, "/src/inlined.rs": 20, "malloc.c": 70}
    assert told.calls == {"malloc": 7}


def test_a_short_run_is_taken_off_a_long_one(tmp_path: Path) -> None:
    file = tmp_path / "callgrind.out"
    file.write_text(CALLGRIND)
    short = read_profile(file, requests=2)
    file.write_text(CALLGRIND.replace("10 100", "10 300"))
    less = read_profile(file, requests=6).less(short)
    assert (less.requests, less.alone["serve"], less.calls["malloc"]) == (4, 200, 0)
