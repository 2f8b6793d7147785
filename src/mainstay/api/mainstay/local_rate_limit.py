"""LocalRateLimit: a token bucket in each selected proxy.

In: YAML or JSON, through the decoder. Out: ``LocalRateLimit``, read by ``translate``.
"""

from __future__ import annotations

from typing import Annotated

from mainstay.api.define import Count, Duration, Length, Part, Port, Range
from mainstay.api.istio.selector import LabelSelector


class LocalRateLimit(Part, frozen=True, kw_only=True):
    """A limit of requests that each selected workload's proxy keeps by itself: `tokens` are added every `interval`, up to
    `burst`; a request takes one, and what finds none is answered with `status`."""

    selector: Annotated[LabelSelector | None, "Workloads it is for; the whole namespace if absent."] = None
    tokens: Annotated[Count, "Tokens added each interval.", Range(1, 2**31 - 1)]
    interval: Annotated[Duration, "Time between additions, at least 50ms."] = 1_000
    burst: Annotated[Count | None, "Tokens the bucket holds; `tokens` if absent.", Range(1, 2**31 - 1)] = None
    ports: Annotated[tuple[Port, ...], "Ports of the workload it is for; all if absent.", Length(0, 128)] = ()
    status: Annotated[int, "HTTP status of refused requests.", Range(400, 599)] = 429
