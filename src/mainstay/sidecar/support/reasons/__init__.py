"""Why fields of Envoy's configuration are refused, and why some that are taken change nothing.

In and out: constants, by the message's full name. Refusals quote them, the support table shows them. A test walks Envoy's
descriptors: a field that is neither taken nor here fails it, and so does a reason for a field that is taken after all.
"""

from __future__ import annotations

from mainstay.sidecar.support.reasons import generic, process, traffic, upstream
from mainstay.sidecar.support.reasons.no_effect import NO_EFFECT
from mainstay.sidecar.support.reasons.words import Reasons

REFUSED: Reasons = {**process.REFUSED, **traffic.REFUSED, **generic.REFUSED, **upstream.REFUSED}
"""Message → field that is refused → why."""

__all__ = ["NO_EFFECT", "REFUSED", "Reasons"]
