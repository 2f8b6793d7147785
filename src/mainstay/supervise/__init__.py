"""Children of a program: when they run, how they start, and that none outlives it.

`child` decides (a machine), `spawn` starts and watches processes, `reaper` ends them all however the program died. Knows nothing
of who uses it.
"""

from mainstay.supervise.child import BackOff, Child, Command, Event
from mainstay.supervise.reaper import Reaper
from mainstay.supervise.spawn import INHERITED, Process, Program, spawn

__all__ = ["INHERITED", "BackOff", "Child", "Command", "Event", "Process", "Program", "Reaper", "spawn"]
