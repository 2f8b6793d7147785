"""Who a workload is: SPIFFE identities and the roots that vouch for them.

In: trust domain, namespace, account. Out: ``spiffe://<trust domain>/ns/<namespace>/sa/<account>`` (Istio's layout).
Invariant: a bundle is a set of roots from the first day, so that a root can be replaced while both are trusted.
"""

import msgspec

DEFAULT_TRUST_DOMAIN = "cluster.local"
DEFAULT_ACCOUNT = "default"


class Identity(msgspec.Struct, frozen=True, gc=False, order=True):
    """A workload identity."""

    trust_domain: str
    namespace: str
    account: str

    @property
    def spiffe(self) -> str:
        """The SPIFFE ID, as it stands in the certificate's URI SAN."""
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.account}"


class TrustBundle(msgspec.Struct, frozen=True, gc=False):
    """The roots of one trust domain: PEM certificates, sorted by text."""

    trust_domain: str
    roots: tuple[str, ...]


def parse_spiffe(text: str) -> Identity | None:
    """Parse Istio's SPIFFE layout; None for anything else."""
    if not text.startswith("spiffe://"):
        return None
    parts = text[len("spiffe://") :].split("/")
    if len(parts) != 5 or parts[1] != "ns" or parts[3] != "sa" or not all(parts):
        return None
    return Identity(parts[0], parts[2], parts[4])
