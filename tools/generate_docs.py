"""Writes the generated reference pages: `python tools/generate_docs.py` (`make docs`).

In: the definitions of kinds, problem codes and settings. Out: files under `docs/reference/`. With `--check` nothing is written,
and the exit status says whether they are up to date.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from mainstay.api.kinds import KINDS
from mainstay.api.publish import problems_page, reference_page, schema_document
from mainstay.settings.document import write_reference

TARGET = Path(__file__).resolve().parent.parent / "docs" / "reference"


def pages() -> dict[str, str]:
    """Return file name → content."""
    mesh = next(kind for kind in KINDS if kind.name == "Mesh")
    return {
        "kinds.md": reference_page(KINDS),
        "problems.md": problems_page(),
        "mesh.schema.json": json.dumps(schema_document(mesh), indent=1, ensure_ascii=False) + "\n",
        "settings.md": write_reference(),
    }


def main(arguments: list[str]) -> int:
    stale = []
    for name, text in pages().items():
        file = TARGET / name
        if not file.exists() or file.read_text() != text:
            stale.append(name)
            if "--check" not in arguments:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text)
    if "--check" in arguments and stale:
        print(f"out of date: {', '.join(stale)}; run make docs")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
