"""Checks regular expressions before a proxy has to: RE2's language, which Envoy and Mainstay's engine share.

In: the text of an expression. Out: why it is none, or None. Python's own compiler finds errors of syntax once what RE2 alone
knows is put into its words; what Python alone knows (look-around, back-references, possessive and atomic groups) is
refused here. Invariant: nothing RE2 takes is refused; a rare remainder is left for the proxy, whose refusal shows in `status`.
"""

from __future__ import annotations

import re
import warnings

from mainstay.api.findings import Findings
from mainstay.api.node import Path

MAX_EXPRESSION = 1_024
"""Characters; a proxy's memory for an expression grows with its length."""

MAX_REPEAT = 1_000
"""RE2's limit of `{n,m}`."""

_ATOM = re.compile(
    r"""
    (?P<quote>\\Q.*?(?:\\E|\Z))
  | (?P<class>\[\^?\]?(?:\\.|\[:\^?[a-z]+:\]|[^\]\\])*\])
  | (?P<property>\\[pP](?:\{\^?\w+\}|\w))
  | (?P<code>\\x\{[0-9A-Fa-f]+\})
  | (?P<reference>\\[1-9]|\\g<|\(\?P=)
  | (?P<escape>\\.)
  | (?P<look>\(\?(?:=|!|<=|<!))
  | (?P<special>\(\?(?:>|\#|\())
  | (?P<name>\(\?P?<[A-Za-z_]\w*>)
  | (?P<flags>\(\?[imsU]*(?:-[imsU]+)?[:)])
  | (?P<repeat>\{[0-9]+(?:,[0-9]*)?\})
  | (?P<possessive>[*+?]\+)
  | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_POSIX = re.compile(r"\[:\^?[a-z]+:\]")


def find_fault(text: str) -> str | None:
    """Return why a text is no expression of RE2, in words that continue "the expression …"; None for a good one."""
    if len(text) > MAX_EXPRESSION:
        return f"has {len(text):,} characters; {MAX_EXPRESSION:,} are the limit"
    parts: list[str] = []
    before = ""
    for match in _ATOM.finditer(text):
        atom = match.group()
        match match.lastgroup:
            case "reference":
                return f"refers back to a group at {match.start()}, which RE2 cannot"
            case "look":
                return f"looks around at {match.start()}, which RE2 cannot"
            case "special":
                return f"has {atom!r} at {match.start()}, which RE2 does not know"
            case "possessive":
                return f"has the possessive quantifier {atom!r} at {match.start()}, which RE2 does not know"
            case "repeat" if any(int(number or 0) > MAX_REPEAT for number in atom.strip("{}").split(",")):
                return f"repeats more than {MAX_REPEAT:,} times at {match.start()}"
            case "repeat" | "other" if before == "repeat" and atom[0] in "*+{":
                return f"repeats a repetition at {match.start()}"
        before = match.lastgroup or ""
        parts.append(_as_python(before, atom))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile("".join(parts))
    except (re.error, OverflowError, RecursionError) as error:
        return f"cannot be read: {error}"
    return None


def check_expression(text: str, found: Findings, path: Path) -> None:
    """Report an expression that no proxy could use."""
    fault = find_fault(text)
    if fault is not None:
        found.add(
            "MS1102", path, f"the expression {fault}", "Write an RE2 expression; it must match the whole text"
        )


def _as_python(kind: str, atom: str) -> str:
    match kind:
        case "quote" | "code":
            return "q"
        case "property":
            return r"\w"
        case "class":
            plain = _POSIX.sub("a", atom)
            return re.sub(r"\\[pP](?:\{\^?\w+\}|\w)|\\x\{[0-9A-Fa-f]+\}|\\[QEzC]", "a", plain)
        case "escape":
            return {r"\z": r"\Z", r"\C": ".", r"\a": r"\x07"}.get(atom, atom)
        case "name":
            # Python wants unique names too, and knows only the spelling with P.
            return atom if atom.startswith("(?P") else "(?P" + atom[2:]
        case "flags":
            # RE2 switches flags anywhere; for the syntax they do not matter.
            return "" if atom.endswith(")") else "(?:"
        case "other" if atom == "{":
            return r"\{"
    return atom
