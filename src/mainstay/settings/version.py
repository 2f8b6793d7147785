"""The version of the installed package."""

from __future__ import annotations


def program_version() -> str:
    """`unknown` when run from sources that were never installed."""
    # Costs some milliseconds and is asked for rarely.
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mainstay")
    except PackageNotFoundError:
        return "unknown"
