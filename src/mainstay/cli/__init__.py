"""The command line: `mainstay VERB …`.

In: arguments. Out: data on stdout, everything else on stderr, an exit code: 0 well, 1 failed, 2 usage, 3
refused with problems, 4 the control plane cannot be reached, 79 findings of an analysis, 130 interrupted.
Invariant: a verb's module is imported when the verb is called, and `sidecar` and `gateway` are dispatched
before anything else is: they must not load click. `main` is the console script.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TextIO

    from typing_extensions import Buffer

DATA_PLANE = ("sidecar", "gateway")
_STAYS = ("up", "serve")
"""Verbs that run until somebody ends them, as the reader of their output does who goes."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader of our output has gone (`… | head`).
        code = 0
    except OSError as error:
        if error.filename is not None or error.errno not in _FULL:
            raise
        print(f"error: cannot write the output: {error.strerror}", file=sys.stderr)
        code = 1
    else:
        return code
    # Python would try once more at its end, and complain.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


def _run(given: list[str]) -> int:
    if given and given[0] in DATA_PLANE:
        from mainstay import lean

        # msgspec takes from it what `typing` has too; it takes 1.3 MiB.
        with lean.without("typing_extensions", absent=True):
            import msgspec  # noqa: F401
        from mainstay.sidecar.main import main as run_sidecar

        return run_sidecar(given)
    from mainstay.cli.verbs import run

    if given and given[0] in _STAYS:
        return run(given)
    usual = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_heedless(stream) for stream in usual)
    try:
        return run(given)
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = usual


class _Heedless(io.FileIO):
    """Goes on when its reader has gone (`… | head`): what a verb's exit code says does not depend on who listens."""

    def write(self, data: Buffer) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return memoryview(data).nbytes


def _heedless(stream: TextIO) -> TextIO:
    """The stream over the same descriptor; streams without one, as tests have them, stay what they are."""
    try:
        raw = _Heedless(stream.fileno(), "w", closefd=False)
    except (AttributeError, io.UnsupportedOperation, ValueError):
        return stream
    stream.flush()
    line_buffering = getattr(stream, "line_buffering", False)
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(buffered, stream.encoding, stream.errors, line_buffering=line_buffering)
