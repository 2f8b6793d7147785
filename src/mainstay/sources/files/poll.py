"""The one file of this source that touches the disk: lists and reads a directory again and again.

In: a directory. Out: batches (see `machine`). Invariant: it reads off the loop, so a slow disk delays this
source alone. Polling and not inotify: it works on every file system and over every mount, and costs one stat
per file.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from mainstay.sources.contract import Clock, Sink, SourceError
from mainstay.sources.files.machine import FilesMachine, Stamp

ENDINGS = (".yaml", ".yml", ".json")
MAX_FILES = 10_000
MAX_FILE_BYTES = 16 * 1024 * 1024


class FilesSource:
    """`time_of_day` gives ms, comparable with file times."""

    def __init__(
        self,
        name: str,
        directory: Path,
        machine: FilesMachine,
        clock: Clock,
        poll_ms: int,
        time_of_day: Callable[[], int],
    ) -> None:
        self.name = name
        self._directory = directory
        self._machine = machine
        self._clock = clock
        self._poll_ms = poll_ms
        self._time_of_day = time_of_day

    async def run(self, sink: Sink, epoch: int) -> None:
        while True:
            listing = await asyncio.to_thread(list_files, self._directory)
            wanted = self._machine.look(listing)
            contents = await asyncio.to_thread(read_files, wanted) if wanted else {}
            batch = self._machine.take(listing, contents, self._time_of_day(), epoch)
            if batch is not None:
                await sink.put(batch)
            await self._clock.sleep(self._poll_ms)


def list_files(directory: Path) -> dict[str, Stamp]:
    """Configuration files below a directory by path. Names that begin with a dot are left out (editors'
    and mounts' own). Raises `SourceError`."""
    found: dict[str, Stamp] = {}

    def fail(error: OSError) -> None:
        raise SourceError(
            f"cannot list {error.filename}: {error.strerror}. Check that it exists and may be read."
        )

    for folder, folders, names in os.walk(directory, onerror=fail):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in names:
            if name.startswith(".") or not name.endswith(ENDINGS):
                continue
            path = os.path.join(folder, name)
            try:
                status = os.stat(path)
            except OSError:
                continue  # gone since it was listed, or a dangling link
            if len(found) >= MAX_FILES:
                raise SourceError(f"more than {MAX_FILES} configuration files below {directory}: split it")
            found[path] = Stamp(status.st_mtime_ns // 1_000_000, status.st_size, status.st_ino)
    return found


def read_files(paths: list[str]) -> dict[str, bytes | OSError]:
    """Contents, or the error that stood for one."""
    contents: dict[str, bytes | OSError] = {}
    for path in paths:
        try:
            with open(path, "rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
            if len(content) > MAX_FILE_BYTES:
                raise OSError(f"larger than {MAX_FILE_BYTES} bytes: split it")
            contents[path] = content
        except OSError as error:
            contents[path] = error
    return contents
