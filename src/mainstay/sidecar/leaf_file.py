"""The workload's identity on disk: its key, its certificate, and what it trusts.

One file, mode 0600, replaced as a whole, so that key and certificate always belong together. A key without a certificate is one
that is joining: a token accepts only the key that used it first, so the key must outlive a crash in between.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from mainstay.identity.join_wire import Joined
from mainstay.sidecar.private_file import replace_file


class Stored(msgspec.Struct, frozen=True):
    """`key`: PKCS#8 PEM. `joined`: what the control plane issued for it, or `None` so far."""

    key: str
    joined: Joined | None = None

    def __repr__(self) -> str:
        return f"Stored(…, identity={self.joined.identity if self.joined else None})"


_decode = msgspec.json.Decoder(Stored).decode
_encode = msgspec.json.Encoder().encode


class LeafFile:
    """The file; `path` None keeps it in memory (a workload without a data directory)."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._kept: Stored | None = None

    def load(self) -> Stored | None:
        """What is there; `None` also for a file that is not ours. Raises OSError if it cannot be read."""
        if self._path is None or not self._path.exists():
            return self._kept
        try:
            return _decode(self._path.read_bytes())
        except msgspec.DecodeError:
            return None

    def save(self, stored: Stored) -> None:
        """Raises OSError; memory has it all the same."""
        self._kept = stored
        if self._path is None:
            return
        replace_file(self._path, _encode(stored))
