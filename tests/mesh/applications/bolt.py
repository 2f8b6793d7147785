"""A Bolt server that answers each call with its version, the service and the method that were called, and one header."""

from __future__ import annotations

import os
import socketserver
import struct

REQUEST, ANSWER = 22, 20


def read_headers(block: bytes) -> dict[str, str]:
    texts, at = [], 0
    while at < len(block):
        (size,) = struct.unpack_from(">i", block, at)
        texts.append(block[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return dict(zip(texts[::2], texts[1::2], strict=True))


class Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        while head := self.rfile.read(REQUEST):
            command, number = struct.unpack_from(">H", head, 2)[0], struct.unpack_from(">I", head, 5)[0]
            class_length, map_length, length = struct.unpack_from(">HHI", head, 14)
            self.rfile.read(class_length)
            headers = read_headers(self.rfile.read(map_length))
            self.rfile.read(length)
            body = b""
            if command:
                told = (os.environ["VERSION"], headers["service"], headers["sofa_head_method_name"])
                body = " ".join((*told, headers.get("x-seen", "-"))).encode()
            kind = 2 if command else 0
            self.wfile.write(
                struct.pack(">BBHBIBHHHI", 1, 0, kind, 1, number, head[9], 0, 0, 0, len(body)) + body
            )


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server((os.environ["HOST"], int(os.environ["PORT"])), Connection).serve_forever()
