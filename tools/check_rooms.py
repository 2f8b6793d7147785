"""Checks that rooms of the engine import one way, and that only `py` knows pyo3 and only `reactor/sys` and `py` hold unsafe code.

Prints every offence as file:line and exits 1 if there is one.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent / "engine" / "src"

ROOMS = (
    "bytes",
    "message",
    "plan",
    "matching",
    "codec",
    "tls",
    "route",
    "telemetry",
    "filter",
    "upstream",
    "snapshot",
    "stream",
    "reactor",
    "admin",
    "engine",
    "py",
)
"""From bottom to top: a room may use those before it."""

EXCEPTIONS = {("route", "telemetry")}
"""Header mutations evaluate the command operators of access logs."""

USED = re.compile(r"\bcrate::(?:\{([^}]*)\}|(\w+))")


def used_rooms(line: str) -> list[str]:
    """Rooms that a line of Rust refers to through `crate::`."""
    found = []
    for group, single in USED.findall(line):
        found += [part.strip().split("::")[0] for part in group.split(",")] if group else [single]
    return found


def offences() -> list[str]:
    order = {room: index for index, room in enumerate(ROOMS)}
    found = []
    for path in sorted(ROOT.rglob("*.rs")):
        relative = path.relative_to(ROOT)
        room = relative.parts[0].removesuffix(".rs")
        if room not in order or relative.parts[0] == "bin":
            continue
        where = f"engine/src/{relative}"
        for number, line in enumerate(path.read_text().splitlines(), 1):
            code = line.split("//")[0]
            for used in used_rooms(code):
                if order.get(used, -1) > order[room] and (room, used) not in EXCEPTIONS:
                    found.append(f"{where}:{number}: {room} may not use {used}")
            if re.search(r"\bpyo3\b", code) and room != "py":
                found.append(f"{where}:{number}: only py knows pyo3")
            if re.search(r"\bunsafe\b(?!_)", code) and not (
                room == "py" or relative.as_posix() == "reactor/sys.rs"
            ):
                found.append(f"{where}:{number}: unsafe code belongs in reactor/sys.rs")
    return found


if __name__ == "__main__":
    found = offences()
    print("\n".join(found) if found else "rooms: one way")
    sys.exit(bool(found))
