"""HTTP/2 for both ends of a case: a client that asks once, and a server that follows a script."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING, Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from conformance_wire import PATIENCE_S, Message, WireError, content, pairs, pause

if TYPE_CHECKING:
    from conformance_upstream import Upstream

_LAX = {
    "validate_outbound_headers": False,
    "normalize_outbound_headers": False,
    "validate_inbound_headers": False,
    "header_encoding": "latin-1",
}
"""The test sees and sends what is on the wire, right or wrong."""
_MOST = 65_536
_WINDOW = 1 << 24


class Peer:
    """One end of a connection."""

    def __init__(self, connection: socket.socket, *, client: bool) -> None:
        self.connection = connection
        self.machine = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=client, **_LAX)  # type: ignore[arg-type]
        )
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)

    def open(self, settings: dict[str, int]) -> None:
        self.machine.initiate_connection()
        self.machine.increment_flow_control_window(_WINDOW)
        if settings:
            self.machine.update_settings(settings)  # type: ignore[arg-type]
        self.flush()

    def flush(self) -> None:
        with self.lock:
            data = self.machine.data_to_send()
            if data:
                self.connection.sendall(data)

    def events(self) -> list[h2.events.Event]:
        """What came; empty at the end."""
        data = self.connection.recv(_MOST)
        if not data:
            return []
        with self.lock:
            events = self.machine.receive_data(data)
            for event in events:
                if isinstance(event, h2.events.DataReceived) and event.flow_controlled_length:
                    self.machine.acknowledge_received_data(event.flow_controlled_length, event.stream_id or 0)
            self.flush()
            self.changed.notify_all()
        return events

    def send_body(self, stream: int, body: bytes, *, end: bool) -> None:
        """As far as the peer's window lets it; the rest when that grows."""
        while body:
            with self.lock:
                room = min(
                    self.machine.local_flow_control_window(stream), self.machine.max_outbound_frame_size
                )
                if room > 0:
                    piece, body = body[:room], body[room:]
                    self.machine.send_data(stream, piece, end_stream=end and not body)
                    self.flush()
            if body and room <= 0:
                self.wait()
        if end and not body and not self._ended(stream):
            with self.lock:
                self.machine.end_stream(stream)
                self.flush()

    def _ended(self, stream: int) -> bool:
        state = self.machine.streams.get(stream)
        return state is None or state.state_machine.state.name in ("HALF_CLOSED_LOCAL", "CLOSED")

    def wait(self) -> None:
        """Until the peer has said something."""
        raise NotImplementedError


class Client(Peer):
    """Asks, one request after the other."""

    def __init__(self, connection: socket.socket, settings: dict[str, int] | None = None) -> None:
        super().__init__(connection, client=True)
        connection.settimeout(PATIENCE_S)
        self.outcomes: dict[int, Outcome] = {}
        self.goaway: int | None = None
        self.closed = False
        self.open(settings or {})

    def ask(self, request: dict[str, Any], authority: str, scheme: str) -> Outcome:
        stream = self.begin(request, authority, scheme)
        return self.finish(stream)

    def begin(self, request: dict[str, Any], authority: str, scheme: str) -> int:
        stream = self.machine.get_next_available_stream_id()
        self.outcomes[stream] = Outcome()
        if "fields" in request:
            fields = [tuple(line.split("=", 1)) for line in request["fields"]]
        else:
            fields = [
                (":method", request.get("method", "GET")),
                (":scheme", request.get("scheme", scheme)),
                (":authority", str(request.get("authority", authority))),
                (":path", request.get("path", "/")),
                *pairs(request.get("headers")),
            ]
        body = content(request.get("body", "")) or b"".join(content(one) for one in request.get("chunks", []))
        trailers = pairs(request.get("trailers"))
        stays = bool(request.get("unfinished"))
        self.machine.send_headers(stream, fields, end_stream=not (body or trailers or stays))
        self.flush()
        if body:
            self.send_body(stream, body, end=not (trailers or stays))
        if trailers:
            self.machine.send_headers(stream, trailers, end_stream=True)
            self.flush()
        if "cancel" in request:
            pause(request["cancel"])
            self.machine.reset_stream(stream, h2.errors.ErrorCodes.CANCEL)
            self.flush()
            self.outcomes[stream].over = True
        return stream

    def finish(self, stream: int) -> Outcome:
        outcome = self.outcomes[stream]
        while not outcome.over:
            try:
                events = self.events()
            except TimeoutError as error:
                raise WireError(f"nothing came after {outcome.message}") from error
            except ConnectionError:
                events = []
            if not events:
                self.closed = True
                outcome.over = True
                outcome.message.whole = False
            self.keep(events)
        outcome.goaway = self.goaway
        return outcome

    def wait(self) -> None:
        self.keep(self.events())

    def keep(self, events: list[h2.events.Event]) -> None:
        for event in events:
            if isinstance(event, h2.events.ConnectionTerminated):
                self.goaway = int(event.error_code or 0)
                continue
            outcome = self.outcomes.get(getattr(event, "stream_id", None) or 0)
            if outcome is not None:
                outcome.take(event)


