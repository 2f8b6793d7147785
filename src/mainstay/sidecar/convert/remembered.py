"""Parts that the resources of a mesh have in common are converted once.

In: a pure conversion of one message. Out: the same, which knows its last answers by the message's bytes. Invariant: under
`lenient` nothing is remembered, since each resource tells what it passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from mainstay.sidecar.convert.refuse import is_lenient

MOST = 64
"""Answers kept; a mesh has a handful of each."""

T = TypeVar("T")


def remembered(convert: Callable[[Any], T]) -> Callable[[Any], T]:
    """A decorator. What is refused is refused anew."""
    answers: dict[bytes, T] = {}

    @wraps(convert)
    def ask(message: Any) -> T:
        if is_lenient():
            return convert(message)
        body = message.SerializeToString()
        try:
            return answers[body]
        except KeyError:
            answer = convert(message)
            if len(answers) >= MOST:
                answers.clear()
            answers[body] = answer
            return answer

    return ask
