"""`python -m mainstay`: the same as the console script."""

import sys

from mainstay.cli import main

sys.exit(main())
