"""Workloads that have registered themselves, in the shape of the objects they would be had somebody written them.

In: workloads as the mesh knows them. Out: WorkloadEntries for those that come from a group, marked as such. They are no
objects: nothing of them is in the store, no write changes them, and they go with their sidecar's stream.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mainstay.control.objects import ObjectId
from mainstay.model.workload import Workload

GROUP, VERSION, KIND = "networking.istio.io", "v1", "WorkloadEntry"
GROUP_ANNOTATION = "istio.io/autoRegistrationGroup"
"""Istio's name for it."""
SOURCE = "registered"


def id_of_workload(workload: Workload) -> ObjectId:
    return ObjectId(GROUP, KIND, workload.key.namespace, workload.key.name)


def show_registered(workloads: Iterable[Workload]) -> dict[ObjectId, dict[str, Any]]:
    """Those of them that registered themselves."""
    return {id_of_workload(each): _show(each) for each in workloads if each.group is not None}


def _show(workload: Workload) -> dict[str, Any]:
    assert workload.group is not None
    spec: dict[str, Any] = {
        "address": workload.addresses[0] if workload.addresses else None,
        "labels": dict(workload.labels),
        "ports": dict(workload.ports),
        "serviceAccount": workload.account,
        "locality": str(workload.locality),
        "network": workload.network,
        "weight": workload.weight if workload.weight != 1 else None,
    }
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {
            "name": workload.key.name,
            "namespace": workload.key.namespace,
            "annotations": {GROUP_ANNOTATION: workload.group.name},
        },
        "spec": {name: value for name, value in spec.items() if value},
        "status": {
            "source": SOURCE,
            "group": workload.group.name,
            "health": workload.health.name.lower(),
            "problems": [],
        },
    }
