"""What one client has, of one kind on one stream: taken, under way, refused.

In: responses sent and verdicts. Out: what differs from a view. Invariants: `taken` is what the client works with; at most one
response is under way; a refused version is not sent again on the stream, any other is. Resources are shared with everyone else's
ledgers: one entry costs two pointers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from mainstay.xds.server.types import Ref, Refused, Resource

MAX_WORDS = 2_000
"""Characters kept of what a proxy says about one resource."""


class Claimed(msgspec.Struct, frozen=True):
    """A resource that the client brought along from an earlier stream: only its version is known."""

    name: str
    claim: str
    body: bytes = b""
    refers: tuple[Ref, ...] = ()

    @property
    def version(self) -> bytes:
        """What no resource of ours has, if the claim is none of our versions."""
        try:
            return bytes.fromhex(self.claim)
        except ValueError:
            return self.claim.encode()


class UnderWay(msgspec.Struct):
    """The response that waits for its verdict; `sent` None means removed."""

    nonce: str
    since: int
    sent: dict[str, Resource | None]


class Ledger:
    """See the module."""

    __slots__ = ("_nonces", "refused", "taken", "under_way")

    def __init__(self) -> None:
        self.taken: dict[str, Resource] = {}
        self.refused: dict[str, Refused] = {}
        self.under_way: UnderWay | None = None
        self._nonces = 0

    @property
    def last_nonce(self) -> str:
        """The nonce of the newest response; empty before the first."""
        return str(self._nonces) if self._nonces else ""

    def claim(self, held: Mapping[str, str]) -> None:
        """Versions that the client brought along."""
        for name, version in held.items():
            self.taken[name] = Claimed(name, version)

    def confirm(self, resource: Resource) -> None:
        """What was claimed is this very resource."""
        self.taken[resource.name] = resource

    def begin(self, sent: dict[str, Resource | None], now: int) -> str:
        """Notes a response and returns its nonce."""
        self._nonces += 1
        nonce = str(self._nonces)
        self.under_way = UnderWay(nonce, now, sent)
        return nonce

    def is_new(self, resource: Resource) -> bool:
        """Whether the client lacks this version and has not refused it."""
        have = self.taken.get(resource.name)
        if have is not None and have.version == resource.version:
            return False
        refused = self.refused.get(resource.name)
        return refused is None or refused.version != resource.version

    def accept(self) -> None:
        """The response under way was taken, all of it."""
        under_way, self.under_way = self.under_way, None
        if under_way is not None:
            for name, resource in under_way.sent.items():
                self._take(name, resource)

    def refuse(self, words: str) -> tuple[Refused, ...]:
        """The response under way was refused: those that the words name, or all of it if they name none."""
        under_way, self.under_way = self.under_way, None
        if under_way is None:
            return ()
        new = {
            name: resource
            for name, resource in under_way.sent.items()
            if resource is not None and resource is not self.taken.get(name)
        }
        lines = find_words(words, new)
        for name, resource in under_way.sent.items():
            if name not in lines:
                self._take(name, resource)
        refused = tuple(Refused(name, new[name].version, lines[name][:MAX_WORDS]) for name in sorted(lines))
        self.refused.update((each.name, each) for each in refused)
        return refused

    def forget(self, name: str) -> None:
        """The client has dropped this name by itself."""
        self.taken.pop(name, None)
        self.refused.pop(name, None)
        if self.under_way is not None:
            self.under_way.sent.pop(name, None)

    def _take(self, name: str, resource: Resource | None) -> None:
        self.refused.pop(name, None)
        if resource is None:
            self.taken.pop(name, None)
        else:
            self.taken[name] = resource


def find_words(words: str, names: Iterable[str]) -> dict[str, str]:
    """Which of these names a NACK is about, with the words about each.

    Our sidecars write a line per resource, beginning with its name. From others a resource counts if the text names it; if it
    names none, all of the response is refused.
    """
    known = list(names)
    found: dict[str, list[str]] = {}
    for line in words.split("\n"):
        name = max((one for one in known if line.startswith(f"{one}: ")), key=len, default=None)
        if name is not None:
            found.setdefault(name, []).append(line[len(name) + 2 :])
    if found:
        return {name: "\n".join(lines) for name, lines in found.items()}
    named = [name for name in known if _names(words, name)]
    return dict.fromkeys(named or known, words)


def _names(words: str, name: str) -> bool:
    """Whether a text holds a name as a word of its own."""
    at = words.find(name)
    while at >= 0 and name:
        before = words[at - 1] if at else " "
        after = words[at + len(name)] if at + len(name) < len(words) else " "
        if not (before.isalnum() or before in "_|-.") and not (after.isalnum() or after in "_|-"):
            return True
        at = words.find(name, at + 1)
    return False
