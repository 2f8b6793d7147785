"""Keeping child processes going, and ending them all whatever happens: `child` decides, `spawn` does, `reaper` is the
process that outlives us by a moment."""

from mainstay.supervise.child import Child, Policy
from mainstay.supervise.reaper import Reaper
from mainstay.supervise.spawn import Spawner, Supervised

__all__ = ["Child", "Policy", "Reaper", "Spawner", "Supervised"]
