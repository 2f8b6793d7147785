"""The source of what was written through the REST API: the store's entries under one prefix."""

from mainstay.sources.store.follow import ReadEntry, StoreSource

__all__ = ["ReadEntry", "StoreSource"]
