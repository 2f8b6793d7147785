"""Carries out the test's commands: a query string a line in, one a line out."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

if TYPE_CHECKING:
    from collections.abc import Callable

    Call = Callable[[dict[str, str], str], str]

_TOGETHER = 64


def run(command: dict[str, str], call: Call, many: Callable[[dict[str, str], list[str]], list[str]]) -> str:
    size, count = int(command.get("size", "0")), int(command.get("count", "1"))
    text = "x" * size if size else command.get("text", "")
    if count == 1:
        value = call(command, text)
        return f"{'same' if value == text else 'other'} {len(value)}" if size else value
    texts = [f"{text}{number}" for number in range(count)]
    return str(sum(got == sent for got, sent in zip(many(command, texts), texts, strict=True)))


def in_threads(call: Call) -> Callable[[dict[str, str], list[str]], list[str]]:
    """Many calls at a time by a client that blocks."""

    def many(command: dict[str, str], texts: list[str]) -> list[str]:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            return list(pool.map(lambda text: call(command, text), texts))

    return many


def serve(call: Call, many: Callable[[dict[str, str], list[str]], list[str]] | None = None) -> None:
    print("ready", flush=True)
    for line in sys.stdin:
        command = dict(parse_qsl(line.strip(), keep_blank_values=True))
        try:
            answer = {"value": run(command, call, many or in_threads(call))}
        except Exception as error:
            answer = {"error": type(error).__name__, "message": str(error)}
        print(urlencode(answer), flush=True)
