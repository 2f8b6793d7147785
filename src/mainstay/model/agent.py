"""What the control plane and an agent (`mainstay sidecar --proxy …`, beside another proxy) agree on.

The control plane sends such a proxy resources that name files; the agent keeps these files. Names are seen from the folder in
which the proxy runs, so that one resource does for all proxies.
"""

AGENT_METADATA = "MAINSTAY_AGENT"
"""Node metadata of a proxy beside which an agent stands: which program the proxy is."""

CERTIFICATES_FOLDER = "certificates"
"""Folder of the workload's leaf, key and roots."""

ENVOY_BOOTSTRAP, GRPC_BOOTSTRAP = "envoy-bootstrap.json", "grpc-bootstrap.json"
"""Files in an agent's data folder, from which the proxy starts; the second is what `GRPC_XDS_BOOTSTRAP` names."""

PROVIDER = "default"
"""Name of the certificate provider in a gRPC bootstrap (Istio's)."""

INBOUND_LISTENER = "xds.istio.io/grpc/lds/inbound/%s"
"""Name under which a gRPC server asks for its listener; `%s` is the address it listens on (Istio's template)."""


def secret_file(name: str) -> str:
    """Path of the file that says where a secret lies, in the proxy's own format."""
    return f"{CERTIFICATES_FOLDER}/{name}.json"
