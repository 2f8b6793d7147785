"""The node of the proxy beside an agent, as plain values: who it is to the control plane.

In: settings, the certificate. Out: the fields of a `core.v3.Node`, for bootstraps. Invariants: the account is the certificate's;
it registers into no group, since the agent does; its metadata says that an agent stands beside it, so that it gets the files'
names.
"""

from __future__ import annotations

from typing import Any

from mainstay.identity.join_wire import Joined
from mainstay.model.agent import AGENT_METADATA
from mainstay.settings.sidecar import SidecarSettings
from mainstay.sidecar.bootstrap import own


def proxy_node(settings: SidecarSettings, verb: str, version: str, joined: Joined) -> dict[str, Any]:
    """`verb`: sidecar or gateway."""
    node = own.node_of(settings, verb, version)
    metadata = {name: value for name, value in node.metadata.items() if name != own.GROUP_METADATA}
    metadata[AGENT_METADATA] = settings.proxy
    if account := joined.identity.rpartition("/sa/")[2]:
        metadata[own.ACCOUNT_METADATA] = account
    fields: dict[str, Any] = {"id": node.id, "cluster": node.cluster, "metadata": metadata}
    locality = {"region": node.region, "zone": node.zone, "sub_zone": node.sub_zone}
    if any(locality.values()):
        fields["locality"] = {name: value for name, value in locality.items() if value}
    return fields
