"""The catalogue: what the shop sells. Version v2 has one thing more."""

from __future__ import annotations

from typing import Any

from serving import VERSION, serve

ITEMS = ["anchor", "compass", "rope"] + (["sextant"] if VERSION != "v1" else [])


def answer(path: str) -> Any:
    return "ok" if path == "/healthz" else {"version": VERSION, "items": ITEMS}


serve(answer)
