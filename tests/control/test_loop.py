"""Tasks and their owner: order of stopping, deadlines, where errors go."""

from __future__ import annotations

import asyncio

import pytest

from mainstay.control.loop import Loop
from mainstay.settings import OperatorError


async def forever() -> None:
    await asyncio.Event().wait()


def test_stop_drains_in_reverse_order_of_start() -> None:
    told: list[str] = []

    async def play() -> None:
        loop = Loop()
        for name in ("store", "graph", "streams"):

            async def drain(name: str = name) -> None:
                told.append(name)

            loop.spawn(name, forever(), drain=drain)
        loop.end()
        await loop.run()

    asyncio.run(play())
    assert told == ["streams", "graph", "store"]


def test_vital_failure_ends_the_program_with_its_error() -> None:
    async def fail() -> None:
        raise OperatorError("port 15012 is in use")

    async def play() -> None:
        loop = Loop()
        loop.spawn("other", forever())
        loop.spawn("listener", fail())
        await loop.run()

    with pytest.raises(OperatorError, match="15012"):
        asyncio.run(play())


def test_other_failure_is_counted_and_the_rest_goes_on() -> None:
    async def play() -> dict[str, int]:
        loop = Loop()

        async def fail() -> None:
            raise ValueError("odd")

        async def end_later() -> None:
            while not loop.exceptions:
                await asyncio.sleep(0)
            loop.end()
            await forever()

        loop.spawn("source", fail(), vital=False)
        loop.spawn("ender", end_later())
        await loop.run()
        return loop.exceptions

    assert asyncio.run(play()) == {"source": 1}


def test_task_that_never_drains_is_cut_off_at_its_deadline() -> None:
    async def play() -> None:
        loop = Loop()
        loop.spawn("stuck", forever(), drain=forever, deadline_ms=10)
        loop.end()
        await asyncio.wait_for(loop.run(), 5)

    asyncio.run(play())
