"""Header names and values as authors write them, checked once and put into canonical form.

In: mappings of headers. Out: lower-case names, sorted. RFC 9110 §5.1 and §5.5 say what a name and a value are.
"""

from __future__ import annotations

import re

from mainstay.api.findings import Findings
from mainstay.api.istio.virtual_service import HeaderOperations
from mainstay.api.istio.virtual_service import Headers as WrittenHeaders
from mainstay.api.node import Path
from mainstay.api.problems import shorten
from mainstay.model.route import NO_HEADERS, HeaderChanges, Headers

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[^\x00\r\n]*")


def read_name(text: str, found: Findings, path: Path, *, pseudo: bool = False) -> str:
    """Return a header's name in lower case, or report it; ``pseudo`` allows HTTP/2's ``:authority`` and its like."""
    if _NAME.fullmatch(text[1:] if pseudo and text.startswith(":") else text):
        return text.lower()
    found.add("MS1108", path, f"{shorten(text)} is not a header's name", "Write letters, digits and '-'")
    return ""


def read_headers(headers: WrittenHeaders | None, found: Findings, path: Path) -> Headers:
    """Return the changes of both directions."""
    if headers is None:
        return NO_HEADERS
    return Headers(
        _changes(headers.request, found, (*path, "request")),
        _changes(headers.response, found, (*path, "response")),
    )


def _changes(operations: HeaderOperations | None, found: Findings, path: Path) -> HeaderChanges:
    if operations is None:
        return HeaderChanges()
    removed = set()
    for at, name in enumerate(operations.remove):
        here = (*path, "remove", at)
        removed.add(read_name(name, found, here))
        if _is_host(name):
            found.add("MS1108", here, "the host header cannot be removed", "Remove this entry")
    return HeaderChanges(
        _pairs(operations.set, found, (*path, "set"), host_allowed=path[-1] == "request"),
        _pairs(operations.add, found, (*path, "add"), host_allowed=False),
        tuple(sorted(removed)),
    )


def _pairs(
    headers: dict[str, str], found: Findings, path: Path, *, host_allowed: bool
) -> tuple[tuple[str, str], ...]:
    pairs: dict[str, str] = {}
    for written, value in headers.items():
        here = (*path, written)
        # Setting Host is how old rules rewrite the authority, so that spelling of HTTP/2 is taken too.
        if _is_host(written):
            name = written.lower()
            if not host_allowed:
                found.add(
                    "MS1108", here, "the host header can only be set, in requests", "Use rewrite.authority"
                )
        else:
            name = read_name(written, found, here)
        if not _VALUE.fullmatch(value):
            found.add("MS1108", here, "the value has a line break or NUL", "Write it on one line")
        if name in pairs:
            found.add("MS1107", here, f"the header {name} is given twice", "Keep one of them")
        pairs[name] = value
    return tuple(sorted(pairs.items()))


def _is_host(name: str) -> bool:
    return name.lower() in ("host", ":authority")
