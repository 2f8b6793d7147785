"""Reads a bootstrap in a child that ends, so that nothing of it stays: YAML, JSON of Protobuf, and what converting left behind
weigh more than 2 MiB, and are of no use to a process that has started.

In: what `read_bootstrap` takes. Out: the same. Invariant: forks only a process of one thread, before the engine has started;
where that cannot be (a test with threads), the file is read here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from mainstay.settings.define import OperatorError
from mainstay.sidecar.bootstrap.boot import Boot

_OWN_THREADS = Path("/proc/self/task")


class _Failed(msgspec.Struct, frozen=True, tag=True):
    text: str
    code: int


class _Done(msgspec.Struct, frozen=True, tag=True):
    boot: Boot


def read_aside(path: Path, version: str, *, leniently: bool = False) -> Boot:
    """See `read_bootstrap`."""
    if not _OWN_THREADS.is_dir() or len(os.listdir(_OWN_THREADS)) > 1:
        return _read(path, version, leniently)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _tell(writing, path, version, leniently)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    os.waitpid(child, 0)
    if not told:
        raise OperatorError(f"reading the bootstrap {path} ended in the middle; see above", 1)
    result = msgspec.msgpack.decode(told, type=_Done | _Failed, dec_hook=_decode_path)
    if isinstance(result, _Failed):
        raise OperatorError(result.text, result.code)
    return result.boot


def _read(path: Path, version: str, leniently: bool) -> Boot:
    from mainstay.sidecar.bootstrap.read import read_bootstrap

    return read_bootstrap(path, version, leniently=leniently)


def _tell(writing: int, path: Path, version: str, leniently: bool) -> NoReturn:
    """The child: one message, and its end without what its parent registered for its own."""
    code = 1
    try:
        told: _Done | _Failed
        try:
            told = _Done(_read(path, version, leniently))
        except OperatorError as error:
            told = _Failed(str(error), error.code)
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(msgspec.msgpack.encode(told, enc_hook=_encode_path))
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def _encode_path(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value).__name__} does not cross")


def _decode_path(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError(f"{kind.__name__} does not cross")
