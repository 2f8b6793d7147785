"""Frames explained by the engine, for people: the codec that carries traffic reads them, so this is what it understands.

In: a protocol's plan and bytes of one direction. Out: `plan.RpcExplained`, and its text, field by field.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from mainstay.engine import EngineError, explain_protocol
from mainstay.model.problem import Problem
from mainstay.protocols.compile import compile_protocol
from mainstay.protocols.kind import CONTRADICTS
from mainstay.protocols.read import Described
from mainstay.sidecar import plan

_SHOWN = 48
"""Bytes of a part in one line."""
_FEW = 8

MAX_FRAMES = 10_000
"""That are shown of one connection's direction (the engine's limit), and of a whole capture: nobody reads more."""

_decoder = msgspec.msgpack.Decoder(plan.RpcExplained)


def explain(protocol: plan.RpcProtocol, data: bytes) -> plan.RpcExplained:
    """Return what the frames hold; raises EngineError for a plan of which no codec can be made."""
    return _decoder.decode(explain_protocol(protocol, data))


def first(explained: plan.RpcExplained, most: int) -> plan.RpcExplained:
    """So many of the frames, and how many bytes are left behind them."""
    cut = explained.frames[most:]
    if not cut:
        return explained
    left = explained.left + sum(frame.size for frame in cut)
    return msgspec.structs.replace(explained, frames=explained.frames[:most], left=left, problem="")


def refusal(described: Described) -> Problem | None:
    """Why the engine would not take a description that was checked: None, unless our checks lack something."""
    try:
        explain(compile_protocol(described.name, described.description), b"")
    except EngineError as error:
        remedy = "This is a fault of `mainstay protocol validate`, which should know: please report it"
        return described.document.problem(CONTRADICTS, ("spec",), f"the engine refuses it: {error}", remedy)
    return None


def guess(known: Sequence[plan.RpcProtocol], data: bytes) -> plan.RpcProtocol | None:
    """The protocol whose codec understands most of these bytes, if one understands a frame."""
    found = [(explain(each, data), each) for each in known]
    understood = [(seen.left, each) for seen, each in found if seen.frames]
    return min(understood, key=lambda pair: pair[0])[1] if understood else None


def misfits(known: Sequence[plan.RpcProtocol], data: bytes) -> str:
    """Why none of the protocols understands a frame of these bytes."""
    return "; ".join(f"{each.name}: {explain(each, data).problem}" for each in known)


def show(explained: plan.RpcExplained) -> Iterator[str]:
    """Yield lines of text."""
    for number, frame in enumerate(explained.frames, 1):
        kind = frame.frame.replace("_", " ")
        shape = "" if frame.shape == "frame" else f" · {frame.shape}"
        yield f"frame {number}: {kind} · {frame.size:,} bytes at {frame.offset:,}{shape}"
        width = max(len(row.name) + 3 * _is_bits(row) for row in frame.rows) + 2
        for row in frame.rows:
            yield _show_row(row, width)
        yield from _show_meaning(frame)
        yield ""
    if explained.left:
        yield f"{explained.left:,} bytes left: {explained.problem or 'no more frames are shown'}"


def _is_bits(row: plan.RpcRow) -> bool:
    return not row.length and row.number is not None


def _show_row(row: plan.RpcRow, width: int) -> str:
    if _is_bits(row):
        return f"  {'':8}{'':7}  {f'  .{row.name}':{width}}{row.number}"
    shown = _show_bytes(row.bytes_, row.length)
    value = shown if row.number is None else f"{row.number:<12} {row.bytes_.hex()}"
    return f"  {row.offset:8}{row.length:7}  {row.name:{width}}{value}"


def _show_bytes(data: bytes, length: int) -> str:
    more = f" … {length:,} bytes" if length > _SHOWN else ""
    shown = data[:_SHOWN]
    try:
        text = shown.decode()
    except UnicodeDecodeError:
        text = ""
    if not shown:
        return "-"
    if not text.isprintable() or not text:
        return shown.hex(" ") + more
    # Two or three bytes are a letter of some alphabet by chance.
    digits = "" if text.isascii() or len(shown) > _FEW else f"  {shown.hex(' ')}"
    return f'"{text}"{digits}{more}'


def _plain(text: str) -> str:
    """Without what would change lines or colours of a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _show_meaning(frame: plan.RpcSeen) -> Iterator[str]:
    if frame.service or frame.method:
        yield f"  service   {_plain(frame.service) or '-'}"
        yield f"  method    {_plain(frame.method) or '-'}"
    if frame.deadline is not None:
        yield f"  deadline  {frame.deadline} ms"
    if frame.status is not None:
        yield f"  outcome   as HTTP {frame.status}"
    for name, value in frame.headers:
        yield f"  header    {_plain(name)}: {_plain(value)}"
    if frame.checksum is not None:
        yield f"  checksum  {'right' if frame.checksum else 'WRONG'}"
