"""An object as decoded: kind, metadata, typed spec, and the way back to file, line and column.

In: made by ``decode`` only. Out: read by ``translate``, ``check``, the REST API. Invariant: an object has passed its
kind's decoder, so every field is of its type and in its range; references may dangle.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from mainstay.api.define import Anything, Labels, Length, Part, Pattern
from mainstay.api.document import Document
from mainstay.api.node import Path
from mainstay.model.key import ObjectKey
from mainstay.model.problem import Problem

if TYPE_CHECKING:
    from mainstay.api.kind import Kind

NAME = Pattern(
    r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?",
    "lower-case letters, digits, '-' and '.', beginning and ending with a letter or digit",
)
NAMESPACE = Pattern(
    r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?",
    "lower-case letters, digits and '-', beginning and ending with a letter or digit",
)


class Metadata(Part, frozen=True):
    """What every object has. Fields that only a server writes are taken and not interpreted, so that what one reads can be
    written back."""

    name: Annotated[str, "Name, unique among objects of the kind in the namespace.", NAME]
    namespace: Annotated[str | None, "Namespace; the caller's default where absent.", NAMESPACE] = None
    labels: Annotated[Labels, "Labels, by which others may select the object.", Length(0, 256)] = {}
    annotations: Annotated[Labels, "Annotations, not used for selection.", Length(0, 256)] = {}
    resource_version: Annotated[
        str | None, "Revision this text was read at; a write is refused if it is old."
    ] = None
    creation_timestamp: Annotated[
        str | None, "Set by the server, RFC 3339; of two claims the older one wins."
    ] = None
    generation: Annotated[int | None, "Set by the server: grows with each change of the spec."] = None
    uid: Annotated[str | None, "Set by the server."] = None
    generate_name: Annotated[str | None, "Set by the server's controllers; not interpreted."] = None
    self_link: Annotated[str | None, "Set by old servers; not interpreted."] = None
    deletion_timestamp: Annotated[str | None, "Set by the server; not interpreted."] = None
    deletion_grace_period_seconds: Annotated[int | None, "Set by the server; not interpreted."] = None
    finalizers: Annotated[tuple[str, ...], "Set by Kubernetes controllers; not interpreted."] = ()
    owner_references: Annotated[Anything, "Set by Kubernetes controllers; not interpreted."] = None
    managed_fields: Annotated[Anything, "Set by Kubernetes; not interpreted."] = None


class Object(msgspec.Struct, frozen=True):
    """One object. ``namespace`` is empty for kinds without; ``spec`` is the struct of ``kind``."""

    kind: Kind
    namespace: str
    metadata: Metadata
    spec: Any
    document: Document

    @property
    def name(self) -> str:
        """Name within kind and namespace."""
        return self.metadata.name

    @property
    def key(self) -> ObjectKey:
        """Namespace and name."""
        return ObjectKey(self.namespace, self.metadata.name)

    @property
    def label(self) -> str:
        """``Kind/namespace/name``, or ``Kind/name`` for kinds without namespace."""
        return "/".join(part for part in (self.kind.name, self.namespace, self.name) if part)

    @property
    def created(self) -> int:
        """Unix milliseconds of ``creationTimestamp``, 0 where unknown or unreadable."""
        try:
            return int(datetime.fromisoformat(self.metadata.creation_timestamp or "").timestamp() * 1_000)
        except (ValueError, OverflowError):
            return 0

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return self.metadata.labels

    def problem(self, code: str, path: Path, reason: str, remedy: str) -> Problem:
        """Return a problem of this object at ``path``."""
        found = self.document.problem(code, path, reason, remedy)
        return msgspec.structs.replace(found, object=self.label)
