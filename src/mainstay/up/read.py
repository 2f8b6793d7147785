"""Reads the file of `up`: from text to `MeshFile`, or every problem by file, line and path.

In: a path, a folder with a mesh.yaml, or the name of an example. Out: `MeshFile`, or `FileRefused` with problems. Invariants: all
of it is checked before anything starts, the objects in `config` and `steps` included: their references are looked up among
what `plan` writes and each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path

from mainstay.api.decode import decode
from mainstay.api.document import Document, read
from mainstay.api.encode import encode_part
from mainstay.api.kind import Defaults, Kind
from mainstay.api.kinds import KINDS, kind_of
from mainstay.api.mainstay import mesh as written
from mainstay.api.node import Mapping, Node, Scalar
from mainstay.api.node import Path as FieldPath
from mainstay.api.object import Object
from mainstay.api.placed import placed_json
from mainstay.control.dialect import References, Written, check_references, id_of, read_objects, translate
from mainstay.control.objects import ObjectId
from mainstay.graph import Refused
from mainstay.model.mesh import Mesh
from mainstay.model.problem import Problem
from mainstay.protocols.kind import shipped_protocols
from mainstay.settings import OperatorError
from mainstay.up.file import (
    PROTOCOLS,
    Expectation,
    ExpectedPair,
    Gateway,
    Load,
    MeshFile,
    Port,
    Probe,
    Service,
    Step,
    Text,
    Workload,
)
from mainstay.up.plan import RUNTIMES, plan
from mainstay.up.planned import Machine

FILE_NAME = "mesh.yaml"
ENDINGS = (".yaml", ".yml", ".json")
EXAMPLES = "mainstay.examples"
USAGE = 2
_CONFIG = ("spec", "config")


class FileRefused(Exception):  # noqa: N818  it reports the author's mistake
    """The file cannot be run; `problems` say why, `texts` are the files they speak of."""

    def __init__(self, problems: Sequence[Problem], texts: dict[str, str]) -> None:
        super().__init__(f"{len(problems)} problems")
        self.problems = tuple(problems)
        self.texts = texts


def find_file(named: str) -> Path:
    """Return the file that FILE, DIR or NAME means; raises OperatorError (usage) if there is none."""
    path = Path(named)
    if path.is_dir():
        path = path / FILE_NAME
        if not path.is_file():
            raise OperatorError(f"there is no {FILE_NAME} in {named}", USAGE)
        return path
    if path.is_file():
        return path
    examples = list_examples()
    if named in examples:
        return examples[named]
    known = f"; examples are: {', '.join(sorted(examples))}" if examples else ""
    raise OperatorError(f"there is no file, folder or example {named!r}{known}", USAGE)


def list_examples() -> dict[str, Path]:
    """Return the examples that come with Mainstay, by name."""
    root = Path(str(resources.files(EXAMPLES)))
    return {file.parent.name: file for file in sorted(root.glob(f"*/{FILE_NAME}"))}


def read_file(path: Path) -> MeshFile:
    """Read and check a file; raises FileRefused, or OperatorError if it cannot be read."""
    return _Reader(path).mesh()


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._folder = path.resolve().parent
        self._problems: list[Problem] = []
        self._texts: dict[str, str] = {}
        self._thing: Object | None = None
        self._objects_of: dict[FieldPath, list[Written]] = {}

    def mesh(self) -> MeshFile:
        text = self._read_text(self._path, str(self._path))
        documents, problems = read(text, str(self._path))
        self._problems += problems
        thing = self._decode(documents)
        if thing is None:
            raise FileRefused(self._problems, self._texts)
        self._thing = thing
        spec: written.Mesh = thing.spec
        made = MeshFile(
            name=thing.name,
            directory=str(self._folder),
            namespace=spec.namespace,
            settings=encode_part(spec.settings) if spec.settings else {},
            services=tuple(_service(each) for each in spec.services),
            workloads=tuple(_workload(each) for each in spec.workloads),
            gateways=tuple(Gateway(each.name, each.port, each.proxy) for each in spec.gateways),
            config=tuple(self._objects(spec.config, _CONFIG)),
            authored=frozenset(str(each.id) for each in self._objects_of[_CONFIG]),
            load=tuple(Load(each.to, each.rate, each.path, each.connections) for each in spec.load),
            steps=tuple(
                Step(each.after, tuple(self._objects(each.apply, ("spec", "steps", at, "apply"))), each.note)
                for at, each in enumerate(spec.steps)
            ),
            expect=_expectation(spec.expect) if spec.expect else Expectation(),
            hints=spec.hints,
        )
        self._check_names(spec)
        if not self._problems:
            self._check_objects(made)
        if self._problems:
            raise FileRefused(self._problems, self._texts)
        return made

    def _decode(self, documents: Sequence[Document]) -> Object | None:
        if len(documents) != 1:
            if not self._problems:
                at = documents[1].root.line if documents else 1
                count = "several documents" if documents else "no document"
                reason = f"the file holds {count}, and `up` runs one Mesh"
                remedy = "Keep one document of kind Mesh; other objects go under spec.config"
                self._problems.append(Problem("MS1006", "error", "", reason, remedy, str(self._path), at, 1))
            return None
        kind = kind_of(documents[0])
        if not isinstance(kind, Kind):
            self._problems += kind
            return None
        if kind.name != "Mesh":
            mesh = next(each for each in KINDS if each.name == "Mesh")
            reason = f"{kind.name} is an object of the control plane, and `up` runs a Mesh"
            remedy = f"Write apiVersion {mesh.api_version} and kind Mesh; `mainstay apply -f` takes this file"
            self._problems.append(documents[0].problem("MS1007", ("kind",), reason, remedy))
            return None
        decoded = decode(documents[0], kind)
        if isinstance(decoded, Object):
            return decoded
        self._problems += decoded
        return None

    def _read_text(self, path: Path, shown: str) -> str:
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise OperatorError(f"cannot read {shown}: {error.strerror}", USAGE) from None
        except UnicodeDecodeError as error:
            raise OperatorError(
                f"{shown} is not UTF-8 (byte {error.start}): save it as UTF-8", USAGE
            ) from None
        self._texts[shown] = text
        return text

    def _objects(self, nodes: Iterable[Node], path: FieldPath) -> Iterable[Text]:
        """Objects written out stay where they are; paths are files or folders beside the mesh's file."""
        kept = self._objects_of.setdefault(path, [])
        for at, node in enumerate(nodes):
            here = (*path, at)
            if isinstance(node, Mapping):
                text = placed_json(node)
                kept += self._inline(Document(str(self._path), node, text))
                yield Text(str(self._path), text)
            elif isinstance(node, Scalar) and not node.is_null and node.style != "json":
                for found in self._files(node.text, here):
                    objects, problems = read_objects(found.text, found.file, self._namespace)
                    kept += objects
                    self._problems += problems
                    yield found
            else:
                self._report(
                    "MS1011", here, "this is neither an object nor a path", "Write an object or a path"
                )

    @property
    def _namespace(self) -> str:
        assert self._thing is not None
        return str(self._thing.spec.namespace)

    def _inline(self, document: Document) -> Iterable[Written]:
        kind = kind_of(document)
        decoded = decode(document, kind, self._namespace) if isinstance(kind, Kind) else kind
        if isinstance(decoded, Object):
            yield Written(id_of(decoded), decoded, document.file, document.root.line)
        else:
            self._problems += decoded

    def _files(self, text: str, path: FieldPath) -> Iterable[Text]:
        target = self._folder / text
        files = [target]
        if target.is_dir():
            files = sorted(each for each in target.rglob("*") if each.suffix in ENDINGS and each.is_file())
        if not target.exists() or not files:
            what = "is no file" if not target.exists() else "holds no file of objects"
            self._report("MS2006", path, f"{text} {what}", f"Give a path below {self._folder}")
            return
        for file in files:
            shown = str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)
            yield Text(shown, self._read_text(file, shown))

    def _check_objects(self, mesh: MeshFile) -> None:
        """What the control plane would refuse is refused here, while nothing runs yet."""
        every = plan(mesh, Machine(frozenset(RUNTIMES), own_addresses=True, python="python3"))
        objects: dict[ObjectId, Object] = {}
        for each in every.objects:
            for made in read_objects(json.dumps(each), str(self._path), mesh.namespace)[0]:
                objects[made.id] = made.object
        defaults = Defaults()
        for thing in objects.values():
            if thing.kind.name == "MeshSettings":
                facts = translate(thing, defaults)
                if isinstance(facts, Refused):
                    self._problems += [self._at_settings(problem) for problem in facts.problems]
                else:
                    defaults = Defaults(mesh=next(fact for fact in facts if isinstance(fact, Mesh)))
        for written_now in self._objects_of.values():
            for made in written_now:
                objects[made.id] = made.object
                facts = translate(made.object, defaults)
                self._problems += facts.problems if isinstance(facts, Refused) else ()
            found = check_references(References(objects, defaults), [made.object for made in written_now])
            self._problems += [problem for problem in found if problem.severity == "error"]

    def _at_settings(self, problem: Problem) -> Problem:
        assert self._thing is not None
        return self._thing.problem(problem.code, ("spec", "settings"), problem.reason, problem.remedy)

    def _report(self, code: str, path: FieldPath, reason: str, remedy: str) -> None:
        assert self._thing is not None
        self._problems.append(self._thing.problem(code, path, reason, remedy))

    def _check_names(self, spec: written.Mesh) -> None:
        services = self._unique([each.name for each in spec.services], ("spec", "services"))
        self._unique([each.name for each in spec.workloads], ("spec", "workloads"))
        gateways = self._unique([each.name for each in spec.gateways], ("spec", "gateways"))
        workloads = {each.name for each in spec.workloads}
        for at, gateway in enumerate(spec.gateways):
            if gateway.name in workloads | services:
                reason = f"{gateway.name} is a workload or service already"
                self._report("MS1107", ("spec", "gateways", at, "name"), reason, "Give it another name")
        for at, service in enumerate(spec.services):
            self._unique([each.number for each in service.ports], ("spec", "services", at, "ports"), "number")
            for index, port in enumerate(service.ports):
                self._is_described(port.protocol, ("spec", "services", at, "ports", index, "protocol"))
        for at, workload in enumerate(spec.workloads):
            here = ("spec", "workloads", at)
            if workload.service is not None:
                self._known(workload.service, services, (*here, "service"), "service")
            for index, called in enumerate(workload.calls):
                self._known(called, services, (*here, "calls", index), "service")
            if workload.registry and workload.proxy != "mainstay":
                self._report(
                    "MS1120",
                    (*here, "registry"),
                    f"{workload.name} has proxy {workload.proxy}, and only Mainstay's sidecar serves the registry API",
                    "Leave out registry, or proxy",
                )
            if workload.proxy == "grpc":
                self._speaks_grpc(spec, workload, here)
        for at, load in enumerate(spec.load):
            self._known(load.to, gateways, ("spec", "load", at, "to"), "gateway")

    def _is_described(self, protocol: str | None, path: FieldPath) -> None:
        written_here = {
            each.object.name
            for objects in self._objects_of.values()
            for each in objects
            if each.object.kind.name == "Protocol"
        }
        described = sorted(written_here | {each.name for each in shipped_protocols()})
        if protocol is not None and protocol not in (*PROTOCOLS, *described):
            remedy = f"Use one of {', '.join((*PROTOCOLS, *described))}, or describe it by a Protocol in spec.config"
            self._report("MS1012", path, f"{protocol} is no protocol", remedy)

    def _speaks_grpc(self, spec: written.Mesh, workload: written.MeshWorkload, path: FieldPath) -> None:
        """A gRPC library takes part in the mesh for gRPC alone."""
        ports = {each.name: each.ports for each in spec.services}
        places = [(workload.service, (*path, "service"))] if workload.service else []
        places += [(called, (*path, "calls", at)) for at, called in enumerate(workload.calls)]
        for service, place in places:
            if any(port.protocol != "grpc" for port in ports.get(service, ())):
                reason = f"{workload.name} has proxy grpc, and {service} has a port that is not gRPC"
                remedy = (
                    "Declare `protocol: grpc` on its ports if they speak it, or give the workload a sidecar"
                )
                self._report("MS1120", place, reason, remedy)

    def _unique(self, names: Sequence[str | int], path: FieldPath, field: str = "name") -> set[str]:
        seen: set[str | int] = set()
        for at, name in enumerate(names):
            if name in seen:
                self._report(
                    "MS1107", (*path, at, field), f"{name} is used twice", f"Give each its own {field}"
                )
            seen.add(name)
        return {str(name) for name in seen}

    def _known(self, name: str, known: set[str], path: FieldPath, what: str) -> None:
        if name not in known:
            remedy = f"Use one of {', '.join(sorted(known))}" if known else f"Add it under spec.{what}s"
            self._report("MS2006", path, f"there is no {what} {name}", remedy)


def _service(service: written.MeshService) -> Service:
    ports = (Port(port.number, port.name, port.protocol or "") for port in service.ports)
    return Service(service.name, tuple(ports))


def _workload(workload: written.MeshWorkload) -> Workload:
    probe = workload.probe or written.MeshProbe()
    return Workload(
        workload.name,
        workload.command,
        workload.service or "",
        workload.version,
        dict(workload.env),
        workload.needs,
        workload.calls,
        Probe(probe.path or "", probe.period, probe.timeout, probe.failures),
        workload.instances,
        workload.proxy,
        workload.registry or "",
    )


def _expectation(expect: written.MeshExpectation) -> Expectation:
    pairs = (
        ExpectedPair(each.source, each.destination, each.requests, each.p99, each.mtls, dict(each.versions))
        for each in expect.pairs
    )
    return Expectation(expect.failures, expect.mtls, tuple(pairs))
