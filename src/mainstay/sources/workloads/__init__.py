"""The source of connected workloads: `machine` decides, `keeper` persists and brings."""

from mainstay.sources.workloads.keeper import PREFIX, WorkloadsSource
from mainstay.sources.workloads.machine import Machine, Record

__all__ = ["PREFIX", "Machine", "Record", "WorkloadsSource"]
