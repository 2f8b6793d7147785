"""Gateway as authors write it (networking.istio.io; source: istio/api gateway.proto).

In: YAML or JSON, through the decoder. Out: ``Gateway``, read by ``translate/gateway``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from mainstay.api.define import Anything, Labels, Length, NotYet, NotYetValue, Part, Port

TlsProtocol = Literal["TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"]
_OLD_TLS = NotYetValue(("TLSV1_0", "TLSV1_1"), "TLS before 1.2 is broken and will not come")


class GatewayPort(Part, frozen=True):
    """The port a server listens on."""

    number: Annotated[Port, "Port number."]
    protocol: Annotated[
        Literal["HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTPS", "TLS", "TCP", "MONGO", "MYSQL", "REDIS"],
        "What clients speak: HTTPS is HTTP inside TLS that ends here, TLS is anything inside TLS.",
        NotYetValue(("GRPC-WEB",), "gRPC-Web"),
    ]
    name: Annotated[str, "Name of the port.", Length(1, 63)]
    target_port: Annotated[int | None, "Old field.", NotYet("removed from Istio's API")] = None


class ServerTLSSettings(Part, frozen=True):
    """TLS of a server."""

    https_redirect: Annotated[bool, "Answer plain HTTP with a redirect (301) to https."] = False
    mode: Annotated[
        Literal["PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"],
        "PASSTHROUGH: by server name, TLS untouched · SIMPLE: own certificate · MUTUAL: and the client's ·"
        " ISTIO_MUTUAL: the mesh's identities.",
        NotYetValue(("AUTO_PASSTHROUGH",), "forwarding between clusters by server name"),
    ] = "PASSTHROUGH"
    server_certificate: Annotated[str | None, "File of the certificate chain on the gateway's machine."] = (
        None
    )
    private_key: Annotated[str | None, "File of the private key."] = None
    ca_certificates: Annotated[str | None, "File of the CAs that verify clients."] = None
    ca_crl: Annotated[str | None, "File of revocations.", NotYet("certificate revocation lists")] = None
    credential_name: Annotated[
        str | None, "GatewaySecret with certificate and key, in the gateway's namespace."
    ] = None
    credential_names: Annotated[
        Anything, "Several certificates.", NotYet("several certificates of one server")
    ] = None
    tls_certificates: Annotated[
        Anything, "Several certificates.", NotYet("several certificates of one server")
    ] = None
    ca_cert_credential_name: Annotated[
        Anything, "CAs apart.", NotYet("CAs apart from the certificate's secret")
    ] = None
    subject_alt_names: Annotated[
        tuple[str, ...], "Names of which the client's certificate must carry one."
    ] = ()
    verify_certificate_spki: Annotated[Anything, "Pinned keys.", NotYet("pinning of keys")] = None
    verify_certificate_hash: Annotated[
        Anything, "Pinned certificates.", NotYet("pinning of certificates")
    ] = None
    min_protocol_version: Annotated[TlsProtocol | None, "Lowest version; 1.2 if absent.", _OLD_TLS] = None
    max_protocol_version: Annotated[TlsProtocol | None, "Highest version; 1.3 if absent.", _OLD_TLS] = None
    cipher_suites: Annotated[
        Anything, "Cipher suites.", NotYet("choice of cipher suites; only safe ones are offered")
    ] = None
    insecure_skip_verify: Annotated[
        bool | None, "Do not verify clients.", NotYet("MUTUAL without verification")
    ] = None


class Server(Part, frozen=True, kw_only=True):
    """One port of the gateway and the hosts it takes there."""

    port: Annotated[GatewayPort, "Where it listens."]
    bind: Annotated[str | None, "Address to listen on; all if absent."] = None
    hosts: Annotated[tuple[str, ...], "Hosts: `host`, `namespace/host`, `*.suffix` or `*`.", Length(1, 1024)]
    tls: Annotated[ServerTLSSettings | None, "TLS; needed for HTTPS and TLS."] = None
    default_endpoint: Annotated[str | None, "Old field.", NotYet("a default endpoint")] = None
    name: Annotated[str | None, "Name of the server."] = None


class Gateway(Part, frozen=True, kw_only=True):
    """Servers at the edge of the mesh; VirtualServices that name the gateway give them routes."""

    selector: Annotated[Labels, "Labels of the gateway proxies that apply it, in any namespace."] = {}
    servers: Annotated[tuple[Server, ...], "Servers.", Length(1, 256)]
