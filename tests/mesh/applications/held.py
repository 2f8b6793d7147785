"""Starts a program, unless a file with this instance's name says that it cannot be started now.

So a test decides how long an application that was killed stays away: `up` starts it again, and it fails until the file is gone.
"""

from __future__ import annotations

import os
import sys

name = os.environ["INSTANCE"]
if os.path.exists(os.path.join(os.environ["HELD"], name)):
    sys.exit(f"{name} is held back")
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
