"""Matches on strings, headers and query parameters, shared by routes and policies."""

from __future__ import annotations

import msgspec


class ExactText(msgspec.Struct, frozen=True, tag_field="kind", tag="exact"):
    text: str


class PrefixText(msgspec.Struct, frozen=True, tag_field="kind", tag="prefix"):
    text: str


class SuffixText(msgspec.Struct, frozen=True, tag_field="kind", tag="suffix"):
    text: str


class ContainsText(msgspec.Struct, frozen=True, tag_field="kind", tag="contains"):
    text: str


class RegexText(msgspec.Struct, frozen=True, tag_field="kind", tag="regex"):
    text: str


StringTest = ExactText | PrefixText | SuffixText | ContainsText | RegexText


class StringMatch(msgspec.Struct, frozen=True):
    test: StringTest
    ignore_case: bool = False


class PresentTest(msgspec.Struct, frozen=True, tag_field="kind", tag="present"):
    present: bool


class TextTest(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    matches: StringMatch


class RangeTest(msgspec.Struct, frozen=True, tag_field="kind", tag="range"):
    start: int
    end: int


class HeaderMatch(msgspec.Struct, frozen=True):
    name: str
    test: PresentTest | TextTest | RangeTest
    invert: bool = False
    absent_as_empty: bool = False


class QueryMatch(msgspec.Struct, frozen=True):
    name: str
    test: PresentTest | TextTest


class Fraction(msgspec.Struct, frozen=True):
    numerator: int
    denominator: int
