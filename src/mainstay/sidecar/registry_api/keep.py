"""What the application has registered, over restarts of brain and process: it registers once, and not again because we died.

In: `machine.State`. Out: the same later. Invariant: memory has the newest also if the disk does not take it.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from mainstay.sidecar.private_file import replace_file
from mainstay.sidecar.registry_api.machine import State
from mainstay.telemetry.log import get_log

_log = get_log("sidecar.registry")
_decode = msgspec.json.Decoder(State).decode
_encode = msgspec.json.Encoder().encode


class Keep:
    """Outlives brains; `path` None outlives no process."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._state = self._load()
        self._is_revived = bool(self._state.published)

    @property
    def state(self) -> State:
        return self._state

    def take_revived(self) -> bool:
        """Whether something published comes from a former process, whose application may have gone with it. Told once."""
        revived, self._is_revived = self._is_revived, False
        return revived

    def save(self, state: State) -> None:
        """Never raises for the disk."""
        self._state = state
        if self._path is None:
            return
        try:
            replace_file(self._path, _encode(state))
        except OSError as error:
            _log.error("cannot write what the application registered", file=self._path, reason=error)

    def _load(self) -> State:
        if self._path is None or not self._path.exists():
            return State()
        try:
            return _decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            _log.error("cannot read what the application registered", file=self._path, reason=error)
            return State()
