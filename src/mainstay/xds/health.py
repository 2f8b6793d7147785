"""How a sidecar tells the control plane whether its workload can serve: Istio's way, on the xDS stream itself.

In and out: the fields of a discovery request (state of the world or delta) of the type `HEALTH_TYPE`, which names no
resources and is never answered. Without `error_detail` the workload is healthy; with one it is not, and the message says
why; code `DRAINING_CODE` says that it is about to stop. Invariant: a report stands until the next one, also over a new
stream; the sidecar therefore repeats its last one as the first message of each stream. Called by the sidecar's link and
by the server's stream machine; pure.
"""

from __future__ import annotations

from typing import Literal

import msgspec

HEALTH_TYPE = "type.googleapis.com/istio.v1.HealthInformation"
"""As Istio's agents send it, so that they are understood too."""

UNHEALTHY_CODE = 13
"""gRPC INTERNAL: what Istio's agents send, though any code but the next means the same."""
DRAINING_CODE = 14
"""gRPC UNAVAILABLE: no new requests, those under way end."""

State = Literal["healthy", "unhealthy", "draining"]

MAX_REASON_CHARACTERS = 512


class HealthReport(msgspec.Struct, frozen=True):
    """What a sidecar said of its workload."""

    state: State
    reason: str = ""


def encode_report(report: HealthReport) -> tuple[int, str] | None:
    """Code and message for `error_detail`, or None to leave it out."""
    if report.state == "healthy":
        return None
    return (DRAINING_CODE if report.state == "draining" else UNHEALTHY_CODE), report.reason


def decode_report(error: tuple[int, str] | None) -> HealthReport:
    """The report of a request whose `error_detail` has this code and message (None: it has none)."""
    if error is None:
        return HealthReport("healthy")
    code, message = error
    return HealthReport("draining" if code == DRAINING_CODE else "unhealthy", message[:MAX_REASON_CHARACTERS])
