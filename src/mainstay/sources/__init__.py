"""Where facts come from. See `contract` for what a source is, `intake` for where its batches go."""

from mainstay.sources.contract import (
    Batch,
    Change,
    Clock,
    Health,
    Refuse,
    Remove,
    Sink,
    Source,
    SourceError,
    State,
    Upsert,
)
from mainstay.sources.intake import Intake, Taken
from mainstay.sources.keep import keep_source

__all__ = [
    "Batch",
    "Change",
    "Clock",
    "Health",
    "Intake",
    "Refuse",
    "Remove",
    "Sink",
    "Source",
    "SourceError",
    "State",
    "Taken",
    "Upsert",
    "keep_source",
]
