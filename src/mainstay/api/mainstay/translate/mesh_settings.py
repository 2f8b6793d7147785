"""MeshSettings → ``Mesh``: what holds for the whole mesh.

In: a decoded MeshSettings, and what the control plane was started with. Out: one mesh; what is not written stays as started.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.kind import Defaults, Fact
from mainstay.api.mainstay.mesh_settings import MeshSettings
from mainstay.api.object import Object
from mainstay.model.mesh import Mesh
from mainstay.model.problem import Problem

NAME = "default"
"""The only name: two objects of one meaning would leave open which one counts."""


def translate_mesh_settings(thing: Object, defaults: Defaults) -> list[Fact] | list[Problem]:
    """Return the mesh."""
    found = Findings(thing)
    settings: MeshSettings = thing.spec
    if thing.name != NAME:
        found.add("MS1012", ("metadata", "name"), "there is one MeshSettings", f"Name it {NAME}")
    for name, value in (
        ("detectionTimeout", settings.detection_timeout),
        ("connectTimeout", settings.connect_timeout),
    ):
        if value == 0:
            found.add("MS1105", ("spec", name), "0s is no time limit", "Give at least 1ms, or leave it out")
    base = defaults.mesh
    mesh = Mesh(
        settings.trust_domain or base.trust_domain,
        settings.domain_suffix or base.domain_suffix,
        settings.root_namespace or base.root_namespace,
        settings.mtls or base.mtls,
        settings.outbound_traffic_policy or base.outbound,
        settings.access_log or base.access_log,
        settings.detection_timeout or base.detection_timeout,
        settings.connect_timeout or base.connect_timeout,
        base.trace_sampling if settings.trace_sampling is None else settings.trace_sampling,
    )
    return found.or_facts([mesh])
