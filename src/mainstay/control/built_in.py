"""Protocols that come with Mainstay, in the shape of the objects they would be had somebody written them.

In: the descriptions that are shipped. Out: objects marked as such. Nothing of them is in the store; applying one of the same name
puts it in their place, deleting that brings them back. Called by the REST API through `plane`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from mainstay.api.encode import encode_part
from mainstay.control.objects import ObjectId
from mainstay.protocols.kind import KIND
from mainstay.protocols.read import shipped

SOURCE = "built-in"


@functools.cache
def show_built_in() -> Mapping[ObjectId, dict[str, Any]]:
    """All of them."""
    return {
        ObjectId(KIND.group, KIND.name, "", each.name): {
            "apiVersion": KIND.api_version,
            "kind": KIND.name,
            "metadata": {"name": each.name},
            "spec": encode_part(each.description),
            "status": {"source": SOURCE, "problems": []},
        }
        for each in shipped()
    }
