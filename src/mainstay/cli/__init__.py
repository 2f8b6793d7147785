"""The command line: `mainstay VERB …`.

In: arguments. Out: data on stdout, everything else on stderr, an exit code: 0 well, 1 failed, 2 usage, 3
refused with problems, 4 the control plane cannot be reached, 79 findings of an analysis, 130 interrupted.
Invariant: a verb's module is imported when the verb is called, and `sidecar` and `gateway` are dispatched
before anything else is: they must not load click. `main` is the console script.
"""

from __future__ import annotations

import sys

DATA_PLANE = ("sidecar", "gateway")


def main(arguments: list[str] | None = None) -> int:
    """Runs one verb and returns its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if given and given[0] in DATA_PLANE:
        from mainstay import lean

        # msgspec takes from it what `typing` has too; it takes 1.3 MiB.
        with lean.without("typing_extensions", absent=True):
            import msgspec  # noqa: F401
        from mainstay.sidecar.main import main as run_sidecar

        return run_sidecar(given)
    from mainstay.cli.verbs import run

    return run(given)
