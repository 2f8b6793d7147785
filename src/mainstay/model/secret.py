"""References to secrets; key bytes never enter the model.

In: credential names of Gateways and DestinationRules. Out: the name under which a proxy asks SDS for it.
"""

import msgspec

LEAF = "default"
"""SDS name of a workload's own certificate and key (Istio's)."""

ROOTS = "ROOTCA"
"""SDS name of the trust bundle (Istio's)."""

_SCHEME = "secret://"


class SecretRef(msgspec.Struct, frozen=True, gc=False, order=True):
    """A gateway's certificate: namespace and name of the secret-shaped object.

    ``ca`` asks for its CA certificates (validation of clients) instead of its key pair.
    """

    namespace: str
    name: str
    ca: bool = False

    @property
    def resource_name(self) -> str:
        """SDS resource name: ``secret://namespace/name``, with ``-cacert`` for the CA part (Istio's suffix)."""
        return f"{_SCHEME}{self.namespace}/{self.name}{'-cacert' if self.ca else ''}"


def parse_secret_name(resource_name: str) -> SecretRef | None:
    """Parse an SDS name made by ``SecretRef.resource_name``; None for the workload's own and foreign names."""
    if not resource_name.startswith(_SCHEME):
        return None
    namespace, slash, name = resource_name[len(_SCHEME) :].partition("/")
    if not (namespace and slash and name):
        return None
    if name.endswith("-cacert"):
        return SecretRef(namespace, name.removesuffix("-cacert"), ca=True)
    return SecretRef(namespace, name)
