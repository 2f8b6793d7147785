"""Writes the plans of described protocols: `python tools/generate_protocols.py`.

In: the shipped descriptions and those of the tests, and the engine's table of native codecs. Out: JSON under
`engine/testdata/protocols/`, for the engine's tests and fuzzers, which have no Python; and under `src/mainstay/protocols/`, for
sidecars and control planes, which need not read what is shipped. A test holds them current.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from mainstay import engine
from mainstay.protocols import native
from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.read import Described, read_descriptions, shipped_texts
from mainstay.protocols.shipped import Shipped
from mainstay.sidecar import plan

ROOT = Path(__file__).resolve().parent.parent
PLANS = ROOT / "engine" / "testdata" / "protocols"
SHIPPED = ROOT / "src" / "mainstay" / "protocols" / "plans"


def plans() -> dict[Path, str]:
    """The JSON of every plan, by its file."""
    shipped = {
        SHIPPED / f"{each.name}.json": msgspec.json.format(
            msgspec.json.encode(
                Shipped(
                    hashlib.sha256(each.text.encode()).hexdigest(),
                    compile_protocol(each.name, each.described.description),
                )
            ),
            indent=1,
        ).decode()
        + "\n"
        for each in _shipped()
    }
    return {native.TABLE: native_table(), **shipped, **_of_tests()}


def native_table() -> str:
    """The engine's native codecs, as JSON."""
    codecs = msgspec.msgpack.decode(engine.native_codecs(), type=list[plan.RpcNative])
    return msgspec.json.format(msgspec.json.encode(codecs), indent=1).decode() + "\n"


class _Read(NamedTuple):
    name: str
    text: str
    described: Described


def _shipped() -> Iterator[_Read]:
    for name, text in shipped_texts().items():
        found, problems = read_descriptions([(f"{name}.yaml", text)])
        if problems:
            raise SystemExit("\n".join(map(str, problems)))
        yield _Read(name, text, found[0])


def _of_tests() -> dict[Path, str]:
    texts = [(f"{name}.yaml", text) for name, text in shipped_texts().items()]
    own = sorted((ROOT / "tests" / "protocols").glob("*.yaml"))
    found, problems = read_descriptions([*texts, *((path.name, path.read_text()) for path in own)])
    if problems:
        raise SystemExit("\n".join(map(str, problems)))
    return {
        PLANS / f"{each.name}.json": json.dumps(
            msgspec.to_builtins(compile_protocol(each.name, each.description), builtin_types=(bytes,)),
            default=list,
            separators=(",", ":"),
        )
        + "\n"
        for each in found
    }


def stale() -> list[str]:
    """Plans whose file differs from what the descriptions say, and files of none."""
    made = plans()
    known = [*PLANS.glob("*.json"), *SHIPPED.glob("*.json")]
    differing = [path for path, text in made.items() if not path.exists() or path.read_text() != text]
    return [str(path.relative_to(ROOT)) for path in (*differing, *sorted(set(known) - made.keys()))]


if __name__ == "__main__":
    # What is read below is compared with these.
    native.TABLE.write_text(native_table())
    for path, text in plans().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        print(path.relative_to(ROOT))
    sys.exit(0)
