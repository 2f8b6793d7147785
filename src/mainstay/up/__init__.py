"""`mainstay up`: a whole mesh on one machine, from one file.

In: a Mesh document. Out: running processes, a live table or a report, an exit code. Invariant: when `up` ends, however it
ends, no process of it is left. `plan` decides (pure), `run` does, `figures` reads the sidecars' metrics, `table` and
`report` show.
"""
