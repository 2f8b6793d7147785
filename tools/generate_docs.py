"""Writes the reference pages from the code: `python tools/generate_docs.py [--check]`.

In: settings structs, kinds, problem codes, converters. Out: files under `docs/reference/`; with `--check`, exit status 1 and
their names if any is stale (a test does that). What is written here is never edited by hand.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from mainstay.api.kinds import KINDS
from mainstay.api.publish import problems_page, reference_page, schema_document
from mainstay.protocols.page import protocols_page
from mainstay.protocols.read import description_schema
from mainstay.settings.document import write_reference
from mainstay.sidecar.support.page import support_page

SHOWN = Path(__file__).resolve().parent.parent / "tests" / "sidecar" / "shown.json"
"""Which test shows which field of a bootstrap at work."""

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"


def mesh_schema() -> str:
    """The JSON Schema of the file `mainstay up` takes, for editors."""
    mesh = next(kind for kind in KINDS if kind.name == "Mesh")
    return json.dumps(schema_document(mesh), indent=1, ensure_ascii=False) + "\n"


def protocol_schema() -> str:
    """The JSON Schema of a protocol's description, for editors."""
    return json.dumps(description_schema(), indent=1, ensure_ascii=False) + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "settings.md": write_reference,
    "kinds.md": lambda: reference_page(KINDS),
    "problems.md": problems_page,
    "mesh.schema.json": mesh_schema,
    "protocols.md": protocols_page,
    "protocol.schema.json": protocol_schema,
    "bootstrap.md": lambda: support_page(json.loads(SHOWN.read_text())),
}


def stale_pages() -> list[str]:
    """Names of the pages whose file differs from what the code says."""
    return [
        name
        for name, write in PAGES.items()
        if not (REFERENCE / name).exists() or (REFERENCE / name).read_text() != write()
    ]


def main() -> int:
    if "--check" in sys.argv[1:]:
        stale = stale_pages()
        for name in stale:
            print(f"docs/reference/{name} is stale: run `make docs`")
        return 1 if stale else 0
    REFERENCE.mkdir(parents=True, exist_ok=True)
    for name, write in PAGES.items():
        (REFERENCE / name).write_text(write())
        print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
