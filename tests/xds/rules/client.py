"""The tester as a client: carries out rules against any xDS server.

Beside a rule's own steps, what holds for every response is checked: its type, a nonce that is new on the stream, names that agree
with contents and stand there once, and versions that change when contents do.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from . import resources, wire
from .resources import Text
from .steps import (
    Ack,
    AskUnknown,
    Expect,
    Have,
    InOrder,
    Kind,
    Nack,
    Quiet,
    Reconnect,
    Rule,
    Settle,
    Step,
    Streams,
    Subscribe,
    Variant,
    Want,
)

PATIENCE_S = 8.0
QUIET_S = 0.15
"""How long nothing has to come for nothing to have come."""
NODE_ID = "sidecar~127.0.0.1~rules.test~test.svc.cluster.local"
_END = object()


class Subject(Protocol):
    """A server under test."""

    address: str

    def show(self, resources: Mapping[Text, bytes]) -> None:
        """From now on it has these for the node `NODE_ID`, and nothing else."""


class _Stream:
    """One call, read by a thread of its own."""

    def __init__(self, channel: grpc.Channel, path: str, variant: Variant) -> None:
        self.inbox: queue.Queue[Any] = queue.Queue()
        self._outbox: queue.Queue[Any] = queue.Queue()
        self._node_sent = False
        method: Any = channel.stream_stream(
            path, request_serializer=lambda message: message.SerializeToString(), response_deserializer=bytes
        )
        self._call = method(self._requests())
        self._type = wire.response_type(variant)
        threading.Thread(target=self._read, daemon=True).start()

    def _requests(self) -> Iterator[Message]:
        while (message := self._outbox.get()) is not _END:
            yield message

    def _read(self) -> None:
        try:
            for data in self._call:
                self.inbox.put(self._type.FromString(data))
        except grpc.RpcError as error:
            self.inbox.put(error)
        self.inbox.put(_END)

    def send(self, message: Any) -> None:
        """The node goes with the first message alone."""
        if not self._node_sent:
            message.node.id = NODE_ID
            message.node.cluster = "rules"
            self._node_sent = True
        self._outbox.put(message)

    def end(self) -> None:
        self._outbox.put(_END)
        self._call.cancel()


class _Have:
    """What this client knows of one kind."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.started = False
        self.nonces: list[str] = []
        self.version = ""
        """Of the last response, SotW."""
        self.taken = ""
        """The version last taken."""
        self.held: dict[str, tuple[str, bytes]] = {}
        """Name → version (delta) and body."""
        self.inbox: deque[Any] = deque()

    def begin_anew(self) -> None:
        self.names, self.started, self.nonces = set(), False, []
        self.inbox.clear()


