"""The two spellings of Istio's workload selectors (networking: ``labels``, security: ``matchLabels``).

In: YAML or JSON, through the decoder. Out: labels that a workload must carry, all of them.
"""

from __future__ import annotations

from typing import Annotated

from mainstay.api.define import Labels, Length, Part


class WorkloadSelector(Part, frozen=True):
    """Workloads of the object's namespace that carry all these labels (networking.istio.io)."""

    labels: Annotated[Labels, "Labels; none selects every workload.", Length(0, 256)] = {}


class LabelSelector(Part, frozen=True):
    """Workloads of the object's namespace that carry all these labels (security.istio.io)."""

    match_labels: Annotated[Labels, "Labels; none selects every workload.", Length(0, 256)] = {}
