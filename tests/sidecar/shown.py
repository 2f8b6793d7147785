"""Which case of the conformance suite shows which field at work: `python tests/sidecar/shown.py` writes `shown.json`.

In: the suite's cases, as the bootstraps they become. Out: `Message.field` → the case with the fewest other fields that sets it.
New cases change nothing by themselves; a case that has gone is found by a test.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

HERE = Path(__file__).resolve().parent
for folder in (HERE, HERE.parent / "conformance"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

import conformance_bootstrap  # noqa: E402
import specimen  # noqa: E402
from conformance_case import fill, load_subjects  # noqa: E402
from conformance_upstream import read_script  # noqa: E402

from mainstay.sidecar.bootstrap import document  # noqa: E402
from mainstay.sidecar.convert.refuse import lenient  # noqa: E402

FILE = HERE / "shown.json"


def fields_of_cases() -> dict[str, set[str]]:
    """Case → `Message.field` of all that its bootstrap sets."""
    found = {}
    for subject in load_subjects():
        for case in subject.cases:
            scripts = case.fields.get("upstreams", {"app": {}})
            upstreams = {
                name: SimpleNamespace(port=9, script=read_script(fill(script, {"host": "x"}, case.name)))
                for name, script in scripts.items()
            }
            alone = dataclasses.replace(subject, cases=(case,))
            made = conformance_bootstrap.write(
                alone, cast(Any, {case.slug: upstreams}), Path("/tmp"), lambda: 9
            )
            with lenient():
                message = document.parse(json.dumps(made.document))
            found[f"conformance {subject.stem}: {case.name}"] = {
                f"{part.DESCRIPTOR.full_name}.{field.name}"
                for _, part in specimen.instances(message)
                for field, _ in part.ListFields()
            }
    return found


def main() -> None:
    cases = fields_of_cases()
    shown: dict[str, str] = {}
    for case in sorted(cases, key=lambda case: (len(cases[case]), case)):
        for field in cases[case]:
            shown.setdefault(field, case)
    FILE.write_text(json.dumps(shown, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
