"""The context file: where the control plane's REST API is and with which credential.

In: a path. Out: `Context`, or `OperatorError` in words. Invariant: the file is 0600; one that others can read
is refused. Written by `mainstay serve` at first start, read by every verb that talks to it.
"""

from __future__ import annotations

import stat
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from mainstay.settings import OperatorError

DEFAULT_CONTEXT = Path("~/.config/mainstay/context.json")


class Context(msgspec.Struct, frozen=True):
    """`server` is a URL such as `http://127.0.0.1:15080`; `credential` is sent as bearer token."""

    server: str
    credential: str

    def __repr__(self) -> str:
        return f"Context({self.server}, …)"


def read_context(path: Path) -> Context:
    """Reads a context file."""
    path = path.expanduser()
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise OperatorError(
                f"the context file {path} can be read by others, and it holds a credential; run `chmod 600 {path}`"
            )
        context = msgspec.json.decode(path.read_bytes(), type=Context)
    except FileNotFoundError:
        raise OperatorError(
            f"there is no context file {path}: no control plane was started here by this user. "
            "Run `mainstay serve` (or `mainstay up`), or name another file with --context or MAINSTAY_CONTEXT",
            4,
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise OperatorError(f"cannot read the context file {path}: {error}") from None
    parts = urlsplit(context.server)
    if parts.scheme != "http" or not parts.hostname or not parts.port:
        raise OperatorError(f"the context file {path} names {context.server!r}; expected http://ADDRESS:PORT")
    return context
