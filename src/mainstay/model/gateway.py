"""A gateway: servers at the edge of the mesh, applied by the proxies its selector picks.

In: Gateway objects. Out: ``Gateway`` facts; routes join them through their audience (``namespace/name``).
"""

from typing import Literal

import msgspec

from mainstay.model.key import Labels, ObjectKey
from mainstay.model.protocol import PortProtocol
from mainstay.model.scope import HostPattern
from mainstay.model.secret import SecretRef

ServerTlsMode = Literal["SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL", "ISTIO_MUTUAL", "PASSTHROUGH"]
TlsVersion = Literal["AUTO", "1.2", "1.3"]


class ServerTls(msgspec.Struct, frozen=True, gc=False):
    """TLS of a server (ServerTLSSettings). Keys come by ``credential`` (SDS) or from files on the gateway's machine;
    ``subject_alt_names`` (sorted) restrict clients in MUTUAL modes."""

    mode: ServerTlsMode
    credential: SecretRef | None = None
    server_certificate: str = ""
    private_key: str = ""
    ca_certificates: str = ""
    subject_alt_names: tuple[str, ...] = ()
    min_version: TlsVersion = "AUTO"
    max_version: TlsVersion = "AUTO"


class Server(msgspec.Struct, frozen=True, gc=False):
    """One port of a gateway; ``hosts`` sorted, namespace ``*`` where none was written. ``https_redirect`` answers plain
    HTTP with 301 to https."""

    port: int
    protocol: PortProtocol
    hosts: tuple[HostPattern, ...]
    name: str = ""
    bind: str = ""
    tls: ServerTls | None = None
    https_redirect: bool = False


class Gateway(msgspec.Struct, frozen=True, gc=False):
    """A Gateway: servers in the author's order; ``selector`` empty selects every gateway proxy."""

    key: ObjectKey
    servers: tuple[Server, ...]
    selector: Labels = ()
    created: int = 0

    @property
    def audience(self) -> str:
        """The audience under which route tables name this gateway."""
        return str(self.key)
