"""The service of every peer as a provider of a name offers it: one string in, one out."""

from __future__ import annotations

import time


class Provider:
    def __init__(self, name: str) -> None:
        self.name = name
        self.notes: list[str] = []

    def echo(self, text: str) -> str:
        return text

    def who(self, _: str) -> str:
        return self.name

    def note(self, text: str) -> str:
        self.notes.append(text)
        return "noted"

    def noted(self, _: str) -> str:
        notes, self.notes = self.notes, []
        return "noted:" + ",".join(notes)

    def fail(self, text: str) -> str:
        raise RuntimeError(text)

    def nap(self, milliseconds: str) -> str:
        time.sleep(int(milliseconds) / 1_000)
        return "slept"
