"""The protocol of a port: declared by its author, read from its name, or left to detection.

In: appProtocol, port name, port number. Out: ``PortProtocol``. Called by dialects and sources when they make services.
The rules are Istio's: appProtocol first, else the part of the name before ``-``, else detection; the well-known
server-first ports are never detected, since a client that waits for the server's greeting would wait for ever.
Names that are no protocol of this table may be those of a ``Protocol`` object: they stay as ``claims`` until it is known
which there are (``model.rpc``).
"""

from enum import StrEnum


class PortProtocol(StrEnum):
    """What a port speaks; ``AUTO`` is detected by the proxy from the first bytes."""

    AUTO = "auto"
    HTTP = "http"
    HTTP2 = "http2"
    GRPC = "grpc"
    GRPC_WEB = "grpc-web"
    HTTPS = "https"
    TLS = "tls"
    TCP = "tcp"
    UDP = "udp"
    MONGO = "mongo"
    MYSQL = "mysql"
    REDIS = "redis"
    RPC = "rpc"
    """A framed protocol that a ``Protocol`` object describes; the port says which. Nobody writes this word."""

    @property
    def is_http(self) -> bool:
        """Tell whether requests of this port can be routed (HTTP in clear text inside the mesh)."""
        return self in _HTTP

    @property
    def is_http2(self) -> bool:
        """Tell whether the application must be spoken to in HTTP/2."""
        return self in _HTTP2

    @property
    def is_tls(self) -> bool:
        """Tell whether the application itself speaks TLS, so that only SNI can be seen."""
        return self in _TLS


_HTTP = frozenset({PortProtocol.HTTP, PortProtocol.HTTP2, PortProtocol.GRPC, PortProtocol.GRPC_WEB})
_HTTP2 = frozenset({PortProtocol.HTTP2, PortProtocol.GRPC})
_TLS = frozenset({PortProtocol.HTTPS, PortProtocol.TLS})

SERVER_FIRST_PORTS = frozenset({25, 53, 3306, 27017})
"""SMTP, DNS, MySQL, MongoDB: undeclared ports of these numbers are TCP (Istio's well-known ports)."""

_APP_PROTOCOLS = {
    "kubernetes.io/h2c": PortProtocol.HTTP2,
    "kubernetes.io/ws": PortProtocol.HTTP,
    "kubernetes.io/wss": PortProtocol.HTTPS,
    "http2": PortProtocol.HTTP2,
    "h2c": PortProtocol.HTTP2,
}


def declared_protocol(text: str) -> PortProtocol | None:
    """Return the protocol an author names (case-insensitive: ``HTTP``, ``grpc``, ``kubernetes.io/h2c``), or None."""
    lowered = text.lower()
    if lowered in _APP_PROTOCOLS:
        return _APP_PROTOCOLS[lowered]
    try:
        found = PortProtocol(lowered)
    except ValueError:
        return None
    return None if found is PortProtocol.RPC else found


OWN_PREFIX = "mainstay.dev/"
"""May stand before the name of a ``Protocol`` in appProtocol, as Kubernetes wants it of names that are not IANA's."""


def claims_of_port(name: str = "", app_protocol: str = "") -> tuple[str, ...]:
    """Return the names of ``Protocol`` objects that would take the port, in order: what appProtocol says, then the name,
    whole and up to each ``-``. Protocols of this table go first, so a port called ``http-bolt`` claims nothing."""
    found: list[str] = []
    if app_protocol:
        if declared_protocol(app_protocol):
            return ()
        found.append(app_protocol.lower().removeprefix(OWN_PREFIX))
    lowered = name.lower()
    if lowered and not lowered.startswith("grpc-web") and not declared_protocol(lowered.partition("-")[0]):
        parts = lowered.split("-")
        found += ["-".join(parts[:end]) for end in range(len(parts), 0, -1)]
    return tuple(dict.fromkeys(found))


def protocol_of_port(number: int, name: str = "", app_protocol: str = "") -> PortProtocol:
    """Return what a port speaks by Istio's order: appProtocol, name prefix, server-first numbers, detection."""
    if app_protocol and (declared := declared_protocol(app_protocol)):
        return declared
    if name.lower().startswith("grpc-web"):
        return PortProtocol.GRPC_WEB
    if name and (named := declared_protocol(name.partition("-")[0])):
        return named
    return PortProtocol.TCP if number in SERVER_FIRST_PORTS else PortProtocol.AUTO
