"""Reviews, from the standard library alone."""

from __future__ import annotations

from typing import Any

from serving import VERSION, serve


def answer(path: str) -> Any:
    return "ok" if path == "/healthz" else {"version": VERSION, "reviews": [{"item": "anchor", "stars": 5}]}


serve(answer)
