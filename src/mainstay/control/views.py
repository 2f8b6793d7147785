"""From facts to what each proxy should have: three collections of the graph over the mesh's facts.

In: facts, and demands: one per connected proxy. Out: `steps` (one resource each, shared by all proxies with
equal traits), `outlines` (a resource without its bytes) and `shapes` (which steps make up a proxy's view).
Invariant: a shape depends on what resources refer to and never on their bytes, so a changed endpoint
recomputes one step and no view; who has to be told follows from the shapes. Built by `main`; the publisher
demands shapes and reads steps.
"""

from __future__ import annotations

from typing import Any

import msgspec

from mainstay.compile.facts import Facts
from mainstay.compile.resource import Kind, Resource
from mainstay.compile.traits import Proxy, Step
from mainstay.compile.view import compile_view, consistent, run_step
from mainstay.control.collections import Collections
from mainstay.control.graph_facts import GraphFacts
from mainstay.graph import Derived, Graph, Reader, Refused
from mainstay.model.problem import Problem

STEPS = "steps"
SHAPES = "shapes"


class Shape(msgspec.Struct, frozen=True, gc=False):
    """What a proxy's view is made of. `steps` are in order of kind and name; `secrets` are SDS names of
    gateway certificates it refers to; `problems` what authors should know."""

    steps: tuple[tuple[Kind, str, Step], ...]
    secrets: tuple[str, ...]
    problems: tuple[Problem, ...]


class Views:
    """The three collections."""

    def __init__(self, graph: Graph, collections: Collections) -> None:
        def compute_step(step: Step, read: Reader) -> Resource:
            return run_step(GraphFacts(collections, read), step)

        def compute_outline(step: Step, read: Reader) -> Resource | None:
            made = read.get(self.steps, step)
            return None if made is None else msgspec.structs.replace(made, version=b"", body=b"")

        def compute_shape(proxy: Proxy, read: Reader) -> Shape | Refused:
            step_of: dict[tuple[Kind, str], Step] = {}

            def run(_facts: Facts, step: Step) -> Resource:
                outline = read.get(self.outlines, step)
                if outline is None:
                    raise LookupError(f"{step} has no resource")
                step_of.setdefault((outline.kind, outline.name), step)
                return outline

            view = compile_view(GraphFacts(collections, read), proxy, run)
            missing = consistent(view)
            if missing:
                return Refused((_describe_inconsistency(proxy, missing),))
            steps = tuple((kind, name, step) for (kind, name), step in sorted(step_of.items(), key=_by_name))
            return Shape(steps, view.secrets, view.problems)

        readable = collections.readable
        self.steps: Derived[Step, Resource] = graph.derived(
            STEPS, compute_step, reads=readable, keep_last=True, order=_order_of_step
        )
        self.outlines: Derived[Step, Resource] = graph.derived(
            "outlines", compute_outline, reads=[self.steps], order=_order_of_step
        )
        self.shapes: Derived[Proxy, Shape] = graph.derived(
            SHAPES,
            compute_shape,
            reads=[*readable, self.outlines],
            keep_last=True,
            order=lambda proxy: (proxy.node, msgspec.json.encode(proxy)),
        )


def describe_bug(collection: str, key: Any, error: Exception) -> Problem:
    """The problem that stands for an exception in a compute."""
    return Problem(
        "MS4000",
        "error",
        str(getattr(key, "name", key)),
        f"{collection} could not be computed: {type(error).__name__}: {error}",
        "This is a bug of Mainstay: please report it with the control plane's log. The last good version stays in use",
    )


def _describe_inconsistency(proxy: Proxy, missing: tuple[Any, ...]) -> Problem:
    named = ", ".join(f"{ref.kind} {ref.name}" for ref in missing[:5])
    return Problem(
        "MS4001",
        "error",
        proxy.node,
        f"the view refers to what it lacks: {named}",
        "This is a bug of Mainstay: please report it. The proxy keeps its former view",
    )


def _order_of_step(step: Step) -> tuple[str, bytes]:
    return type(step).__name__, msgspec.json.encode(step)


def _by_name(entry: tuple[tuple[Kind, str], Step]) -> tuple[Kind, str]:
    return entry[0]
