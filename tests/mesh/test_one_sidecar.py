"""A sidecar and its control plane: joining, refusals as their author sees them, and life without control plane."""

from __future__ import annotations

import signal
from typing import Any

import pytest
from mesh_objects import Application, ask, sidecar_of_caller

from ports import free_port

pytestmark = pytest.mark.mesh
REVIEWS = "reviews.shop.svc.cluster.local"
OBJECTS = f"""
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {{{{name: front, namespace: shop}}}}
spec:
  metadata: {{{{labels: {{{{app: front}}}}}}}}
  template: {{{{serviceAccount: front}}}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{{{name: reviews, namespace: shop}}}}
spec:
  hosts: ["{REVIEWS}"]
  ports: [{{{{number: 9080, protocol: HTTP, name: http}}}}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{{{{address: 127.0.0.1, ports: {{{{http: {{application}}}}}}}}}}]
---
"""


def test_a_sidecar_joins_refuses_in_words_and_outlives_its_control_plane(
    operator: Any, applications: list[Application]
) -> None:
    application = applications[0].server_port
    objects, port = OBJECTS.format(application=application), free_port()
    xds = operator.start_control_plane()
    operator.apply(objects + sidecar_of_caller("front", {port: REVIEWS}))
    flags = ("--labels", "app=front", "--drain-min", "100ms")
    operator.start_proxy("sidecar", "front", "front", xds, *flags, group="front")
    assert ask(port)[0] == 200

    # What only the proxy can find out comes back to the author, and traffic goes on.
    operator.apply(objects + sidecar_of_caller("front", {port: REVIEWS, application: REVIEWS}))
    operator.wait(lambda: "cannot be bound" in operator.run("status"))
    assert f"refused listeners 127.0.0.1_{application}" in operator.run("status")
    assert ask(port)[0] == 200

    # Without a control plane it serves on, also after a restart.
    operator.stop("control", signal.SIGKILL)
    operator.stop("front", signal.SIGKILL)
    operator.start_again("front")
    assert ask(port)[0] == 200
    assert operator.stop("front") == 0
