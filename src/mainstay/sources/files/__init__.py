"""The source of configuration files: `machine` decides, `poll` looks at the disk."""

from mainstay.sources.files.machine import FilesMachine, Parsed, ParseFile, Stamp
from mainstay.sources.files.poll import FilesSource

__all__ = ["FilesMachine", "FilesSource", "ParseFile", "Parsed", "Stamp"]
