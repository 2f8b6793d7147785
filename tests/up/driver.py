"""`mainstay up` as a process of its own, with stand-ins for the mesh's programs: `python driver.py ARGUMENTS`."""

from __future__ import annotations

import functools
import sys
from pathlib import Path

from mainstay.settings import OperatorError
from mainstay.up import main as program
from mainstay.up.run import Run

FAKE = (sys.executable, str(Path(__file__).parent / "fake_mainstay.py"))

setattr(program, "Run", functools.partial(Run, mainstay=FAKE))  # noqa: B010  a class by name stands for it
try:
    sys.exit(program.main(sys.argv[1:]))
except OperatorError as error:
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.code)
