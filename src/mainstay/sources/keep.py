"""Keeps one source's task going: restarts with back-off and jitter, and says how it is.

In: a source, its sink. Out: health. Invariant: a source that fails spoils no other, and what it brought
stays. Spawned by `control.loop`, which also cancels it; it has nothing to drain.
"""

from __future__ import annotations

from collections.abc import Callable

from mainstay.sources.contract import Clock, Source, SourceError
from mainstay.sources.intake import Intake
from mainstay.telemetry.log import get_log

log = get_log("sources")

FIRST_BACKOFF_MS = 500
LAST_BACKOFF_MS = 30_000


async def keep_source(source: Source, intake: Intake, clock: Clock, random: Callable[[], float]) -> None:
    """Runs until cancelled. `random` gives numbers in [0, 1)."""
    failures = 0
    while True:
        began = clock.now()
        try:
            await source.run(intake, intake.next_epoch(source.name))
            reason = "ended"
        except SourceError as error:
            reason = str(error)
            log.warning("source cannot be read", source=source.name, reason=reason)
        except Exception as error:  # the named boundary "source task": a bug of one source stays its own
            reason = f"{type(error).__name__}: {error}"
            log.exception("source failed", source=source.name)
        intake.set_state(source.name, "failed", reason)
        failures = 1 if clock.now() - began > LAST_BACKOFF_MS else failures + 1
        await clock.sleep(backoff_ms(failures, random()))


def backoff_ms(failures: int, random: float) -> int:
    """Half to whole of 0.5 s, 1 s, 2 s … 30 s: never all at once, never at once."""
    most: int = min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS << min(failures - 1, 10))
    return round(most * (0.5 + random / 2))
