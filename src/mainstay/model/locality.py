"""Where a workload runs: region, zone, subzone; and the network within which addresses reach each other.

In: ``region/zone/subzone`` text of WorkloadEntry.locality. Out: ``Locality``. A network is its name, ``""`` the default.
"""

import msgspec


class Locality(msgspec.Struct, frozen=True, gc=False, order=True):
    """A place; empty parts are unknown, and a part is never set when one before it is empty."""

    region: str = ""
    zone: str = ""
    subzone: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.region, self.zone, self.subzone) if part)


NOWHERE = Locality()


def parse_locality(text: str) -> Locality:
    """Parse ``region/zone/subzone``; missing tails stay empty, further slashes belong to the subzone."""
    parts = [*text.split("/", 2), "", ""]
    return Locality(parts[0], parts[1], parts[2])
