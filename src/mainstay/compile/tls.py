"""TLS contexts and the ALPN by which mesh peers tell HTTP from byte streams.

In: modes, identities, secret references. Out: transport sockets as fields, and references to the secrets they need.
Istio's sidecars rewrite ALPN per request by a filter of their own; stock Envoy has none, so each outbound cluster offers
what leads to the right inbound chain (``istio-…`` selects the chain) and a standard name besides, which the server picks
and by which it knows the codec. A cluster that follows its client's protocol offers no standard name: the server then
finds the codec from the first bytes.
"""

from collections.abc import Iterable
from typing import Literal

from mainstay.compile.capability import OwnSecrets
from mainstay.compile.names import SDS_CLUSTER
from mainstay.compile.resource import Fields, Ref, extension
from mainstay.model.agent import secret_file
from mainstay.model.gateway import ServerTls
from mainstay.model.secret import LEAF, ROOTS, SecretRef
from mainstay.model.traffic import ClientTls

Wire = Literal["http1", "http2", "downstream", "stream"]
"""What an outbound cluster speaks: fixed HTTP/1.1, fixed HTTP/2, its client's version, plain bytes."""

MESH_HTTP_ALPNS = ("istio-http/1.0", "istio-http/1.1", "istio-h2")
MESH_ALPNS = ("istio", "istio-peer-exchange", *MESH_HTTP_ALPNS)
"""A ClientHello offering one of these is mesh mTLS."""

RPC_ALPN = "mainstay-"
"""In front of a framed protocol's name: what our sidecars offer first for its calls, so that a port that declares nothing knows
them inside mTLS (the engine's `stream/pools.rs` has it too). To servers without such a chain the mesh's own names follow."""

CLIENT_ALPNS: dict[Wire, tuple[str, ...]] = {
    "http1": ("istio-http/1.1", "istio", "http/1.1"),
    "http2": ("istio-h2", "istio", "h2"),
    "downstream": ("istio-http/1.1", "istio-h2", "istio"),
    "stream": ("istio-peer-exchange", "istio"),
}
SERVER_HTTP_ALPNS = ("h2", "http/1.1")
SERVER_STREAM_ALPNS = ("istio-peer-exchange", "h2", "http/1.1")

_TLS = "envoy.transport_sockets.tls"
_UPSTREAM = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_DOWNSTREAM = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_VERSIONS = {"1.2": "TLSv1_2", "1.3": "TLSv1_3"}

MESH_SECRETS = (Ref("secret", LEAF), Ref("secret", ROOTS))


def raw_buffer() -> Fields:
    """Return the plain transport socket."""
    return extension(
        "envoy.transport_sockets.raw_buffer", "envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"
    )


def mesh_upstream(identities: Iterable[str], sni: str, wire: Wire, secrets: OwnSecrets = "agent") -> Fields:
    """Return mesh mTLS towards peers that must present one of ``identities`` (none: any the roots vouch for)."""
    return extension(
        _TLS,
        _UPSTREAM,
        {
            "common_tls_context": {
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "alpn_protocols": list(CLIENT_ALPNS[wire]),
                **_mesh_certificates([_uri_san({"exact": identity}) for identity in identities], secrets),
            },
            "sni": sni,
        },
    )


def mesh_downstream(trust_domain: str, http: bool, mesh_alpns: bool, secrets: OwnSecrets = "agent") -> Fields:
    """Return mesh mTLS for an inbound chain: a client certificate of the trust domain is required.

    ``mesh_alpns``: ``Capability.lists_mesh_alpns``; they stand last, so that a standard name is picked where one is offered.
    """
    alpns: tuple[str, ...] = SERVER_HTTP_ALPNS if http else SERVER_STREAM_ALPNS
    if mesh_alpns:
        alpns += tuple(name for name in MESH_ALPNS if name not in alpns)
    sans = [_uri_san({"prefix": f"spiffe://{trust_domain}/"})]
    return extension(
        _TLS,
        _DOWNSTREAM,
        {
            "common_tls_context": {
                "tls_params": {
                    "tls_minimum_protocol_version": "TLSv1_2",
                    "tls_maximum_protocol_version": "TLSv1_3",
                },
                "alpn_protocols": list(alpns),
                **_mesh_certificates(sans, secrets),
            },
            "require_client_certificate": {"value": True},
        },
    )


