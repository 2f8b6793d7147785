"""The stock service speaks Bolt, SOFARPC's protocol: how many of an item are left, and in which warehouse."""

from __future__ import annotations

import bolt
from serving import VERSION

AMOUNTS = {"anchor": 3, "compass": 7, "rope": 12, "sextant": 1}


def count(item: str) -> dict[str, object]:
    return {"version": VERSION, "item": item, "left": AMOUNTS[item], "by": "python"}


bolt.serve("shop.Stock:1.0", {"count": count})
