"""What is spoken on either side of a proxy, as pieces of its configuration.

In: certificates. Out: values for the templates: Envoy's (which Mainstay takes too) and haproxy's, so that both say the same.
"""

from __future__ import annotations

from bench.certificates import CLIENT, SERVER, Certificates

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3."
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HTTP2 = (
    f'typed_extension_protocol_options: {{{_HTTP_OPTIONS}: {{"@type": type.googleapis.com/{_HTTP_OPTIONS}, '
    "explicit_http_config: {http2_protocol_options: {}}}}"
)
# Envoy's clients stop at TLS 1.2 unless told otherwise.
_VERSIONS = "tls_params: {tls_minimum_protocol_version: TLSv1_3, tls_maximum_protocol_version: TLSv1_3}"
_HAPROXY_VERSIONS = "ssl-min-ver TLSv1.3 ssl-max-ver TLSv1.3"


def clear() -> dict[str, str]:
    """HTTP/1.1, or bytes, without TLS."""
    return {"listener": "", "cluster": "", "bind": "", "server": ""}


def clear_http2() -> dict[str, str]:
    """HTTP/2 without TLS on both sides (Envoy and Mainstay tell a client's by its first bytes)."""
    return {"listener": "", "cluster": _HTTP2, "bind": "proto h2", "server": "proto h2"}


def outbound(certificates: Certificates, *, http2: bool) -> dict[str, str]:
    """HTTP/1.1 in; mutual TLS out, with HTTP/2 inside or, for haproxy, HTTP/1.1 as the method has it."""
    haproxy = (
        f"ssl crt {certificates.bundle(CLIENT)} ca-file {certificates.roots} verify required sni str(server.bench) "
        f"{_HAPROXY_VERSIONS} {'alpn h2 proto h2' if http2 else 'alpn http/1.1'}"
    )
    return {
        "listener": "",
        "cluster": f"{_upstream(certificates, 'h2')}\n    {_HTTP2}",
        "bind": "",
        "server": haproxy,
    }


def inbound(certificates: Certificates) -> dict[str, str]:
    """Mutual TLS in, HTTP/1.1 out."""
    haproxy = (
        f"ssl crt {certificates.bundle(SERVER)} ca-file {certificates.roots} verify required {_HAPROXY_VERSIONS} "
        "alpn h2,http/1.1"
    )
    return {
        "listener": _downstream(certificates, "h2, http/1.1"),
        "cluster": "",
        "bind": haproxy,
        "server": "",
    }


def outbound_rpc(certificates: Certificates) -> dict[str, str]:
    """Framed RPC in; the same frames out, inside mutual TLS."""
    return clear() | {"cluster": _upstream(certificates, "istio")}


def inbound_rpc(certificates: Certificates) -> dict[str, str]:
    """Frames inside mutual TLS in; the same frames out."""
    return clear() | {"listener": _downstream(certificates, "istio")}


def _upstream(certificates: Certificates, alpn: str) -> str:
    context = (
        f'{{"@type": {_TLS}UpstreamTlsContext, sni: server.bench, '
        f"common_tls_context: {{{_VERSIONS}, alpn_protocols: [{alpn}], {_identity(certificates, CLIENT, SERVER)}}}}}"
    )
    return f"transport_socket: {{name: envoy.transport_sockets.tls, typed_config: {context}}}"


def _downstream(certificates: Certificates, alpn: str) -> str:
    context = (
        f'{{"@type": {_TLS}DownstreamTlsContext, require_client_certificate: true, '
        f"common_tls_context: {{{_VERSIONS}, alpn_protocols: [{alpn}], {_identity(certificates, SERVER, CLIENT)}}}}}"
    )
    return f"transport_socket: {{name: envoy.transport_sockets.tls, typed_config: {context}}}"


def _identity(certificates: Certificates, own: str, peer: str) -> str:
    return (
        f"tls_certificates: [{{certificate_chain: {{filename: {certificates.chain(own)}}}, "
        f"private_key: {{filename: {certificates.key(own)}}}}}], "
        f"validation_context: {{trusted_ca: {{filename: {certificates.roots}}}, match_typed_subject_alt_names: "
        f"[{{san_type: URI, matcher: {{exact: {certificates.identity(peer)}}}}}]}}"
    )
