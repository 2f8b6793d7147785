"""Writes the plans of described protocols for the engine's tests and fuzzers: `python tools/generate_protocols.py`.

In: the shipped descriptions and those of the tests. Out: JSON under `engine/testdata/protocols/`; a test holds them current. The
engine itself gets its plans across the border; its tests have no Python.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.read import read_descriptions, shipped_texts

ROOT = Path(__file__).resolve().parent.parent
PLANS = ROOT / "engine" / "testdata" / "protocols"


def plans() -> dict[str, str]:
    """The JSON of every plan, by file name."""
    texts = [(f"{name}.yaml", text) for name, text in shipped_texts().items()]
    own = sorted((ROOT / "tests" / "protocols").glob("*.yaml"))
    found, problems = read_descriptions([*texts, *((path.name, path.read_text()) for path in own)])
    if problems:
        raise SystemExit("\n".join(map(str, problems)))
    return {
        f"{each.name}.json": json.dumps(
            msgspec.to_builtins(compile_protocol(each.name, each.description), builtin_types=(bytes,)),
            default=list,
            separators=(",", ":"),
        )
        + "\n"
        for each in found
    }


def stale() -> list[str]:
    """Names of plans whose file differs from what the descriptions say."""
    return [
        name
        for name, text in plans().items()
        if not (PLANS / name).exists() or (PLANS / name).read_text() != text
    ]


if __name__ == "__main__":
    PLANS.mkdir(parents=True, exist_ok=True)
    for name, text in plans().items():
        (PLANS / name).write_text(text)
        print(f"engine/testdata/protocols/{name}")
    sys.exit(0)
