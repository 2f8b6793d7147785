"""MeshSettings hold for the whole mesh, so there can be one object of them, in whichever namespace.

In: a decoded MeshSettings and everything else. Out: problems. A second one would take the place of the first as a whole,
what it does not write (strict mutual TLS, say) included.
"""

from __future__ import annotations

from mainstay.api.findings import Findings
from mainstay.api.kind import Lookup
from mainstay.api.object import Object
from mainstay.model.problem import Problem


def check_mesh_settings(thing: Object, lookup: Lookup) -> list[Problem]:
    """Return the object of another namespace that holds already."""
    found = Findings(thing)
    for other in lookup.objects("MeshSettings"):
        if (other.namespace, other.name) != (thing.namespace, thing.name):
            reason = f"there is one MeshSettings, and {other.namespace}/{other.name} is there"
            remedy = f"Change that one: mainstay get meshsettings {other.name} -n {other.namespace} -o yaml"
            found.add("MS2001", ("metadata", "namespace"), reason, remedy)
    return found.problems
