"""How a workload gets its identity and keeps it: join by token once, renew by the current leaf from then on.

In: what was on disk, answers and failures of calls, keys made by the engine, time (Unix ms). Out: `Command`s. Invariants: one
call at a time; the first call trusts nobody and its answer counts only if its digest is the token's; a key is saved before it is
shown to anyone; a leaf serves until another is there. The machine neither sees private keys nor opens connections.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from mainstay.identity import join_wire, renewal
from mainstay.identity.bundle import digest_of_bundle
from mainstay.identity.join_wire import BundleAnswer, Joined
from mainstay.model.identity import TrustBundle

Trust = Literal["unverified", "bundle", "leaf"]
"""How the connection of a call is secured: nobody checked · the server by the bundle · both sides."""

BASE_MS, CAP_MS = 500, 30_000
UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT = 16, 7, 3
_FINAL = frozenset({UNAUTHENTICATED, PERMISSION_DENIED, INVALID_ARGUMENT})

# --- events -------------------------------------------------------------------------------------------------------


class Begun(msgspec.Struct, frozen=True):
    """What was on disk, if it is of use: the engine's number of the key, and its certificate."""

    key: int | None = None
    joined: Joined | None = None


class TokenRead(msgspec.Struct, frozen=True):
    """Text of the join token; `text` None: there is none, `reason` says why."""

    text: str | None
    reason: str = ""

    def __repr__(self) -> str:
        return f"TokenRead(…, reason={self.reason!r})"


class KeyMade(msgspec.Struct, frozen=True):
    """Answer to `MakeRequest`."""

    key: int
    csr: bytes


class Answered(msgspec.Struct, frozen=True):
    message: bytes


class Failed(msgspec.Struct, frozen=True):
    """gRPC status and words."""

    status: int
    words: str


class TimerFired(msgspec.Struct, frozen=True):
    pass


Event = Begun | TokenRead | KeyMade | Answered | Failed | TimerFired

# --- commands -----------------------------------------------------------------------------------------------------


class ReadToken(msgspec.Struct, frozen=True):
    """Answer with `TokenRead`. The file is read anew each time, so that it can be replaced."""


class MakeRequest(msgspec.Struct, frozen=True):
    """Make a key unless `key` names one, save it if `save`, sign a request for `uri`, answer with `KeyMade`."""

    key: int | None
    uri: str
    save: bool


class Trusted(msgspec.Struct, frozen=True):
    """The control plane's roots are known: put them in force. `server`: SPIFFE ID of the control plane."""

    bundle: BundleAnswer


class Call(msgspec.Struct, frozen=True):
    trust: Trust
    path: str
    message: bytes

    def __repr__(self) -> str:
        return f"Call({self.trust}, {self.path}, …)"


class Install(msgspec.Struct, frozen=True):
    """Put the leaf and what to trust in force. `save`: they are new."""

    key: int
    joined: Joined
    save: bool


class SetTimer(msgspec.Struct, frozen=True):
    """`TimerFired` at this time (Unix ms); replaces the one before."""

    at: int


class Report(msgspec.Struct, frozen=True):
    """For log and status. `trouble`: empty if all is well."""

    trouble: str
    reason: str = ""


Command = ReadToken | MakeRequest | Trusted | Call | Install | SetTimer | Report

Step = Literal["idle", "bundle", "join", "renew"]


