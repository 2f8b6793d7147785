"""Gateways' certificates as SDS resources: the one place that turns a stored secret into what is sent.

In: GatewaySecret objects, already opened. Out: `Resource`s for proxies that may have them. Invariants: a proxy gets only
secrets of its own namespace (Istio's rule for `credentialName`), only if it is a gateway (`streams` has held its account
against what somebody wrote) and its certificate proved it; the version says nothing
of the content: it is a digest keyed with a number of this process. Asked by `proxies`.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping

from mainstay.api.mainstay.gateway_secret import GatewaySecret, certificate_of
from mainstay.api.object import Object
from mainstay.compile.resource import MESSAGES, Resource, serialise
from mainstay.compile.traits import Proxy
from mainstay.control.objects import ObjectId
from mainstay.model.digest import digest_of_bytes
from mainstay.model.secret import parse_secret_name

KIND = "Secret"


class GatewayCertificates:
    """See the module. `find_object(namespace, name)` gives the object somebody wrote."""

    def __init__(self, find_object: Callable[[str, str], Object | None]) -> None:
        self._find_object = find_object
        self._key = secrets.token_bytes(16)

    def find(self, name: str, proxy: Proxy) -> Resource | None:
        """The secret of this SDS name, if there is one and the proxy may have it."""
        ref = parse_secret_name(name)
        if ref is None or proxy.kind != "gateway" or not proxy.proven or ref.namespace != proxy.namespace:
            return None
        found = self._find_object(ref.namespace, ref.name)
        if found is None or not isinstance(found.spec, GatewaySecret):
            return None
        certificate = certificate_of(found.spec)
        if certificate is None:
            return None
        if ref.ca:
            if not certificate.authorities:
                return None
            fields = {"validation_context": {"trusted_ca": _inline(certificate.authorities)}}
        elif not certificate.chain or not certificate.key:
            return None
        else:
            fields = {
                "tls_certificate": {
                    "certificate_chain": _inline(certificate.chain),
                    "private_key": _inline(certificate.key),
                }
            }
        body = serialise(MESSAGES["secret"], {"name": name, **fields})
        return Resource("secret", name, digest_of_bytes(self._key + body), body)


def _inline(text: str) -> dict[str, bytes]:
    return {"inline_bytes": text.encode()}


def find_secret_object(objects: Mapping[ObjectId, Object], group: str) -> Callable[[str, str], Object | None]:
    """A finder over all objects the control plane works with."""
    return lambda namespace, name: objects.get(ObjectId(group, KIND, namespace, name))
