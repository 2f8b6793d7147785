"""`mainstay protocol list|validate|decode|new|heartbeat`: framed RPC protocols described as data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from mainstay.cli.files import read_files
from mainstay.cli.options import output_option
from mainstay.cli.output import show_data, show_problems, show_table
from mainstay.model.problem_text import count
from mainstay.settings import OperatorError

if TYPE_CHECKING:
    from mainstay.protocols.read import Described

REFUSED = 3
USAGE = 2
MISSING = "segments are missing in the capture, or cut: what comes behind them is left out (`tcpdump -s 0` takes them whole)"


@click.group()
def protocol() -> None:
    """Describe framed RPC protocols, and look at their frames."""


@protocol.command(name="list", short_help="List the protocols that come with Mainstay.")
@output_option
def list_(output: str) -> int:
    """List the protocols that come with Mainstay: those that are described, and native codecs."""
    from mainstay.protocols.native import native_codecs
    from mainstay.protocols.read import shipped

    known = [
        {
            "name": each.name,
            "codec": "described",
            "detection": each.description.detection,
            "about": each.description.about,
        }
        for each in shipped()
    ]
    known += [
        {
            "name": each.name,
            "codec": "native",
            "detection": "certain" if each.detection else "declared-only",
            "about": each.about,
        }
        for each in native_codecs()
    ]
    if output == "table":
        show_table([name.upper() for name in known[0]], [list(each.values()) for each in known])
    else:
        show_data({"protocols": known}, output)
    return 0


@protocol.command(short_help="Check descriptions of protocols.")
@click.argument("files", nargs=-1, required=True, type=click.Path(allow_dash=True))
@output_option
def validate(files: tuple[str, ...], output: str) -> int:
    """Check descriptions, each alone and all together with those that come with Mainstay.

    FILES are YAML or JSON files, directories of such, or - for stdin.
    """
    from mainstay.protocols.explain import refusal
    from mainstay.protocols.read import read_descriptions, shipped_texts

    texts = read_files(files)
    own, alone = read_descriptions(texts)
    names = {each.name for each in own}
    others = [(f"{name}.yaml", text) for name, text in shipped_texts().items() if name not in names]
    _, problems = read_descriptions([*others, *texts])
    problems += [refused for each in own if not alone and (refused := refusal(each))]
    shown = [msgspec.to_builtins(problem) for problem in problems]
    if output == "table":
        show_problems(shown, dict([*others, *texts]))
        verdict = (
            f"refused: {count(len(shown), 'error')}" if shown else f"{count(len(own), 'protocol')} valid"
        )
        click.echo(verdict, err=bool(shown))
    else:
        show_data({"valid": not shown, "protocols": sorted(names), "problems": shown}, output)
    return REFUSED if shown else 0


@protocol.command(short_help="Show captured frames field by field.")
@click.argument("capture", type=click.Path(allow_dash=True))
@click.option(
    "-p",
    "--protocol",
    "named",
    default="",
    help="Name of a protocol that comes with Mainstay, or a description's file. Found out if left out.",
)
@output_option
def decode(capture: str, named: str, output: str) -> int:
    """Show captured frames field by field, as the engine understands them.

    CAPTURE is a pcap or pcapng file, or hexadecimal text (plain, or as xxd and hexdump -C print it), or - for stdin.
    """
    from mainstay.protocols.capture import Unreadable, read_capture
    from mainstay.protocols.compile import compile_protocol
    from mainstay.protocols.explain import MAX_FRAMES, explain, first, guess, misfits, show
    from mainstay.protocols.shipped import shipped_plans

    try:
        streams = read_capture(_read_bytes(capture))
    except Unreadable as error:
        raise OperatorError(f"{capture}: {error}", USAGE) from None
    if not any(stream.data for stream in streams):
        what = "bytes" if any(not stream.name for stream in streams) else "bytes of TCP connections"
        where = " in front of missing segments" if any(stream.has_gap for stream in streams) else ""
        raise OperatorError(f"{capture} holds no {what}{where}", 1)
    wanted = _find(named) if named else None
    given = compile_protocol(wanted.name, wanted.description) if wanted else None
    known = () if given else shipped_plans()
    results, left = [], MAX_FRAMES
    for number, stream in enumerate(streams):
        if not left:
            more = f"{count(len(streams) - number, 'direction')} of connections more, beyond {MAX_FRAMES:,} frames"
            click.echo(
                f"… and {more}: take a part of the capture (`tcpdump -r {capture} -w PART host …`)", err=True
            )
            break
        chosen = given or guess(known, stream.data)
        if stream.name and output == "table":
            click.echo(click.style(stream.name, bold=True))
        if chosen is None:
            why = misfits(known, stream.data) or "no bytes"
            click.echo(
                f"no protocol that comes with Mainstay fits ({why}): name one with --protocol", err=True
            )
            if stream.has_gap:
                click.echo(MISSING, err=True)
            continue
        explained = first(explain(chosen, stream.data), left)
        left -= len(explained.frames)
        if output == "table":
            for line in show(explained):
                click.echo(line)
            if stream.has_gap:
                click.echo(MISSING, err=True)
        else:
            frames = msgspec.to_builtins(explained, builtin_types=(bytes,))
            results.append({"stream": stream.name, "protocol": chosen.name, "gap": stream.has_gap, **frames})
    if output != "table":
        show_data(_with_hex(results), output)
    return 0 if left < MAX_FRAMES else 1


@protocol.command()
@click.argument("name")
def new(name: str) -> int:
    """Print a description to begin with, for a protocol called NAME."""
    import re
    from importlib import resources

    from mainstay.protocols.kind import name_fault

    if not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name):
        reason = "use lower-case letters, digits and '-', a letter or digit first and last"
        raise click.BadParameter(reason, param_hint="NAME")
    if reason := name_fault(name):
        raise click.BadParameter(f"{reason}: choose another", param_hint="NAME")
    text = resources.files("mainstay.protocols").joinpath("template.yaml").read_text(encoding="utf-8")
    click.echo(text.replace("name: NAME", f"name: {name}"), nl=False)
    return 0


@protocol.command(short_help="Print a health check by a protocol's heartbeat.")
@click.argument("named", metavar="NAME")
def heartbeat(named: str) -> int:
    """Print the protocol's heartbeat as Envoy's health check, for a cluster of a bootstrap or another control plane.

    NAME is the name of a protocol that comes with Mainstay, or a description's file.
    """
    from mainstay.protocols.heartbeat import heartbeat_check

    described = _find(named)
    check = heartbeat_check(described.name, described.description)
    if check is None:
        raise OperatorError(
            f"{described.name} has no heartbeat that can be known beforehand: check by connecting", 1
        )
    click.echo(
        f"tcp_health_check:\n  send: {{text: {check.send.hex()}}}\n  receive: [{{text: {check.receive.hex()}}}]"
    )
    return 0


def _read_bytes(path: str) -> bytes:
    from mainstay.protocols.capture import MAX_BYTES

    # One byte more than is read tells that the file is too large, even if it has no end.
    if path == "-":
        return sys.stdin.buffer.read(MAX_BYTES + 1)
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise OperatorError(f"cannot read {path}: {error.strerror}", USAGE) from None


def _find(named: str) -> Described:
    """The description that a name or file means."""
    from mainstay.protocols.native import native_codec
    from mainstay.protocols.read import read_descriptions, shipped

    found = {each.name: each for each in shipped()}
    if named in found:
        return found[named]
    if not Path(named).is_file():
        if native_codec(named) is not None:
            raise OperatorError(f"{named} is a native codec: no description says what its frames hold", USAGE)
        known = ", ".join(sorted(found))
        raise OperatorError(f"there is no protocol {named!r}: name a file, or one of {known}", USAGE)
    texts = read_files([named])
    described, problems = read_descriptions(texts)
    if problems or len(described) != 1:
        show_problems([msgspec.to_builtins(problem) for problem in problems], dict(texts))
        raise OperatorError(f"{named} does not describe one protocol", REFUSED)
    return described[0]


def _with_hex(value: object) -> object:
    """Bytes as hexadecimal text, since JSON and YAML readers want text."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {name: _with_hex(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_with_hex(each) for each in value]
    return value