class Certificates:
    """See the module. `random` gives numbers in [0, 1); `namespace` and `account` are what the workload says it is."""

    def __init__(self, node: str, namespace: str, account: str, random: Callable[[], float]) -> None:
        self._node = node
        self._namespace = namespace
        self._account = account
        self._random = random
        self._renewal = renewal.Renewal(random)
        self._step: Step = "idle"
        self._key: int | None = None
        """The key that is joining or renewing."""
        self._leaf_key: int | None = None
        self._token = ""
        self._bundle: BundleAnswer | None = None
        self._joined: Joined | None = None
        self._attempts = 0

    @property
    def joined(self) -> Joined | None:
        """The leaf in force."""
        return self._joined

    def handle(self, event: Event, now: int) -> list[Command]:
        out: list[Command] = []
        match event:
            case Begun():
                self._key = event.key
                if event.key is not None and event.joined is not None and now < event.joined.not_after:
                    self._take(event.joined, event.key, now, out, save=False)
                else:
                    out.append(ReadToken())
            case TokenRead():
                self._begin(event, now, out)
            case KeyMade():
                self._key = event.key
                self._ask(event.csr, out)
            case Answered():
                self._answer(event.message, now, out)
            case Failed():
                self._fail(event.status, event.words, now, out)
            case TimerFired():
                self._on_time(now, out)
        return out

    # --- joining --------------------------------------------------------------------------------------------------

    def _begin(self, read: TokenRead, now: int, out: list[Command]) -> None:
        if read.text is None:
            self._retry(f"there is no join token: {read.reason}", now, out, slow=True)
            return
        try:
            join_wire.read_token(read.text)
        except ValueError as error:
            self._retry(str(error), now, out, slow=True)
            return
        self._token = read.text.strip()
        if self._bundle is not None:
            self._make_request(out)
            return
        self._step = "bundle"
        out.append(Call("unverified", join_wire.GET_BUNDLE, join_wire.encode(join_wire.BundleRequest())))

    def _make_request(self, out: list[Command]) -> None:
        assert self._bundle is not None
        self._step = "join"
        uri = f"spiffe://{self._bundle.trust_domain}/ns/{self._namespace}/sa/{self._account}"
        out.append(MakeRequest(self._key, uri, save=True))

    def _ask(self, csr: bytes, out: list[Command]) -> None:
        if self._step == "renew":
            bundle = self._joined.bundle if self._joined is not None else None
            digest = _digest(bundle) if bundle is not None else ""
            message = join_wire.encode(join_wire.RenewRequest(csr, self._node, digest))
            out.append(Call("leaf", join_wire.RENEW, message))
        else:
            message = join_wire.encode(join_wire.JoinRequest(self._token, csr, self._node))
            out.append(Call("bundle", join_wire.JOIN, message))

    def _answer(self, message: bytes, now: int, out: list[Command]) -> None:
        step, self._step = self._step, "idle"
        try:
            if step == "bundle":
                self._check_bundle(join_wire.decode_bundle(message), now, out)
            elif step != "idle":
                assert self._key is not None
                joined = join_wire.decode_joined(message)
                if step == "renew" and self._joined is not None:
                    # A certificate names no group: that was the token's word, and holds as long as the identity.
                    joined = msgspec.structs.replace(joined, group=self._joined.group)
                self._take(joined, self._key, now, out, save=True)
        except ValueError as error:
            self._step = step
            self._fail(13, f"the control plane's answer cannot be read: {error}", now, out)

    def _check_bundle(self, answer: BundleAnswer, now: int, out: list[Command]) -> None:
        token = join_wire.read_token(self._token)
        if _digest(answer) != token.bundle or answer.server != token.server:
            self._retry(
                "the control plane's trust bundle or name is not the one in the join token: "
                "is this the address of the mesh that issued the token?",
                now,
                out,
                slow=True,
            )
            return
        self._bundle = answer
        out.append(Trusted(answer))
        self._make_request(out)

    # --- holding a leaf -------------------------------------------------------------------------------------------

    def _take(self, joined: Joined, key: int, now: int, out: list[Command], *, save: bool) -> None:
        self._joined, self._bundle, self._leaf_key = joined, joined.bundle, key
        self._key, self._token, self._attempts = None, "", 0
        out.append(Install(key, joined, save))
        out.append(Report(""))
        # A new leaf is backdated, for clocks that go wrong: its life begins now, or a short one would be over half at once.
        begin = now if save else joined.not_before
        self._renew(renewal.LeafIssued(begin, joined.not_after), now, out)

    def _renew(self, event: renewal.Event, now: int, out: list[Command]) -> None:
        for command in self._renewal.handle(event, now):
            match command:
                case renewal.Renew():
                    assert self._joined is not None
                    if now >= self._joined.not_after:
                        # Nobody accepts the leaf any more; only a token helps, and it may know the key.
                        self._key = self._leaf_key
                        self._renew(renewal.RenewalFailed("the certificate has expired"), now, out)
                        out.append(ReadToken())
                        continue
                    self._step = "renew"
                    out.append(MakeRequest(None, self._joined.identity, save=False))
                case renewal.SetTimer(at):
                    out.append(SetTimer(at))
                case renewal.Report(trouble, reason):
                    out.append(Report(f"the certificate is {trouble}" if trouble else "", reason))

    # --- trouble --------------------------------------------------------------------------------------------------

    def _fail(self, status: int, words: str, now: int, out: list[Command]) -> None:
        step, self._step = self._step, "idle"
        reason = f"{words} (gRPC status {status})"
        if step == "renew":
            self._key = None
            self._renew(renewal.RenewalFailed(reason), now, out)
        elif step != "idle":
            self._retry(reason, now, out, slow=status in _FINAL)

    def _retry(self, reason: str, now: int, out: list[Command], *, slow: bool) -> None:
        self._step = "idle"
        span = CAP_MS if slow else min(CAP_MS, BASE_MS << min(self._attempts, 10))
        self._attempts += 1
        hint = "; ask for a new one with `mainstay join-token create`" if slow else ""
        out.append(Report("cannot join the mesh", reason + hint))
        out.append(SetTimer(now + span // 2 + int(span / 2 * self._random())))

    def _on_time(self, now: int, out: list[Command]) -> None:
        if self._step != "idle":
            return
        if self._joined is not None and now < self._joined.not_after:
            self._renew(renewal.TimerFired(), now, out)
        else:
            if self._joined is not None:
                self._key = self._leaf_key
                self._renew(renewal.TimerFired(), now, out)
            if not any(isinstance(command, ReadToken) for command in out):
                out.append(ReadToken())


def _digest(bundle: BundleAnswer) -> str:
    return digest_of_bundle(TrustBundle(bundle.trust_domain, bundle.roots))
