"""xDS messages to plan structs, one file per kind.

In: messages of the private pool. Out: plan structs, or `Refused` with the field's path and the reason. Invariant: a field that
Mainstay does not carry out is refused by path, never dropped in silence; `fields.check` knows which fields each converter
reads. Pure; the message is dropped afterwards. Called by the sidecar's loop and by the bootstrap reader.
"""

from mainstay.sidecar.convert.refuse import Refused

__all__ = ["Refused"]
