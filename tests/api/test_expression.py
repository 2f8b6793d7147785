"""Regular expressions: RE2's are taken, others are refused with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainstay.api.expression import find_fault


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/api/v[0-9]+/.*",
        r"\d{2,3}\.\w+\b",
        r"\pL\p{Greek}\P{^Latin}",
        "[[:alpha:]_][^[:space:]]*",
        "(?i)abc(?s:.)(?-i)",
        "(?P<name>a)(?<other>b)",
        r"\Qa.b*c\E",
        r"\x{10FFFF}\x41\z",
        "a{,3}",
        "a??b*?c+?",
        "(?U)a+",
        r"[\pL\d\]]",
        "[]a]",
        "{",
    ],
)
def test_what_re2_takes_is_taken(text: str) -> None:
    assert find_fault(text) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a(?=b)", "looks around at 1"),
        ("(?<!a)b", "looks around at 0"),
        (r"(a)\1", "refers back to a group at 3"),
        ("(?P<n>a)(?P=n)", "refers back"),
        ("(?>a)", "does not know"),
        ("a*+", "possessive"),
        ("a{2}{3}", "repeats a repetition"),
        ("a{1001}", "repeats more than 1,000 times"),
        ("(a", "cannot be read"),
        ("[a", "cannot be read"),
        ("*a", "cannot be read"),
        ("a" * 1_025, "1,024 are the limit"),
    ],
)
def test_what_re2_cannot_is_refused_with_the_reason(text: str, reason: str) -> None:
    fault = find_fault(text)
    assert fault is not None
    assert reason in fault


@given(st.text(alphabet=r"a0()[]{}*+?|\.^$-,:=!<>PQEpd1", max_size=30))
def test_no_expression_raises(text: str) -> None:
    find_fault(text)
