"""The place for which filters are made."""

from typing import Literal

import msgspec

from mainstay.model.key import Labels

Place = Literal["inbound", "outbound", "gateway"]


class FilterContext(msgspec.Struct, frozen=True, gc=False):
    """A chain's place; ``namespace`` and ``labels`` are the workload's, by which policies select. ``port`` is the
    application's (or gateway's) port, 0 where the chain serves any."""

    place: Place
    namespace: str = ""
    labels: Labels = ()
    port: int = 0
