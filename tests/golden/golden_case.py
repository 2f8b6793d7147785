"""A golden case: a folder with ``objects.yaml`` (what users wrote), ``node.yaml`` (who asks) and ``expected/*.json`` (what it
gets).

In: the folder. Out: the view compiled from it, and the JSON texts to compare with.
"""

import json
from pathlib import Path

import yaml
from golden_bootstrap import view_json

from mainstay.api.decode import decode
from mainstay.api.document import read
from mainstay.api.kind import Defaults, Kind
from mainstay.api.kinds import kind_of
from mainstay.api.object import Object
from mainstay.compile.facts import Fact, StaticFacts
from mainstay.compile.node import proxy_of_node
from mainstay.compile.view import View, compile_view
from mainstay.model.had import PROTOCOLS_METADATA
from mainstay.model.problem import Problem
from mainstay.model.secret import SecretRef
from mainstay.protocols.kind import shipped_protocols
from mainstay.protocols.native import protocols_had

ROOT = Path(__file__).parent
CASES = sorted(path.parent.name for path in ROOT.glob("*/objects.yaml"))


def compile_case(name: str) -> View:
    """Return the view of a case."""
    node = yaml.safe_load((ROOT / name / "node.yaml").read_text())
    metadata = {PROTOCOLS_METADATA: ",".join(protocols_had()), **node["metadata"]}
    proxy = proxy_of_node(node["id"], metadata, node["user_agent_name"])
    return compile_view(StaticFacts([*shipped_protocols(), *facts_of(ROOT / name / "objects.yaml")]), proxy)


def facts_of(file: Path) -> list[Fact]:
    """Return the facts of a file's objects; a case whose objects have problems is a broken case."""
    documents, problems = read(file.read_text(), str(file))
    assert not problems, problems
    facts: list[Fact] = []
    for document in documents:
        kind = kind_of(document)
        assert isinstance(kind, Kind), kind
        decoded = decode(document, kind)
        assert isinstance(decoded, Object), decoded
        translated = kind.translate(decoded, Defaults())
        assert not any(isinstance(each, Problem) for each in translated), translated
        facts += [each for each in translated if not isinstance(each, Problem | SecretRef)]
    return facts


def texts_of(view: View) -> dict[str, str]:
    """Return file name → JSON text; kinds without resources have no file."""
    files: dict[str, object] = {
        f"{kind}s.json": entries for kind, entries in view_json(view).items() if entries
    }
    if view.problems:
        files["problems.json"] = [str(problem) for problem in view.problems]
    return {
        name: json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        for name, value in files.items()
    }


def expected_texts(name: str) -> dict[str, str]:
    """Return the accepted files of a case."""
    return {path.name: path.read_text() for path in sorted((ROOT / name / "expected").glob("*.json"))}


def accept(name: str, texts: dict[str, str]) -> None:
    """Make ``texts`` the expected files of a case."""
    folder = ROOT / name / "expected"
    folder.mkdir(exist_ok=True)
    for path in folder.glob("*.json"):
        if path.name not in texts:
            path.unlink()
    for file, text in texts.items():
        (folder / file).write_text(text)
