"""The one table of kinds: what may be written, in which API group and version.

In: the dialects' structs. Out: rows found by apiVersion and kind. A new kind is a row here and a file in its dialect.
"""

from __future__ import annotations
