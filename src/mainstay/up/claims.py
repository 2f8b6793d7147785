"""Loopback addresses that one `up` keeps from all others of this machine.

In: addresses. Out: whether they are ours now. Invariant: of two that ask at once one gets it, by a socket bound there until the
end; the system lets go of it however we die. UDP, so that no port of an application is in its way.
"""

from __future__ import annotations

import errno
import socket
from types import TracebackType

CLAIM_PORT = 14_999


class Claims:
    """What this process has claimed; a context, at whose end others may have it."""

    def __init__(self) -> None:
        self._held: list[socket.socket] = []

    def claim(self, address: str) -> bool:
        """Claim an address; false if somebody else has it."""
        held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            held.bind((address, CLAIM_PORT))
        except OSError as error:
            held.close()
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        self._held.append(held)
        return True

    def __enter__(self) -> Claims:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for held in self._held:
            held.close()
        self._held.clear()
