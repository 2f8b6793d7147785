"""Reads the plan structs out of the engine's Rust sources, for the test that holds their Python twins equal.

In: `engine/src/plan/*.rs`. Out: `{struct or variant: [field, …]}`; a variant of a tagged enum is `Enum.variant`, with the tag
in snake case. A small reader for the subset of Rust that those files use; whatever else it meets is an error.
"""

from __future__ import annotations

import re
from pathlib import Path

PLAN = Path(__file__).resolve().parent.parent / "engine" / "src" / "plan"

_ITEM = re.compile(r"^pub (struct|enum) (\w+)(?:\(([^)]*)\);| \{)", re.MULTILINE)


def snake(name: str) -> str:
    """`StrictDns` as serde's `snake_case` writes it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def read_plan(folder: Path = PLAN) -> dict[str, list[str]]:
    """Fields of every serialised struct and enum variant, in order. Plain enums list their values."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.rs")):
        text = re.sub(r"//[^\n]*", "", path.read_text())
        for item in _ITEM.finditer(text):
            before = text[: item.start()].rsplit("\n\n", 1)[-1]
            if "Deserialize" not in before or item[3] is not None:
                continue
            body = _braced(text, item.end() - 1)
            if item[1] == "struct":
                found[item[2]] = _fields(body)
            elif 'tag = "kind"' in before:
                for variant, inner in _variants(body):
                    found[f"{item[2]}.{snake(variant)}"] = _fields(inner)
            else:
                renamed = dict(re.findall(r'rename = "([^"]+)"\)\]\s*(\w+)', body))
                names = {variant: value for value, variant in renamed.items()}
                found[item[2]] = [names.get(variant, snake(variant)) for variant, _ in _variants(body)]
    return found


def _braced(text: str, start: int) -> str:
    depth = 0
    for at in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[start + 1 : at]
    raise ValueError("unbalanced braces")


def _fields(body: str) -> list[str]:
    return re.findall(r"(?:^|[,{\s])(?:pub )?(\w+): ", re.sub(r"#\[[^\]]*\]", "", body))


def _variants(body: str) -> list[tuple[str, str]]:
    bare = re.sub(r"#\[[^\]]*\]", "", body)
    variants, at = [], 0
    while found := re.compile(r"\s*(\w+)\s*(\{)?").match(bare, at):
        inner = ""
        at = found.end()
        if found[2]:
            inner = _braced(bare, at - 1)
            at += len(inner) + 1
        variants.append((found[1], inner))
        comma = re.compile(r"\s*,?").match(bare, at)
        at = comma.end() if comma else at
    return variants
