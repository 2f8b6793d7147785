"""What this machine has: run-times, loopback addresses, free ports, and who listens wider than loopback.

In: the system. Out: `Machine`, answers, and texts for warnings. The only file of `up` that asks the system about itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import socket
import sys
from pathlib import Path

from mainstay.up.planned import Machine, Ports

_PROBED_ADDRESS = "127.77.1.3"
_PREFERRED_GATEWAY_PORT = 8_080
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_LISTENING = "0A"
_LOOPBACK6 = "0" * 24 + "01000000"
_MAPPED_LOOPBACK = "0000000000000000FFFF0000"


def look_at_machine() -> Machine:
    """Return what this machine offers."""
    found = {name for name in ("node", "java", "go") if shutil.which(name)}
    if importlib.util.find_spec("grpc") is not None:
        found.add("python")
    return Machine(frozenset(found), _can_bind(_PROBED_ADDRESS, 0), sys.executable)


def is_free(address: str) -> bool:
    """Tell whether nobody has a proxy's pages at an address: else another mesh runs there."""
    return _can_bind(address, Ports().admin)


def free_port(address: str) -> int:
    """Return a port for a gateway at an address: 8080, or any."""
    if _can_bind(address, _PREFERRED_GATEWAY_PORT):
        return _PREFERRED_GATEWAY_PORT
    with socket.socket() as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def _can_bind(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError:
            return False
        return True


def accepts(address: str, port: int, timeout_s: float = 0.5) -> bool:
    """Tell whether somebody accepts connections there."""
    try:
        socket.create_connection((address, port), timeout=timeout_s).close()
    except OSError:
        return False
    return True


def find_wide_listeners(group: int) -> list[str]:
    """Return `address:port` of what processes of a group listen on beyond loopback. Empty where the system does not show it."""
    inodes: set[str] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            if os.getpgid(int(folder.name)) == group:
                inodes |= _socket_inodes(folder / "fd")
    tables = []
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            tables.append(Path("/proc/net", name).read_text())
    return wide_listeners(tables, inodes)


def _socket_inodes(folder: Path) -> set[str]:
    found: set[str] = set()
    for link in folder.iterdir():
        with contextlib.suppress(OSError):
            if match := _SOCKET.fullmatch(os.readlink(link)):
                found.add(match[1])
    return found


def wide_listeners(tables: list[str], inodes: set[str]) -> list[str]:
    """Return what listens beyond loopback: rows of the kernel's tables (`/proc/net/tcp`, `tcp6`) with one of these sockets."""
    found: set[str] = set()
    for table in tables:
        for row in table.splitlines()[1:]:
            fields = row.split()
            if len(fields) < 10 or fields[3] != _LISTENING or fields[9] not in inodes:
                continue
            address, _, port = fields[1].partition(":")
            if not _is_loopback(address):
                found.add(f"{_show_address(address)}:{int(port, 16)}")
    return sorted(found)


def _is_loopback(address: str) -> bool:
    """Addresses are hexadecimal in words of four bytes, each in the machine's order: 0100007F is 127.0.0.1."""
    if address == _LOOPBACK6:
        return True
    if len(address) == 32 and not address.startswith(_MAPPED_LOOPBACK):
        return False
    return address[-8:].endswith("7F")


def _show_address(address: str) -> str:
    if len(address) == 8:
        return ".".join(str(byte) for byte in reversed(bytes.fromhex(address)))
    return "[::]" if set(address) == {"0"} else "an IPv6 address"