class ClientTester:
    """Holds rules against `subject`. One tester a rule."""

    def __init__(self, subject: Subject, variant: Variant, streams: Streams, maker: resources.Maker) -> None:
        self._subject = subject
        self._variant: Variant = variant
        self._streams: Streams = streams
        self._maker = maker
        self._channel = grpc.insecure_channel(subject.address, (("grpc.use_local_subchannel_pool", 1),))
        self._open: dict[Kind | None, _Stream] = {}
        self._kinds: dict[Kind, _Have] = {kind: _Have() for kind in wire.URLS}
        self._there: dict[tuple[Kind, str], bytes] = {}

    def run(self, rule: Rule) -> None:
        """Raises AssertionError, naming the step."""
        try:
            for index, step in enumerate(rule.steps):
                try:
                    self._do(step)
                except AssertionError as error:
                    raise AssertionError(f"step {index + 1}, {step}: {error}") from None
        finally:
            for stream in self._open.values():
                stream.end()
            self._channel.close()

    def _do(self, step: Step) -> None:
        match step:
            case Have(texts):
                parsed = [resources.parse_all(text) for text in texts]
                made = {text: self._maker.make(text) for text in parsed}
                self._there = {(text.kind, text.name): body for text, body in made.items()}
                self._subject.show(made)
            case Want():
                self._want(step)
            case Subscribe():
                self._subscribe(step)
            case Ack(kind):
                self._answer(kind, None)
            case Nack(kind, name):
                self._answer(kind, f"{name}: refused by a rule")
            case Expect():
                self._expect(step)
            case Quiet(kind, empty):
                self._be_quiet(kind, empty)
            case Settle(kind):
                self._settle(kind)
            case InOrder(events):
                self._expect_in_order(events)
            case Reconnect():
                for stream in self._open.values():
                    stream.end()
                self._open.clear()
                for have in self._kinds.values():
                    have.begin_anew()
            case AskUnknown():
                self._stream("cluster").send(wire.request_type(self._variant)(type_url=wire.UNKNOWN_URL))
            case _:
                raise AssertionError(f"{type(step).__name__} is no step of a client")

    # --- asking ---------------------------------------------------------------------------------------------------

    def _stream(self, kind: Kind) -> _Stream:
        key = kind if self._streams == "single" else None
        if key not in self._open:
            self._open[key] = _Stream(self._channel, wire.path(self._variant, key), self._variant)
        return self._open[key]

    def _want(self, step: Want) -> None:
        have, names = self._kinds[step.kind], set(step.names)
        if self._variant == "sotw":
            version = have.taken if have.started or step.resume else ""
            self._send_sotw(step.kind, step.names, version, self._nonce(have, step.stale))
            have.names = names
        else:
            former = set() if not have.started else have.names
            held = {name: version for name, (version, _) in have.held.items()} if step.resume else {}
            self._send_delta(step.kind, sorted(names - former), sorted(former - names), held)
            have.names = names or ({"*"} if not have.started else set())
        have.started = True

    def _subscribe(self, step: Subscribe) -> None:
        have = self._kinds[step.kind]
        nonce = self._nonce(have, stale=True) if step.stale else ""
        self._send_delta(step.kind, step.names, step.leave, {}, nonce)
        have.names = (have.names | set(step.names)) - set(step.leave)
        have.started = True

    @staticmethod
    def _nonce(have: _Have, stale: bool) -> str:
        if not stale:
            return have.nonces[-1] if have.nonces else ""
        assert len(have.nonces) > 1, "there is no stale nonce yet"
        return have.nonces[-2]

    def _answer(self, kind: Kind, error: str | None) -> None:
        have = self._kinds[kind]
        assert have.nonces, "there is no response to answer"
        if error is None:
            have.taken = have.version
        if self._variant == "sotw":
            self._send_sotw(kind, sorted(have.names), have.taken, have.nonces[-1], error)
        else:
            self._send_delta(kind, (), (), {}, have.nonces[-1], error)

    def _send_sotw(
        self, kind: Kind, names: Sequence[str], version: str, nonce: str, error: str | None = None
    ) -> None:
        message = wire.request_type("sotw")(
            type_url=wire.URLS[kind], resource_names=names, version_info=version, response_nonce=nonce
        )
        self._send(kind, message, error)

    def _send_delta(
        self,
        kind: Kind,
        names: Sequence[str],
        leave: Sequence[str],
        held: Mapping[str, str],
        nonce: str = "",
        error: str | None = None,
    ) -> None:
        message = wire.request_type("delta")(
            type_url=wire.URLS[kind],
            resource_names_subscribe=names,
            resource_names_unsubscribe=leave,
            initial_resource_versions=held,
            response_nonce=nonce,
        )
        self._send(kind, message, error)

    def _send(self, kind: Kind, message: Any, error: str | None) -> None:
        if error is not None:
            message.error_detail.code = 3
            message.error_detail.message = error
        self._stream(kind).send(message)

    # --- responses ------------------------------------------------------------------------------------------------

    def _receive(self, kind: Kind, patience: float) -> Any | None:
        """The next response of a kind; None if none comes in time."""
        have, until = self._kinds[kind], time.monotonic() + patience
        while not have.inbox:
            if self._pump(self._stream(kind), until) is None:
                return None
        return have.inbox.popleft()

    def _pump(self, stream: _Stream, until: float) -> Kind | None:
        """Takes one response off a stream, whatever its kind."""
        try:
            response = stream.inbox.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
        assert response is not _END, "the server ended the stream"
        assert not isinstance(response, grpc.RpcError), f"the stream failed: {response!r}"
        if response.type_url == wire.UNKNOWN_URL:
            assert not response.resources, "there are resources of a type that nobody has"
            return self._pump(stream, until)
        assert response.type_url in wire.KINDS, f"a response of type {response.type_url!r}"
        kind = wire.KINDS[response.type_url]
        self._kinds[kind].inbox.append(response)
        self._check(kind, response)
        return kind

    def _check(self, kind: Kind, response: Any) -> None:
        """What holds for every response."""
        have = self._kinds[kind]
        assert response.nonce, "a response without nonce"
        assert response.nonce not in have.nonces, f"the nonce {response.nonce!r} came twice on one stream"
        have.nonces.append(response.nonce)
        found = self._contents(kind, response)
        versions = self._versions(kind, response)
        for name, body in found.items():
            assert versions[name], f"{name} has no version"
            former = have.held.get(name)
            if former is not None and not _equal(kind, former[1], body):
                assert former[0] != versions[name], f"{name} changed, its version did not"
        have.held |= {name: (versions[name], body) for name, body in found.items()}
        if self._variant == "sotw":
            have.version = response.version_info
            gone = have.held.keys() - found.keys() if kind in wire.WILDCARDS else set()
        else:
            gone = set(response.removed_resources)
        for name in gone:
            have.held.pop(name, None)

    def _contents(self, kind: Kind, response: Any) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for entry in response.resources:
            packed = entry if self._variant == "sotw" else entry.resource
            assert packed.type_url == wire.URLS[kind], f"a {kind} response holds a {packed.type_url}"
            name = resources.name_of(kind, packed.value)
            if self._variant == "delta":
                assert entry.name == name, f"{entry.name!r} is called {name!r} inside"
            assert name not in found, f"{name} stands there twice"
            found[name] = packed.value
        return found

    def _versions(self, kind: Kind, response: Any) -> dict[str, str]:
        if self._variant == "delta":
            return {entry.name: entry.version for entry in response.resources}
        return dict.fromkeys(self._contents(kind, response), response.version_info)

    def _expect(self, step: Expect) -> None:
        kind, gone = step.kind, step.gone
        parsed = [resources.parse(kind, text) for text in step.resources]
        expected = {text.name: self._maker.make(text) for text in parsed}
        due, leaving, first = set(expected), set(gone), True
        while due or leaving or first:
            if not first:
                self._answer(kind, None)
            first = False
            response = self._receive(kind, PATIENCE_S)
            assert response is not None, f"no response; {sorted(due | leaving)} did not come"
            found = self._contents(kind, response)
            whole = self._variant == "sotw" and kind in wire.WILDCARDS
            for name, body in found.items():
                wanted = expected.get(name)
                if (
                    wanted is None
                    and self._variant == "sotw"
                    and not whole
                    and name in self._kinds[kind].names
                ):
                    wanted = self._there.get((kind, name))  # what else is wanted may come along
                assert wanted is not None, f"{name} came, which was not expected"
                assert _equal(kind, wanted, body), f"another {name} came"
            if whole:
                assert found.keys() == expected.keys(), f"{sorted(found)} came, not {sorted(expected)}"
                leaving.clear()
            elif self._variant == "delta":
                removed = set(response.removed_resources)
                assert removed <= {*gone, *step.or_gone}, f"{sorted(removed)} were removed"
                leaving -= removed
            else:
                leaving.clear()  # nothing can tell it
            due -= found.keys()

    def _be_quiet(self, kind: Kind, empty: bool) -> None:
        response = self._receive(kind, QUIET_S)
        if response is None:
            return
        told = sorted(self._contents(kind, response))
        removed = list(response.removed_resources) if self._variant == "delta" else []
        assert empty, f"a response came, with {told} and {removed} removed"
        assert not told, f"{told} came"
        assert not removed, f"{removed} were removed"

    def _settle(self, kind: Kind) -> None:
        names = self._kinds[kind].names
        while (response := self._receive(kind, QUIET_S)) is not None:
            told = self._contents(kind, response).keys()
            assert "*" in names or told <= names, (
                f"{sorted(told)} came, of which {sorted(told - names)} is not wanted"
            )
            self._answer(kind, None)

    def _expect_in_order(self, events: Sequence[str]) -> None:
        """Everything is taken as it comes."""
        left = list(events)
        until = time.monotonic() + PATIENCE_S
        known = {
            (kind, name): body for kind in wire.URLS for name, (_, body) in self._kinds[kind].held.items()
        }
        while left:
            (stream,) = self._open.values()
            kind = self._pump(stream, until)
            assert kind is not None, f"{left} did not come"
            happened = self._happened(kind, self._kinds[kind].inbox.pop(), known, left)
            for event in happened:
                late = [each for each in left[: left.index(event)] if each not in happened]
                assert not late, f"{event!r} came before {late}"
            left = [event for event in left if event not in happened]
            self._answer(kind, None)

    def _happened(
        self, kind: Kind, response: Any, known: dict[tuple[Kind, str], bytes], events: Sequence[str]
    ) -> list[str]:
        """Which of these events a response is."""
        found = self._contents(kind, response)
        gone = {name for each, name in known if each == kind} - found.keys()
        if self._variant == "delta":
            gone = set(response.removed_resources)
        elif kind not in wire.WILDCARDS:
            gone = set()
        happened = [event for event in events if event in {f"-{kind} {name}" for name in gone}]
        for event in events:
            if event.startswith(f"{kind} "):
                text = resources.parse_all(event)
                body = found.get(text.name)
                if body is not None and _equal(kind, body, self._maker.make(text)):
                    happened.append(event)
        for name in gone:
            known.pop((kind, name), None)
        known |= {(kind, name): body for name, body in found.items()}
        return happened


def _equal(kind: Kind, one: bytes, other: bytes) -> bool:
    """Equal as messages: another program may write its fields in another order."""
    return one == other or bool(resources.read(kind, one) == resources.read(kind, other))
