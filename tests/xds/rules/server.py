"""The tester as a server: carries out rules against any xDS client, which is a proxy that runs by itself.

Beside a rule's own steps, what holds for every request is checked: the first of a stream tells its node, a nonce is empty or one
of this stream's responses of this kind, and the first request that carries it is a verdict.
"""

from __future__ import annotations

import http.client
import queue
import threading
import time
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any

import grpc

from . import resources, wire
from .steps import (
    Acked,
    Closed,
    Drop,
    Kind,
    Nacked,
    Resumes,
    Rule,
    Send,
    SendSpoilt,
    SendUnknown,
    Serves,
    Step,
    Streams,
    Subscribed,
    Variant,
)

PATIENCE_S = 12.0
PAUSE_S = 0.02
_END = object()


class _Stream:
    """One call of the client."""

    def __init__(self, kind: Kind | None) -> None:
        self.kind = kind
        self.outbox: queue.Queue[Any] = queue.Queue()
        self.began = False


class _Reply:
    """The verdict on a response."""

    def __init__(self, request: Any) -> None:
        self.error = request.error_detail if request.HasField("error_detail") else None
        self.version = getattr(request, "version_info", "")


class _Asked:
    """What the client has told of one kind, and has been told, on one stream."""

    def __init__(self, stream: _Stream, first: Any) -> None:
        self.stream = stream
        self.first = first
        """The first request."""
        self.names: set[str] = set()
        self.named = False
        self.nonces: list[str] = []
        self.versions: dict[str, str] = {}
        """Nonce → version that was sent with it, SotW."""
        self.replies: dict[str, _Reply] = {}


