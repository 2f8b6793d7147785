"""Who connects: an xDS node as a ``Proxy``.

In: node id (``sidecar~ip~name.namespace~domain``, Istio's), metadata, user agent. Out: ``Proxy``, or ValueError saying what is
wrong with the node. Called by the control plane once per stream; whether the peer may claim all this is ``authorise``'s.
"""

from collections.abc import Mapping
from typing import Any

from mainstay.compile.capability import capability_of
from mainstay.compile.traits import Interception, Proxy, ProxyKind
from mainstay.model.agent import AGENT_METADATA
from mainstay.model.had import HAD_BEFORE, PROTOCOLS_METADATA
from mainstay.model.key import labels_of

_KINDS: dict[str, ProxyKind] = {
    "sidecar": "sidecar",
    "router": "gateway",
    "gateway": "gateway",
    "agent": "agent",
}
_INTERCEPTIONS: dict[str, Interception] = {"": "REDIRECT", "REDIRECT": "REDIRECT", "NONE": "NONE"}


def proxy_of_node(node_id: str, metadata: Mapping[str, Any], user_agent: str) -> Proxy:
    """Return the proxy a node describes.

    Reads ``NAMESPACE``, ``LABELS``, ``INSTANCE_IPS`` (comma separated; else the address in the id) and ``INTERCEPTION_MODE``
    of the metadata, ``AUTO_REGISTER_GROUP``, ``MAINSTAY_AGENT`` and ``MAINSTAY_PROTOCOLS``; whatever else it carries is ignored.
    """
    parts = node_id.split("~")
    if len(parts) != 4 or parts[0] not in _KINDS:
        raise ValueError(
            f"node id {node_id!r} is not sidecar~ADDRESS~NAME.NAMESPACE~DOMAIN (or router~…, agent~…)"
        )
    name, _, namespace = parts[2].rpartition(".")
    namespace = str(metadata.get("NAMESPACE") or namespace)
    if not name or not namespace:
        raise ValueError(f"node id {node_id!r} names no workload and namespace")
    mode = str(metadata.get("INTERCEPTION_MODE") or "")
    if mode not in _INTERCEPTIONS:
        raise ValueError(f"INTERCEPTION_MODE {mode!r} is not supported; use REDIRECT or NONE")
    labels = metadata.get("LABELS") or {}
    if not isinstance(labels, Mapping):
        raise ValueError("LABELS of the node's metadata is not a mapping")
    addresses = [part for part in str(metadata.get("INSTANCE_IPS") or parts[1]).split(",") if part]
    return Proxy(
        node=node_id,
        namespace=namespace,
        kind=_KINDS[parts[0]],
        labels=labels_of({str(key): str(value) for key, value in labels.items()}),
        addresses=tuple(addresses),
        interception=_INTERCEPTIONS[mode],
        capability=capability_of(user_agent, bool(metadata.get(AGENT_METADATA)), _protocols(metadata)),
        group=str(metadata.get("AUTO_REGISTER_GROUP") or ""),
    )


def _protocols(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    told = metadata.get(PROTOCOLS_METADATA)
    return tuple(sorted(set(told.split(",")))) if isinstance(told, str) else HAD_BEFORE
