"""What a conversion gathers beside its plan struct.

In: what converters come across. Out: secrets that stood inline or in files, now under names of their own; the files that were
read, so that a change of theirs is noticed; whence the names come that the resource needs, where that is not ADS, and how long
they are waited for, where that is not the default.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from mainstay.sidecar import plan
from mainstay.sidecar.convert.exec_check import ExecCheck
from mainstay.sidecar.convert.references import Kind, Reference
from mainstay.sidecar.convert.source import AGGREGATED, PATIENCE_MS, Source

INLINE = "inline:"
"""Before the names of secrets and endpoints that stood in the resource itself."""

ReadFile = Callable[[str], bytes]
"""Reads a file that a resource names; raises OSError, or ValueError for one that cannot be taken."""


def no_files(path: str) -> bytes:
    raise ValueError(f"{path}: files are not read here; give the data inline")


class Gathered:
    """Of one resource. `owner`: kind and name."""

    def __init__(self, owner: str, read_file: ReadFile = no_files) -> None:
        self._owner = owner
        self._read_file = read_file
        self.secrets: list[plan.Secret] = []
        self.endpoints: list[plan.Endpoints] = []
        self.files: list[str] = []
        self.sources: dict[Reference, Source] = {}
        self.command: ExecCheck | None = None
        """A probe that is a command: the engine runs none."""
        self.patience: dict[Reference, int | None] = {}

    def add_secret(self, material: plan.CertificateMaterial | plan.ValidationMaterial) -> str:
        """The name under which the secret stands from now on."""
        name = f"{INLINE}{self._owner}:{len(self.secrets)}"
        self.secrets.append(plan.Secret(name, material))
        return name

    def add_endpoints(self, endpoints: plan.Endpoints) -> str:
        """The service by which endpoints are found that stood in their cluster and have what only discovered ones have."""
        name = f"{INLINE}{self._owner}"
        self.endpoints.append(msgspec.structs.replace(endpoints, service=name))
        return name

    def read_file(self, path: str) -> bytes:
        """Noted also if it cannot be read: it may come later."""
        self.files.append(path)
        return self._read_file(path)

    def name(self, kind: Kind, name: str, source: Source, waits: int | None = PATIENCE_MS) -> None:
        """The resource names another one, which comes from `source`, and waits for it: milliseconds, `None`: for ever."""
        if source != AGGREGATED:
            self.sources[kind, name] = source
        if waits != PATIENCE_MS:
            self.patience[kind, name] = waits
