"""The version that the proxy tells of itself."""

from __future__ import annotations

from mainstay.settings.version import program_version

VERSION = program_version()
