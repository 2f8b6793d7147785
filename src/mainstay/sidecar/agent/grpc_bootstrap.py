"""The bootstrap of a gRPC library that takes part in the mesh by itself: for `GRPC_XDS_BOOTSTRAP`.

In: settings, the certificate, where its files are. Out: the bootstrap. Invariants: it holds no key, only where the files are; the
control plane is verified by the mesh's roots and its address, which stand in no certificate but its own.
"""

from __future__ import annotations

from typing import Any

from mainstay.identity.join_wire import Joined
from mainstay.model.agent import INBOUND_LISTENER, PROVIDER
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar.agent.files import CHAIN, KEY, ROOTS_FILE, CertificateFiles
from mainstay.sidecar.agent.nodes import proxy_node

REFRESH = "2s"
"""How often gRPC looks at the files: its only way to see that they were exchanged."""


def grpc_bootstrap(
    settings: SidecarSettings, version: str, joined: Joined, files: CertificateFiles
) -> dict[str, Any]:
    """See the module."""
    certificates = {
        "certificate_file": str(files.path(CHAIN)),
        "private_key_file": str(files.path(KEY)),
        "ca_certificate_file": str(files.path(ROOTS_FILE)),
        "refresh_interval": REFRESH,
    }
    server = {
        "server_uri": f"dns:///{settings.control_plane.address}",
        "channel_creds": [{"type": "tls", "config": certificates}],
        "server_features": ["xds_v3"],
    }
    return {
        "xds_servers": [server],
        "node": proxy_node(settings, "sidecar", version, joined),
        "certificate_providers": {PROVIDER: {"plugin_name": "file_watcher", "config": certificates}},
        "server_listener_resource_name_template": INBOUND_LISTENER,
    }
