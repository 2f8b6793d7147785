"""Expected beside observed. A text is meant literally; after `~` it is an expression for the whole; null means absent."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance_client import Observed
    from conformance_wire import Message


def same(wanted: Any, got: Any) -> bool:
    """Whether one value is as it should be."""
    if isinstance(wanted, str) and wanted.startswith("~"):
        return got is not None and re.fullmatch(wanted[1:], str(got), re.DOTALL) is not None
    if wanted is None or got is None:
        return wanted is None and got is None
    return str(wanted) == str(got)


def within(wanted: Any, got: float) -> bool:
    """A number, or the lowest and the highest allowed."""
    if isinstance(wanted, list):
        return bool(wanted[0] <= got <= wanted[1])
    return bool(wanted == got)


def check_fields(wanted: dict[str, Any], got: list[tuple[str, str]], what: str) -> list[str]:
    """Fields of a head or a trailer: a list means all values in their order, a single text the values joined."""
    wrong = []
    for name, value in wanted.items():
        values = [one for key, one in got if key.lower() == name]
        if isinstance(value, list):
            fine = len(value) == len(values) and all(map(same, value, values))
        else:
            fine = same(value, ", ".join(values) if values else None)
        if not fine:
            wrong.append(f"{what} {name}: wanted {value!r}, got {values!r}")
    return wrong


def check_body(wanted: Any, got: bytes, what: str) -> list[str]:
    if isinstance(wanted, dict):
        if "size" in wanted:
            return (
                [] if within(wanted["size"], len(got)) else [f"{what}: wanted {wanted}, got {len(got)} bytes"]
            )
        wanted = str(wanted["repeat"]) * int(wanted["times"])
    text = got.decode("latin-1")
    return [] if same(wanted, text) else [f"{what}: wanted {wanted!r}, got {text[:300]!r}"]


def check_outcome(wanted: dict[str, Any], got: Observed) -> list[str]:
    """What the client observed."""
    wrong = []
    message = got.message
    for key in ("status", "closed", "reset", "tls", "alpn", "goaway"):
        if key in wanted and not same(wanted[key], getattr(got, key)):
            wrong.append(f"{key}: wanted {wanted[key]!r}, got {getattr(got, key)!r}")
    if "interim" in wanted and wanted["interim"] != got.interim:
        wrong.append(f"interim: wanted {wanted['interim']}, got {got.interim}")
    if "took_ms" in wanted and not within(wanted["took_ms"], got.took_ms):
        wrong.append(f"took_ms: wanted {wanted['took_ms']}, got {got.took_ms:.0f}")
    if message is None:
        return wrong if not ({"headers", "body", "trailers"} & set(wanted)) else [*wrong, "no response"]
    wrong += check_fields(wanted.get("headers", {}), message.fields, "header")
    wrong += check_fields(wanted.get("trailers", {}), message.trailers, "trailer")
    if "names" in wanted:
        wrong += [
            f"no header written {name!r}: {message.names}"
            for name in wanted["names"]
            if name not in message.names
        ]
    if "body" in wanted:
        wrong += check_body(wanted["body"], message.body, "body")
    return wrong


def check_seen(wanted: dict[str, Any] | None, got: Message | None, who: str) -> list[str]:
    """What an upstream saw; null: nothing."""
    if wanted is None or got is None:
        return [] if wanted is None and got is None else [f"{who} saw {got}, wanted {wanted}"]
    method, path, *_ = got.start.split(" ")
    values = dict(got.fields)
    seen = {
        "method": values.get(":method", method),
        "path": values.get(":path", path),
        "authority": values.get(":authority") or ", ".join(got.values("host")) or None,
        "scheme": values.get(":scheme"),
        "protocol": got.protocol,
        "chunked": got.chunked,
        "whole": got.whole,
    }
    wrong = [
        f"{who} saw {key}: wanted {wanted[key]!r}, got {value!r}"
        for key, value in seen.items()
        if key in wanted and not same(wanted[key], value)
    ]
    wrong += check_fields(wanted.get("headers", {}), got.fields, f"{who} saw header")
    wrong += check_fields(wanted.get("trailers", {}), got.trailers, f"{who} saw trailer")
    if "names" in wanted:
        wrong += [f"{who} saw no {name!r}: {got.names}" for name in wanted["names"] if name not in got.names]
    if "body" in wanted:
        wrong += check_body(wanted["body"], got.body, f"{who} saw body")
    return wrong
