"""Thrift's own library: the strict binary protocol in frames, and the compact one. A client that takes commands, or
`serve NAME thrift PORT thrift-compact PORT`.

The service is what `thrift --gen py` makes of `string echo(1: string text)` and its like, written out by hand: PyPI
has no package of the compiler.
"""

from __future__ import annotations

import sys
import threading

import commands
from provider import Provider
from thrift.protocol.TBinaryProtocol import TBinaryProtocol, TBinaryProtocolAcceleratedFactory
from thrift.protocol.TCompactProtocol import TCompactProtocol, TCompactProtocolAcceleratedFactory
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.server.TServer import TServer, TThreadedServer
from thrift.Thrift import TApplicationException, TMessageType, TProcessor, TType
from thrift.TMultiplexedProcessor import TMultiplexedProcessor
from thrift.transport.TSocket import TServerSocket, TSocket
from thrift.transport.TTransport import TFramedTransport, TFramedTransportFactory

SERVICE = "Echo"
_FAILURE = 1
"""The field of a result in which a declared exception stands."""


class RefusedError(Exception):
    """The exception that the service declares: `exception Refused { 1: string why }`."""


def write_text(protocol: TBinaryProtocol, struct: str, field: int, text: str) -> None:
    protocol.writeStructBegin(struct)
    protocol.writeFieldBegin("text", TType.STRING, field)
    protocol.writeString(text)
    protocol.writeFieldEnd()
    protocol.writeFieldStop()
    protocol.writeStructEnd()


def read_texts(protocol: TBinaryProtocol) -> dict[int, str]:
    """The strings of a structure by field; a structure within one counts as its first string."""
    found: dict[int, str] = {}
    protocol.readStructBegin()
    while True:
        _, kind, field = protocol.readFieldBegin()
        if kind == TType.STOP:
            break
        if kind == TType.STRING:
            found[field] = protocol.readString()
        elif kind == TType.STRUCT:
            found[field] = read_texts(protocol).get(1, "")
        else:
            protocol.skip(kind)
        protocol.readFieldEnd()
    protocol.readStructEnd()
    return found


class Processor(TProcessor):  # type: ignore[misc]
    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    def process(self, given: TBinaryProtocol, out: TBinaryProtocol) -> None:
        method, kind, sequence = given.readMessageBegin()
        text = read_texts(given).get(1, "")
        given.readMessageEnd()
        try:
            value = getattr(self.provider, method)(text)
        except AttributeError:
            unknown = TApplicationException(TApplicationException.UNKNOWN_METHOD, method)
            out.writeMessageBegin(method, TMessageType.EXCEPTION, sequence)
            unknown.write(out)
        except RuntimeError as failure:
            out.writeMessageBegin(method, TMessageType.REPLY, sequence)
            out.writeStructBegin("result")
            out.writeFieldBegin("refused", TType.STRUCT, _FAILURE)
            write_text(out, "Refused", 1, str(failure))
            out.writeFieldEnd()
            out.writeFieldStop()
            out.writeStructEnd()
        else:
            if kind == TMessageType.ONEWAY:
                return
            out.writeMessageBegin(method, TMessageType.REPLY, sequence)
            write_text(out, "result", 0, value)
        out.writeMessageEnd()
        out.trans.flush()


PROTOCOLS = {
    "thrift": (TBinaryProtocol, TBinaryProtocolAcceleratedFactory),
    "thrift-compact": (TCompactProtocol, TCompactProtocolAcceleratedFactory),
}


def serve(name: str, listening: dict[str, int]) -> None:
    servers = [server(name, protocol, port) for protocol, port in listening.items()]
    print("ready", flush=True)
    for each in servers[1:]:
        threading.Thread(target=each.serve, daemon=True).start()
    servers[0].serve()


def server(name: str, protocol: str, port: int) -> TServer:
    several = TMultiplexedProcessor()
    several.registerProcessor(SERVICE, Processor(Provider(name)))
    several.registerDefault(Processor(Provider(name)))
    listening = TServerSocket("127.0.0.1", port)
    _, factory = PROTOCOLS[protocol]
    made = TThreadedServer(several, listening, TFramedTransportFactory(), factory(), daemon=True)
    listening.listen()
    # It has no word for «listening»; the socket is, and `serve` listens to it a second time, which changes nothing.
    listening.listen = lambda: None  # type: ignore[method-assign]
    return made


class Caller:
    """A connection a thread and address: Thrift's clients have one call in flight."""

    def __init__(self) -> None:
        self.local = threading.local()

    def call(self, command: dict[str, str], text: str) -> str:
        connections = self.local.__dict__.setdefault("connections", {})
        at, timeout = command["at"], int(command.get("timeout", "10000"))
        transport = connections.get(at)
        if transport is None:
            host, _, port = at.rpartition(":")
            transport = connections[at] = TFramedTransport(TSocket(host, int(port)))
            transport.open()
        transport._TFramedTransport__trans.setTimeout(timeout)
        try:
            return self.exchange(transport, command, text)
        except (OSError, EOFError):
            connections.pop(at).close()
            raise
        except Exception as error:
            if type(error).__name__ == "TTransportException":
                connections.pop(at).close()
            raise

    def exchange(self, transport: TFramedTransport, command: dict[str, str], text: str) -> str:
        speaks, _ = PROTOCOLS[command.get("protocol", "thrift")]
        protocol = speaks(transport)
        writing = protocol if command.get("service") == "none" else TMultiplexedProtocol(protocol, SERVICE)
        is_one_way = command.get("how") == "oneway"
        self.local.sequence = sequence = getattr(self.local, "sequence", 0) + 1
        kind = TMessageType.ONEWAY if is_one_way else TMessageType.CALL
        writing.writeMessageBegin(command.get("method", "echo"), kind, sequence)
        write_text(writing, "args", 1, text)
        writing.writeMessageEnd()
        transport.flush()
        if is_one_way:
            return "sent"
        _, kind, answered = protocol.readMessageBegin()
        if kind == TMessageType.EXCEPTION:
            failure = TApplicationException()
            failure.read(protocol)
            protocol.readMessageEnd()
            raise failure
        fields = read_texts(protocol)
        protocol.readMessageEnd()
        assert answered == sequence, f"{answered} answers {sequence}"
        if _FAILURE in fields:
            raise RefusedError(fields[_FAILURE])
        return fields[0]


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], dict(zip(sys.argv[3::2], map(int, sys.argv[4::2]), strict=True)))
    else:
        commands.serve(Caller().call)
