"""A Dubbo server (hessian2) that answers each call with its version."""

from __future__ import annotations

import os
import socketserver
import struct

HEAD = struct.Struct(">HBBqI")


class Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while head := self.rfile.read(HEAD.size):
            _, flags, _, number, length = HEAD.unpack(head)
            self.rfile.read(length)
            text = os.environ["VERSION"].encode()
            is_event = flags & 0x20
            body = b"N" if is_event else b"\x91" + bytes([len(text)]) + text
            self.wfile.write(HEAD.pack(0xDABB, 2 | is_event, 20, number, len(body)) + body)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server((os.environ["HOST"], int(os.environ["PORT"])), Connection).serve_forever()
