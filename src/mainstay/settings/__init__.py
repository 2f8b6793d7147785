"""Settings of every program, declared once: flags, environment, file, defaults and documentation. See
`define`."""

from mainstay.settings.define import Field, OperatorError, Setting, list_fields, show_duration
from mainstay.settings.load import HelpAsked, Loaded, load, nearest
from mainstay.settings.read import read_duration

__all__ = [
    "Field",
    "HelpAsked",
    "Loaded",
    "OperatorError",
    "Setting",
    "list_fields",
    "load",
    "nearest",
    "read_duration",
    "show_duration",
]
