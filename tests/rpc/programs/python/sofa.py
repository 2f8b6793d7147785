"""anthunder: SOFARPC over Bolt with protobuf bodies. `serve NAME bolt PORT`, or a client that takes commands."""

from __future__ import annotations

import logging
import sys
from concurrent.futures import Future

import commands
from anthunder import AioClient, AioListener, Client
from anthunder.client.base import _BaseClient
from google.protobuf.wrappers_pb2 import StringValue
from mytracer import SpanContext
from provider import Provider

SERVICE = "Echo:1.0"


def serve(name: str, port: int) -> None:
    provider = Provider(name)

    class Service:
        def __init__(self, context: object) -> None:
            self.context = context

        def __getattr__(self, method: str):  # type: ignore[no-untyped-def]
            handle = getattr(provider, method)
            return lambda body: pack(handle(unpack(body)))

    listener = AioListener(("127.0.0.1", port), "peer")
    listener.handler.register_interface(SERVICE, Service)
    # The loop runs what it is given before it says that it serves; its pool ends with the main thread, which therefore stays.
    listener._loop.call_soon(announce, listener)
    listener.run_forever()


def announce(listener: AioListener) -> None:
    """`ready`, once the listener has its socket; it has no word for that."""
    if listener._server is None:
        listener._loop.call_later(0.01, announce, listener)
    else:
        print("ready", flush=True)


def pack(text: str) -> bytes:
    return bytes(StringValue(value=text).SerializeToString())


def unpack(body: bytes) -> str:
    return str(StringValue.FromString(body).value)


class At:
    """Where all calls go: its clients keep a table of services, which does not suit tests with many addresses."""

    address: tuple[str, int] = ("127.0.0.1", 0)


def _address(self: _BaseClient, interface: str) -> tuple[str, int]:
    del self, interface
    return At.address


class Caller:
    def __init__(self) -> None:
        _BaseClient._get_address = _address
        self.blocking, self.looping = Client("peer"), AioClient("peer")

    def begin(self, command: dict[str, str], text: str) -> Future[object]:
        """An asynchronous call."""
        answer = self.looping.invoke_async(
            SERVICE, command.get("method", "echo"), pack(text), spanctx=SpanContext(), **headers(command)
        )
        assert isinstance(answer, Future)
        return answer

    def call(self, command: dict[str, str], text: str) -> str:
        host, _, port = command["at"].rpartition(":")
        At.address = (host, int(port))
        how, timeout = command.get("how", "sync"), int(command.get("timeout", "10000"))
        method = command.get("method", "echo")
        if how == "future":
            return unpack(self.begin(command, text).result(timeout / 1_000).content)  # type: ignore[attr-defined]
        if how == "callback":
            got: Future[bytes] = Future()
            self.looping.invoke_async(
                SERVICE,
                method,
                pack(text),
                spanctx=SpanContext(),
                callback=got.set_result,
                **headers(command),
            )
            return unpack(got.result(timeout / 1_000))
        if how == "oneway":
            self.blocking.invoke_oneway(
                SERVICE, method, pack(text), spanctx=SpanContext(), **headers(command)
            )
            return "sent"
        body = self.blocking.invoke_sync(
            SERVICE, method, pack(text), spanctx=SpanContext(), timeout_ms=timeout, **headers(command)
        )
        return unpack(body)

    def many(self, command: dict[str, str], texts: list[str]) -> list[str]:
        """All at once on the one connection of the asynchronous client."""
        self.call({**command, "how": "future"}, "first")
        answers = [self.begin(command, text) for text in texts]
        return [unpack(answer.result(60).content) for answer in answers]  # type: ignore[attr-defined]


def headers(command: dict[str, str]) -> dict[str, str]:
    return {
        name.removeprefix("header."): value for name, value in command.items() if name.startswith("header.")
    }


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[4]))
    else:
        caller = Caller()
        commands.serve(caller.call, caller.many)