class Outcome:
    """What became of one stream."""

    def __init__(self) -> None:
        self.message = Message("", [], protocol="h2")
        self.interim: list[int] = []
        self.reset: int | None = None
        self.goaway: int | None = None
        self.over = False

    def take(self, event: h2.events.Event) -> None:
        if isinstance(event, h2.events.ResponseReceived):
            self.message.fields = _texts(event.headers)
        elif isinstance(event, h2.events.InformationalResponseReceived):
            self.interim.append(int(dict(_texts(event.headers))[":status"]))
        elif isinstance(event, h2.events.DataReceived):
            self.message.body += event.data or b""
        elif isinstance(event, h2.events.TrailersReceived):
            self.message.trailers = _texts(event.headers)
        elif isinstance(event, h2.events.StreamReset):
            self.reset, self.over = int(event.error_code or 0), True
            self.message.whole = False
        elif isinstance(event, h2.events.StreamEnded):
            self.over = True


class Server(Peer):
    """Answers each request as its upstream's script says."""

    def __init__(self, upstream: Upstream, connection: socket.socket) -> None:
        super().__init__(connection, client=False)
        connection.settimeout(None)
        self._upstream = upstream
        self._requests: dict[int, Message] = {}
        self._held: list[h2.events.Event] = []

    def wait(self) -> None:
        with self.changed:
            if not self.changed.wait(PATIENCE_S):
                raise TimeoutError

    def run(self) -> None:
        self.open(self._upstream.script.settings)
        while events := self.events():
            self.keep(events)

    def keep(self, events: list[h2.events.Event]) -> None:
        for event in events:
            stream = getattr(event, "stream_id", None) or 0
            if isinstance(event, h2.events.RequestReceived):
                fields = _texts(event.headers)
                known = dict(fields)
                start = f"{known.get(':method')} {known.get(':path')} HTTP/2"
                self._requests[stream] = Message(start, fields, protocol="h2")
                if self._upstream.script.answers[0].get("early"):
                    self._answer(stream)
            elif isinstance(event, h2.events.DataReceived):
                self._requests[stream].body += event.data or b""
            elif isinstance(event, h2.events.TrailersReceived):
                self._requests[stream].trailers = _texts(event.headers)
            elif isinstance(event, h2.events.StreamEnded) and not self._upstream.script.answers[0].get(
                "early"
            ):
                self._answer(stream)
            elif isinstance(event, h2.events.StreamReset) and stream in self._requests:
                self._requests[stream].whole = False

    def _answer(self, stream: int) -> None:
        message = self._requests[stream]
        answer = self._upstream.next_answer(message.start.split(" ")[1])
        self._upstream.saw(message)
        # Of its own thread: others must not wait behind one that is slow.
        threading.Thread(target=self._give_safely, args=(stream, message, answer), daemon=True).start()

    def _give_safely(self, stream: int, message: Message, answer: dict[str, Any]) -> None:
        # The stream or the connection may be gone: that is what the case is about, or nothing to it.
        with contextlib.suppress(OSError, h2.exceptions.H2Error, KeyError):
            self._give(stream, message, answer)

    def _give(self, stream: int, message: Message, answer: dict[str, Any]) -> None:
        if "delay_ms" in answer:
            pause(answer["delay_ms"])
        if answer.get("hang"):
            return
        if answer.get("close") == "silently" or answer.get("reset"):
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        with self.lock:
            if "rst" in answer:
                self.machine.reset_stream(stream, answer["rst"])
                self.flush()
                return
            if "goaway" in answer:
                self.machine.close_connection(answer["goaway"], last_stream_id=answer.get("last", stream))
                self.flush()
                return
            for one in answer.get("interim", []):
                self.machine.send_headers(
                    stream, [(":status", str(one["status"])), *pairs(one.get("headers"))]
                )
            self._write(stream, message, answer)

    def _write(self, stream: int, message: Message, answer: dict[str, Any]) -> None:
        body = message.body if answer.get("echo") else content(answer.get("body", "ok"))
        body = b"".join(content(one) for one in answer.get("chunks", [])) or body
        head = message.start.startswith("HEAD ")
        trailers = pairs(answer.get("trailers"))
        fields = [(":status", str(answer.get("status", 200))), *pairs(answer.get("headers"))]
        stays = bool(answer.get("cut") is not None or answer.get("stall"))
        bodiless = head or not body
        self.machine.send_headers(stream, fields, end_stream=bodiless and not (trailers or stays))
        self.flush()
        if not bodiless:
            self.send_body(stream, body, end=not (trailers or stays))
        if trailers and not stays:
            self.machine.send_headers(stream, trailers, end_stream=True)
            self.flush()
        if answer.get("cut") is not None:
            self.machine.reset_stream(stream, int(answer["cut"]))
            self.flush()


def _texts(fields: Any) -> list[tuple[str, str]]:
    return [
        (
            name if isinstance(name, str) else name.decode("latin-1"),
            value if isinstance(value, str) else value.decode("latin-1"),
        )
        for name, value in fields or []
    ]
