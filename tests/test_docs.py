"""Pages say what the code says: the reference is made of it, and commands of the guides can be given."""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mainstay.cli.verbs import VERBS

ROOT = Path(__file__).resolve().parent.parent


def test_generated_pages_are_current() -> None:
    spec = importlib.util.spec_from_file_location("generate_docs", ROOT / "tools" / "generate_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.stale_pages() == [], "run `make docs`"


def commands_of(page: Path) -> list[str]:
    """Lines of a page's code that call a verb, with those that go on behind a backslash."""
    text = page.read_text().replace("\\\n", " ")
    blocks = text.split("```")[1::2]
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    spoken = re.findall(r"`(mainstay [^`\n]+)`", text)
    return [line for line in (*lines, *spoken) if line.startswith("mainstay ")]


CONSTANT = re.compile(r"`((?:\w+(?:::|\.))+)([A-Z][A-Z_0-9]+)`")
DEFINED = re.compile(
    r"^\s*(?:pub(?:\([\w: ]+\))? )?(?:const |static )?([A-Z][A-Z_0-9]+)(?:: [^=]+)? = ", re.MULTILINE
)


def constants() -> dict[str, list[str]]:
    """Names of constants, and the modules that define one so called."""
    found: dict[str, list[str]] = {}
    for root, ending in ((ROOT / "engine" / "src", ".rs"), (ROOT / "src" / "mainstay", ".py")):
        for file in root.rglob(f"*{ending}"):
            module = "/" + str(file.relative_to(root)).removesuffix(ending)
            module = module.removesuffix("/mod").removesuffix("/__init__")
            for name in DEFINED.findall(file.read_text()):
                found.setdefault(name, []).append(module)
    return found


def test_limits_are_named_where_they_are() -> None:
    page, known = (ROOT / "docs" / "limits.md").read_text(), constants()
    named = CONSTANT.findall(page)
    assert len(named) > 20
    for place, name in named:
        module = "/" + re.sub(r"::|\.", "/", place).rstrip("/")
        assert any(each.endswith(module) for each in known.get(name, [])), f"{place}{name}: {known.get(name)}"


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_the_guides_have_verbs_and_flags_that_exist(page: Path) -> None:
    for line in commands_of(page):
        command = line.partition("#")[0]
        verbs = command.split()[1].split("|")
        for verb in verbs:
            assert verb in VERBS, line
            helps = text_of_help(verb)
            for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", command):
                assert re.search(rf"(?<![\w-]){flag}\b", helps), f"{flag} in {line!r}"


@functools.cache
def text_of_help(verb: str) -> str:
    """Of a verb and of all below it."""
    told = subprocess.run(
        [sys.executable, "-m", "mainstay", verb, "--help"], capture_output=True, text=True, check=True
    ).stdout
    _, _, below = told.partition("\nCommands:\n")
    names = [line.split()[0] for line in below.splitlines() if re.match(r"  [a-z]", line)]
    return "\n".join((told, *(text_of_help_below(verb, name) for name in names)))


def text_of_help_below(verb: str, name: str) -> str:
    command = [sys.executable, "-m", "mainstay", verb, name, "--help"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
