"""The page of the rules says what the rules say."""

from __future__ import annotations

from rules.page import FILE, page


def test_the_page_is_current() -> None:
    assert FILE.read_text() == page(), "run `make docs`"
