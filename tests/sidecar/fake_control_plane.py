"""A control plane in process: the real xDS server machine over the model engine's calls, and join and renewal as they are on
the wire."""

from __future__ import annotations

from collections.abc import Set

import msgspec
from fake_engine import Reply
from golden_case import compile_case

from mainstay.compile.resource import Kind as CompiledKind
from mainstay.compile.resource import Resource
from mainstay.identity import join_wire
from mainstay.identity.bundle import digest_of_bundle, pem_of
from mainstay.identity.join_wire import BundleAnswer, Joined, Token
from mainstay.model.identity import TrustBundle
from mainstay.xds.server.stream import ServerStream
from mainstay.xds.server.types import (
    Answered,
    ApplicationReported,
    Close,
    Command,
    Event,
    HealthReported,
    Opened,
    RequestReceived,
    Send,
    SetTimer,
    Tick,
    TurnCame,
    ViewChanged,
    Work,
    WriteFinished,
)
from mainstay.xds.types import ORDER, PATHS, Kind

BUNDLE = BundleAnswer("cluster.local", (pem_of(b"root"),), "spiffe://cluster.local/ns/istio-system/sa/cp")
HOUR = 3_600_000


class View:
    """A view out of compiled resources."""

    def __init__(self, *resources: Resource) -> None:
        self.resources: dict[Kind, dict[str, Resource]] = {kind: {} for kind in ORDER}
        for resource in resources:
            self.resources[resource.kind][resource.name] = resource

    def get(self, kind: Kind, name: str) -> Resource | None:
        return self.resources[kind].get(name)

    def names(self, kind: Kind) -> Set[str]:
        return self.resources[kind].keys()

    def with_(self, *resources: Resource) -> View:
        held = {(each.kind, each.name): each for kind in self.resources.values() for each in kind.values()}
        held |= {(each.kind, each.name): each for each in resources}
        return View(*held.values())

    def without(self, *references: tuple[CompiledKind, str]) -> View:
        return View(
            *(
                each
                for kind in self.resources.values()
                for each in kind.values()
                if (each.kind, each.name) not in references
            )
        )


def golden_view(case: str) -> View:
    view = compile_case(case)
    return View(*(each for entries in view.resources.values() for each in entries.values()))


class ControlPlane:
    """Streams see `view`; `show` changes it for all of them."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.up = True
        self.streams: list[XdsCall] = []
        self.answers: list[Answered] = []
        self.health: list[HealthReported] = []
        self.applications: list[str] = []
        self.nodes: list[str] = []
        self.sent = 0
        self.identity_calls: list[str] = []
        self.deny: str | None = None
        self.life = 24 * HOUR
        self.wall = 0

    @property
    def refused(self) -> dict[str, str]:
        return {each.name: each.words for answer in self.answers for each in answer.refused}

    def token(self) -> str:
        digest = digest_of_bundle(TrustBundle(BUNDLE.trust_domain, BUNDLE.roots))
        return join_wire.write_token(Token("id", "secret", digest, BUNDLE.server))

    def call(self) -> ControlPlaneCall | None:
        return ControlPlaneCall(self) if self.up else None

    def show(self, view: View) -> None:
        self.view = view
        for stream in self.streams:
            stream.tell(ViewChanged(view))


class ControlPlaneCall:
    """A call of whichever kind: its path decides."""

    def __init__(self, owner: ControlPlane) -> None:
        self._owner = owner
        self._inner: XdsCall | IdentityCall | None = None

    def opened(self, path: str, now: int) -> Reply:
        self._inner = XdsCall(self._owner, path) if path in PATHS else IdentityCall(self._owner, path)
        return Reply()

    def received(self, message: bytes, end: bool, now: int) -> Reply:
        assert self._inner is not None
        return self._inner.received(message, now)

    def passed(self, now: int) -> Reply:
        return self._inner.passed(now) if isinstance(self._inner, XdsCall) else Reply()


class XdsCall:
    def __init__(self, owner: ControlPlane, path: str) -> None:
        variant, kinds = PATHS[path]
        self.path = path
        self._owner = owner
        self._machine = ServerStream(variant, kinds)
        self._now = 0
        self._timer: int | None = None
        self._out = Reply([])
        owner.streams = [each for each in owner.streams if each.path != path] + [self]

    def received(self, message: bytes, now: int) -> Reply:
        self._now = now
        self.tell(RequestReceived(message))
        return self._flush()

    def passed(self, now: int) -> Reply:
        self._now = now
        if self._timer is not None and now >= self._timer:
            self._timer = None
            self.tell(Tick())
        return self._flush()

    def _flush(self) -> Reply:
        out, self._out = self._out, Reply([])
        return out

    def tell(self, event: Event) -> None:
        for command in self._machine.handle(event, self._now):
            self._carry_out(command)

    def _carry_out(self, command: Command) -> None:
        match command:
            case Opened(node):
                self._owner.nodes.append(node.id)
                self.tell(ViewChanged(self._owner.view))
            case Work():
                self.tell(TurnCame())
            case Send(_, message):
                self._owner.sent += 1
                self._out.messages.append(message)
                self.tell(WriteFinished())
            case Answered():
                self._owner.answers.append(command)
            case HealthReported():
                self._owner.health.append(command)
            case ApplicationReported(text):
                self._owner.applications.append(text)
            case SetTimer(at):
                self._timer = at
            case Close(status, reason):
                self._out.status, self._out.words = status, reason
            case _:
                pass


class IdentityCall:
    def __init__(self, owner: ControlPlane, path: str) -> None:
        self._owner = owner
        self._path = path

    def received(self, message: bytes, now: int) -> Reply:
        owner = self._owner
        owner.identity_calls.append(self._path)
        if self._path == join_wire.GET_BUNDLE:
            return Reply([join_wire.encode(BUNDLE)], 0)
        if owner.deny is not None:
            return Reply([], 7, owner.deny)
        if self._path == join_wire.JOIN:
            request = msgspec.msgpack.decode(message, type=join_wire.JoinRequest)
            assert request.token == owner.token()
        csr = msgspec.msgpack.decode(message, type=dict)["csr"].decode()
        start = owner.wall + now
        identity = csr.rpartition(" ")[2]
        return Reply(
            [join_wire.encode(Joined(identity, f"chain for {csr}", BUNDLE, start, start + owner.life))], 0
        )