def client_tls(tls: ClientTls, host: str, accounts: Iterable[str], wire: Wire) -> tuple[Fields, list[Ref]]:
    """Return TLS towards a service outside the mesh (SIMPLE, MUTUAL) and the secrets it needs."""
    names = tls.subject_alt_names or tuple(accounts)
    sans = [entry for name in names for entry in _any_san(name)]
    common: Fields = {}
    refs: list[Ref] = []
    if wire in ("http1", "http2"):
        common["alpn_protocols"] = ["h2"] if wire == "http2" else ["http/1.1"]
    validation: Fields = {} if tls.insecure_skip_verify else {"match_typed_subject_alt_names": sans}
    if tls.credential is not None:
        ca = SecretRef(tls.credential.namespace, tls.credential.name, ca=True)
        if tls.mode == "MUTUAL":
            common["tls_certificate_sds_secret_configs"] = [_from_control_plane(tls.credential, refs)]
        if not tls.insecure_skip_verify:
            common["combined_validation_context"] = {
                "default_validation_context": validation,
                "validation_context_sds_secret_config": _from_control_plane(ca, refs),
            }
    else:
        if tls.mode == "MUTUAL":
            common["tls_certificates"] = [_files(tls.client_certificate, tls.private_key)]
        if tls.ca_certificates and not tls.insecure_skip_verify:
            common["validation_context"] = {**validation, "trusted_ca": {"filename": tls.ca_certificates}}
    sni = tls.sni or (host if not host.startswith("*") else "")
    return extension(_TLS, _UPSTREAM, {"common_tls_context": common, "sni": sni}), refs


def server_tls(
    tls: ServerTls, trust_domain: str, http: bool, mesh_alpns: bool, secrets: OwnSecrets = "agent"
) -> tuple[Fields, list[Ref]]:
    """Return a gateway server's TLS and the secrets it needs; PASSTHROUGH has none and must not come here."""
    if tls.mode == "ISTIO_MUTUAL":
        return mesh_downstream(trust_domain, http, mesh_alpns, secrets), list(MESH_SECRETS)
    refs: list[Ref] = []
    params: Fields = {"tls_minimum_protocol_version": _VERSIONS.get(tls.min_version, "TLSv1_2")}
    if tls.max_version != "AUTO":
        params["tls_maximum_protocol_version"] = _VERSIONS[tls.max_version]
    common: Fields = {"tls_params": params, "alpn_protocols": list(SERVER_HTTP_ALPNS) if http else []}
    if tls.credential is not None:
        common["tls_certificate_sds_secret_configs"] = [_from_control_plane(tls.credential, refs)]
    else:
        common["tls_certificates"] = [_files(tls.server_certificate, tls.private_key)]
    mutual = tls.mode in ("MUTUAL", "OPTIONAL_MUTUAL")
    if mutual:
        sans = [entry for name in tls.subject_alt_names for entry in _any_san(name)]
        validation: Fields = {"match_typed_subject_alt_names": sans}
        if tls.credential is not None:
            ca = SecretRef(tls.credential.namespace, tls.credential.name, ca=True)
            common["combined_validation_context"] = {
                "default_validation_context": validation,
                "validation_context_sds_secret_config": _from_control_plane(ca, refs),
            }
        else:
            common["validation_context"] = {**validation, "trusted_ca": {"filename": tls.ca_certificates}}
    required = {"value": tls.mode == "MUTUAL"}
    context = {"common_tls_context": common, "require_client_certificate": required}
    return extension(_TLS, _DOWNSTREAM, context), refs


def _mesh_certificates(sans: list[Fields], secrets: OwnSecrets) -> Fields:
    find = _from_own_files if secrets == "files" else _from_own_agent
    return {
        "tls_certificate_sds_secret_configs": [find(LEAF)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": sans},
            "validation_context_sds_secret_config": find(ROOTS),
        },
    }


def _from_own_files(name: str) -> Fields:
    """Files beside the proxy, seen from the folder it runs in: so the same resource does for every proxy.

    They name the PEM files and the folder that is watched for their exchange, and never change themselves.
    """
    return {
        "name": name,
        "sds_config": {
            "path_config_source": {"path": secret_file(name)},
            "resource_api_version": "V3",
        },
    }


def _from_own_agent(name: str) -> Fields:
    """A workload's own leaf and roots come from beside it, never from the control plane: the key stays there."""
    return {
        "name": name,
        "sds_config": {
            "api_config_source": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": SDS_CLUSTER}}],
                "set_node_on_first_message_only": True,
            },
            "resource_api_version": "V3",
            "initial_fetch_timeout": {},
        },
    }


def _from_control_plane(secret: SecretRef, refs: list[Ref]) -> Fields:
    """It may be deleted while it is named: then the proxy goes on after a while, and only what it is missing fails."""
    refs.append(Ref("secret", secret.resource_name))
    return {"name": secret.resource_name, "sds_config": {"ads": {}, "resource_api_version": "V3"}}


def _files(certificate: str, key: str) -> Fields:
    return {"certificate_chain": {"filename": certificate}, "private_key": {"filename": key}}


def _uri_san(matcher: Fields) -> Fields:
    return {"san_type": "URI", "matcher": matcher}


def _any_san(name: str) -> list[Fields]:
    if "://" in name:
        return [_uri_san({"exact": name})]
    return [{"san_type": "DNS", "matcher": {"exact": name}}]
