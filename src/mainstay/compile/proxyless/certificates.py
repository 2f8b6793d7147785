"""TLS of a gRPC library: certificates come from the provider of its bootstrap.

In: identities. Out: transport sockets as fields (gRFC A29).
"""

from collections.abc import Iterable

from mainstay.compile.resource import Fields, extension
from mainstay.model.agent import PROVIDER

_TLS = "envoy.transport_sockets.tls"
_UPSTREAM = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_DOWNSTREAM = "envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_INSTANCE: Fields = {"instance_name": PROVIDER}


def client_context(identities: Iterable[str]) -> Fields:
    """Return mutual TLS towards peers that must present one of ``identities`` (none: any that the roots vouch for)."""
    # The typed matcher is not read by all of gRPC's libraries.
    sans: list[Fields] = [{"exact": identity} for identity in identities]
    return extension(_TLS, _UPSTREAM, {"common_tls_context": _common(sans)})


def server_context() -> Fields:
    """Return mutual TLS for a server: whoever the mesh's roots vouch for. gRPC's servers compare no names; the roots are those
    of one trust domain, and RBAC looks at identities."""
    fields: Fields = {"common_tls_context": _common([]), "require_client_certificate": {"value": True}}
    return extension(_TLS, _DOWNSTREAM, fields)


def _common(sans: list[Fields]) -> Fields:
    validation: Fields = {"ca_certificate_provider_instance": _INSTANCE}
    if sans:
        validation["match_subject_alt_names"] = sans
    return {"tls_certificate_provider_instance": _INSTANCE, "validation_context": validation}