class ServerTester:
    """A server of one variant and form of stream. `listener`: port of the listener that rules call `l`. Where each kind has
    streams of its own, a client may have one for each name ("Requesting Multiple Resources on a Single Stream")."""

    def __init__(
        self,
        variant: Variant,
        streams: Streams,
        listener: int,
        maker: resources.Maker,
    ) -> None:
        self._variant: Variant = variant
        self._listener = listener
        self._events: queue.Queue[tuple[_Stream, Any]] = queue.Queue()
        self._open: list[_Stream] = []
        self._dropped: set[_Stream] = set()
        self._asked: dict[Kind, list[_Asked]] = {kind: [] for kind in wire.URLS}
        self._taken: dict[Kind, str] = dict.fromkeys(wire.URLS, "")
        """Version last taken, over all streams."""
        self._nonces = self._versions = 0
        self._last: dict[Kind, list[tuple[_Asked, str]]] = {}
        """Streams that got the last response, with its nonces."""
        self._gaps: deque[str] = deque(maxlen=5)
        self._hammering: threading.Event | None = None
        self._paths = wire.paths(variant, streams)
        self._server = grpc.server(futures.ThreadPoolExecutor(32))
        self._server.add_generic_rpc_handlers((_Handler(self),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._maker = maker
        self._server.start()

    def run(self, rule: Rule) -> None:
        """Raises AssertionError, naming the step."""
        try:
            for index, step in enumerate(rule.steps):
                try:
                    self._do(step, any(isinstance(each, Closed) for each in rule.steps[index:]))
                except AssertionError as error:
                    raise AssertionError(f"step {index + 1}, {step}: {error}") from None
            if self._hammering is not None:
                self._hammering.set()
            assert not self._gaps, f"requests failed between the steps: {list(self._gaps)}"
        finally:
            if self._hammering is not None:
                self._hammering.set()
            for stream in self._open:
                stream.outbox.put(_END)
            self._server.stop(0)

    def _do(self, step: Step, will_close: bool) -> None:
        match step:
            case Subscribed(kind, names, at_least):
                wanted = set(names)
                self._wait(
                    lambda: self._names(kind) == wanted or (at_least and wanted <= self._names(kind)),
                    lambda: self._told(kind),
                )
            case Send():
                self._send(step)
            case SendSpoilt():
                self._send_spoilt(step)
            case SendUnknown():
                response = wire.response_type(self._variant)(type_url=wire.UNKNOWN_URL, nonce="unknown")
                self._open[-1].outbox.put(response)
            case Acked(kind):
                for reply in self._replies(kind):
                    assert reply.error is None, f"it was refused: {reply.error}"
                    if self._variant == "sotw":
                        self._taken[kind] = reply.version
            case Nacked(kind, words):
                for reply in self._replies(kind):
                    self._check_refusal(kind, reply, words)
            case Serves(application, at_once):
                self._serve(application, at_once, will_close)
            case Closed(at_once):
                self._wait(lambda: self._ask() == "closed", self._ask, 0.0 if at_once else PATIENCE_S)
            case Drop():
                for stream in self._open:
                    stream.outbox.put(_END)
                    self._dropped.add(stream)
                self._open.clear()
                self._asked = {kind: [] for kind in wire.URLS}
            case Resumes():
                self._resume(step)
            case _:
                raise AssertionError(f"{type(step).__name__} is no step of a server")

    # --- requests -------------------------------------------------------------------------------------------------

    def answer(self, path: str, requests: Iterator[bytes]) -> Iterator[Any]:
        """One stream: its requests go to the rule's thread, the rule's responses come out."""
        stream = _Stream(self._paths[path])

        def read() -> None:
            try:
                for data in requests:
                    self._events.put((stream, wire.request_type(self._variant).FromString(data)))
            except Exception:
                pass  # the client went, or the rule is over
            self._events.put((stream, _END))
            stream.outbox.put(_END)

        threading.Thread(target=read, daemon=True).start()
        while (response := stream.outbox.get()) is not _END:
            yield response

    def knows(self, path: str) -> bool:
        return path in self._paths

    def _wait(
        self, condition: Callable[[], bool], what: Callable[[], Any], patience: float = PATIENCE_S
    ) -> None:
        """Takes requests until a condition holds."""
        until = time.monotonic() + patience
        while not condition():
            left = until - time.monotonic()
            assert left > 0, f"it did not come; there is {what()}"
            try:
                self._take(*self._events.get(timeout=min(left, PAUSE_S)))
            except queue.Empty:
                continue

    def _take(self, stream: _Stream, request: Any) -> None:
        if stream in self._dropped:
            return
        if request is _END:
            for (
                kind,
                asked,
            ) in self._asked.items():  # a client that ends a stream gives up what it wanted there
                self._asked[kind] = [have for have in asked if have.stream is not stream]
            return
        if not stream.began:
            assert request.HasField("node"), "the first request of a stream does not tell its node"
            assert request.node.id, "the node has no id"
            stream.began = True
            self._open.append(stream)
        url = request.type_url or (wire.URLS[stream.kind] if stream.kind else "")
        if url not in wire.KINDS:
            return  # of types that the rules do not know, such as a workload's health
        kind = wire.KINDS[url]
        have = next((each for each in self._asked[kind] if each.stream is stream), None)
        if have is None:
            have = _Asked(stream, request)
            self._asked[kind].append(have)
            assert not request.response_nonce, f"the first request of {kind} has a nonce"
        nonce = request.response_nonce
        if nonce:
            assert nonce in have.nonces, f"{nonce!r} is no nonce of a {kind} response on this stream"
            if nonce not in have.replies:
                have.replies[nonce] = _Reply(request)
                self._check_verdict(have, request)
        elif request.HasField("error_detail"):
            raise AssertionError("a refusal without nonce")
        self._note_names(kind, have, request)

    def _check_verdict(self, have: _Asked, request: Any) -> None:
        """In SotW nothing else tells a verdict from a change of names: it has to be one."""
        if self._variant == "sotw" and not request.HasField("error_detail"):
            sent = have.versions[request.response_nonce]
            assert request.version_info == sent, (
                f"a request answers the nonce of version {sent!r} with {request.version_info!r}, and refuses nothing"
            )

    def _note_names(self, kind: Kind, have: _Asked, request: Any) -> None:
        if self._variant == "sotw":
            names = set(request.resource_names)
            have.named = have.named or bool(names)
            if not names and not have.named and kind in wire.WILDCARDS:
                names = {"*"}
            have.names = names
            return
        added = set(request.resource_names_subscribe)
        if have.first is request and not added and kind in wire.WILDCARDS:
            added = {"*"}
        have.names = (have.names | added) - set(request.resource_names_unsubscribe)

    def _names(self, kind: Kind) -> set[str]:
        return {name for have in self._asked[kind] for name in have.names}

    def _told(self, kind: Kind) -> str:
        return f"a subscription to {sorted(self._names(kind))}"

    def _replies(self, kind: Kind) -> list[_Reply]:
        """The verdicts on the last response, of the streams that are still open (a client may have done with one)."""

        def due() -> list[tuple[_Asked, str]]:
            return [(have, nonce) for have, nonce in self._last[kind] if have in self._asked[kind]]

        self._wait(
            lambda: all(nonce in have.replies for have, nonce in due()),
            lambda: f"no answer to some of {[nonce for _, nonce in due()]}",
        )
        assert due(), "the client has ended the stream"
        return [have.replies[nonce] for have, nonce in due()]

    def _check_refusal(self, kind: Kind, reply: _Reply, words: Sequence[str]) -> None:
        assert reply.error is not None, "it was taken"
        assert reply.error.code != 0, "the refusal's code is that of success"
        for word in words:
            assert word in reply.error.message, f"{word!r} is not in {reply.error.message!r}"
        if self._variant == "sotw":
            taken = self._taken[kind]
            assert reply.version == taken, (
                f"it refuses with version {reply.version!r}, and had taken {taken!r}"
            )

    def _resume(self, step: Resumes) -> None:
        self._wait(lambda: self._names(step.kind) == set(step.names), lambda: self._told(step.kind))
        (have,) = self._asked[step.kind]
        if self._variant == "sotw":
            told = have.first.version_info
            assert told == self._taken[step.kind], f"it resumes from {told!r}, not {self._taken[step.kind]!r}"
            return
        parsed = [resources.parse(step.kind, text) for text in step.held]
        expected = {text.name: self._version_of(text) for text in parsed}
        held = dict(have.first.initial_resource_versions)
        assert held == expected, f"it tells {held}, not {expected}"

    # --- responses ------------------------------------------------------------------------------------------------

    @staticmethod
    def _version_of(text: resources.Text) -> str:
        """A delta resource's version: its content's."""
        return f"{text.version}>{text.target}"

    def _respond(self, kind: Kind, to: Callable[[_Asked], Any]) -> None:
        """Sends a response to every stream of a kind for which `to` makes one."""
        self._wait(lambda: bool(self._asked[kind]), lambda: "no stream that asked for this kind")
        self._last[kind] = []
        for have in self._asked[kind]:
            response = to(have)
            if response is None:
                continue
            self._nonces += 1
            nonce = f"n{self._nonces}"
            response.nonce, response.type_url = nonce, wire.URLS[kind]
            have.nonces.append(nonce)
            if self._variant == "sotw":
                self._versions += 1
                response.version_info = have.versions[nonce] = f"v{self._versions}"
            self._last[kind].append((have, nonce))
            have.stream.outbox.put(response)
        assert self._last[kind], "no stream asked for any of this"

    def _send(self, step: Send) -> None:
        texts = [resources.parse(step.kind, text) for text in step.resources]
        if step.twice:
            texts.append(texts[0])

        def make(have: _Asked) -> Any:
            mine, gone = texts, set(step.gone)
            if len(self._asked[step.kind]) > 1:  # each stream gets what it asked for
                mine = [text for text in texts if text.name in have.names]
                gone &= have.names
                if not mine and not gone and (texts or step.gone):
                    return None
            response = wire.response_type(self._variant)()
            if self._variant == "delta":
                response.removed_resources.extend(sorted(gone))
            for text in mine:
                self._add(
                    response, text.kind, text.name, self._version_of(text), self._maker.make(text), step
                )
            return response

        self._respond(step.kind, make)

    def _add(
        self, response: Any, kind: Kind, name: str, version: str, body: bytes, how: Send | None = None
    ) -> None:
        if self._variant == "sotw" and not (how and (how.wrapped or how.heartbeat)):
            response.resources.add(type_url=wire.URLS[kind], value=body)
            return
        entry = wire.discovery.Resource(name=name, version=version)
        if how and how.heartbeat:
            entry.ttl.seconds = 60
        else:
            entry.resource.type_url, entry.resource.value = wire.URLS[kind], body
        if self._variant == "sotw":
            response.resources.add(type_url=wire.WRAPPED_URL, value=entry.SerializeToString())
        else:
            response.resources.append(entry)

    def _send_spoilt(self, step: SendSpoilt) -> None:
        text = resources.parse(step.kind, "spoilt@1")
        body = b"\x0a\xff\xff" if step.how == "bytes" else self._maker.make(text)
        name = "another" if step.how == "name" else text.name
        response = wire.response_type(self._variant)()
        self._add(response, step.kind, name, self._version_of(text), body)
        if step.how == "type":
            entry = response.resources[0]
            packed = entry if self._variant == "sotw" else entry.resource
            packed.type_url = wire.URLS["secret"]
        self._respond(step.kind, lambda _: response)

    # --- traffic --------------------------------------------------------------------------------------------------

    def _ask(self) -> str:
        """What a request through the listener brings: an application's name, a status, `closed`."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._listener}/", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return f"status {error.code}"
        except (OSError, http.client.HTTPException):
            return "closed"

    def _serve(self, application: str, at_once: bool, will_close: bool) -> None:
        self._wait(lambda: self._ask() == application, self._ask, 0.0 if at_once else PATIENCE_S)
        if self._hammering is None and not will_close:
            self._hammering = threading.Event()
            threading.Thread(target=self._hammer, args=(self._hammering,), daemon=True).start()

    def _hammer(self, over: threading.Event) -> None:
        """Requests all the while: none may go without an application's answer."""
        while not over.wait(PAUSE_S):
            answer = self._ask()
            if answer not in ("a", "b") and not over.is_set():
                self._gaps.append(answer)


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, tester: ServerTester) -> None:
        self._tester = tester

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        path = details.method
        if not self._tester.knows(path):
            return None
        return grpc.stream_stream_rpc_method_handler(
            lambda requests, _: self._tester.answer(path, requests),
            request_deserializer=None,
            response_serializer=lambda message: message.SerializeToString(),
        )
