"""What is published about kinds: schemas, reference pages."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from api_reading import kind

import mainstay
from mainstay.api.codes import CODES
from mainstay.api.kinds import KINDS
from mainstay.api.publish import reference_page, schema_document

ROOT = Path(__file__).parents[2]


def test_the_reference_pages_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "tools" / "generate_docs.py"), "--check"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_schema_stands_alone() -> None:
    for each in KINDS:
        text = json.dumps(schema_document(each))
        assert "$ref" not in text
        assert '"kind": {"const": "' + each.name + '"}' in text


def test_fields_that_do_not_work_yet_are_in_the_page_and_not_in_the_schema() -> None:
    virtual = kind("VirtualService")
    assert "corsPolicy" not in json.dumps(schema_document(virtual))
    assert "| `corsPolicy` | | | *not yet:* cross-origin resource sharing |" in reference_page([virtual])


def test_every_code_that_is_used_is_explained() -> None:
    used = {
        code
        for file in Path(mainstay.__path__[0]).rglob("*.py")
        for code in re.findall(r'"((?:MS|IST)[0-9]{4})"', file.read_text())
    }
    assert used == set(CODES)


def test_codes_have_a_paragraph() -> None:
    assert all(code.title and code.text.endswith(".") for code in CODES.values())
