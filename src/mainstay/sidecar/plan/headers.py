"""Changes of headers, of routes and of filters."""

from __future__ import annotations

from typing import Literal

import msgspec

HeaderChangeKind = Literal[
    "append_if_exists_or_add", "add_if_absent", "overwrite_if_exists_or_add", "overwrite_if_exists"
]


class HeaderChange(msgspec.Struct, frozen=True):
    name: str
    value: str
    action: HeaderChangeKind = "append_if_exists_or_add"
    keep_empty: bool = False


class RouteHeaders(msgspec.Struct, frozen=True):
    request: tuple[HeaderChange, ...] = ()
    response: tuple[HeaderChange, ...] = ()
    request_remove: tuple[str, ...] = ()
    response_remove: tuple[str, ...] = ()
