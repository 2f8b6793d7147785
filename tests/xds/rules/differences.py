"""Where other programs do not keep a rule, and what they do instead."""

from __future__ import annotations

from typing import NamedTuple

from .steps import Variant


class Difference(NamedTuple):
    """What another program does instead. `always`: else it depends on what comes first."""

    does: str
    variants: tuple[Variant, ...] = ("sotw", "delta")
    always: bool = True


ENVOY: dict[str, Difference] = {
    "what was refused is not told as held": Difference(
        "refuses a delta response whole, and so holds nothing of it"
    ),
}
_NAMES = Difference("takes * for a name", ("sotw",))
_HAS = Difference("does not answer what the client has already", ("delta",))
_RESENDS = "answers any version that is not the newest, so a refused one is sent again and again"
GO_CONTROL_PLANE: dict[str, Difference] = {
    "the name * brings everything": _NAMES,
    "a wildcard can be changed for names": _NAMES,
    "the wildcard is told beside names": _NAMES,
    "after names an empty list ends the subscription": Difference(
        "takes an empty list for the wildcard at any time", ("sotw",)
    ),
    "of a wildcard given up only the names stay": _HAS,
    "what is asked for again is sent again": _HAS,
    "a name that does not exist is said to be none": Difference("says nothing of what never was"),
    "what is refused is not sent again": Difference(_RESENDS, ("sotw",)),
    "after a refusal the next version is sent": Difference(_RESENDS, ("sotw",), always=False),
    "routes move before their cluster goes": Difference(
        "sends each kind when it changes, and knows no order between them", always=False
    ),
}
