"""Run as a program: gives every golden case to one real engine, case after case, and prints what is refused and what is
missing, one JSON line a case.

Listeners are not bound (`bind` is switched off): their addresses are not this machine's.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "golden")]

from golden_certificates import write_certificates  # noqa: E402
from test_convert_goldens import CASES, resources_of  # noqa: E402

from mainstay._proto import pool  # noqa: E402
from mainstay.engine import Delta, Engine, Removal, Upsert  # noqa: E402
from mainstay.sidecar import plan  # noqa: E402
from mainstay.sidecar.convert.table import Encoded, convert, encode  # noqa: E402

ORDER = ("secret", "endpoints", "cluster", "route", "generic_route", "listener")
_listener = msgspec.msgpack.Decoder(plan.Listener)


def encoded_of(case: str, certificates: Path) -> list[Encoded]:
    def read_file(path: str) -> bytes:
        return (certificates / Path(path).name).read_bytes()

    found: dict[tuple[str, str], Encoded] = {}
    for message, value in resources_of(case):
        body = pool.from_json(message, value).SerializeToString()
        converted = convert(message, body, read_file)
        for each in (*converted.inline, converted.resource):
            if each.kind == "listener":
                each = encode(msgspec.structs.replace(_listener.decode(each.body), bind=False))
            found[each.kind, each.name] = each
    return sorted(found.values(), key=lambda each: (ORDER.index(each.kind), each.name))


def main() -> None:
    certificates = Path(sys.argv[1])
    write_certificates(certificates)
    engine = Engine(plan.EngineSettings(node_id="test"))
    chain = (certificates / "cert.pem").read_bytes()
    material = plan.CertificateMaterial(plan.CertificateChain(chain, (certificates / "key.pem").read_bytes()))
    roots = plan.ValidationMaterial(plan.ValidationContext(chain))
    for case in CASES:
        encoded = encoded_of(case, certificates)
        needed = {name for each in encoded for kind, name in each.needs if kind == "secret"}
        there = {each.name for each in encoded if each.kind == "secret"}
        encoded[:0] = [
            encode(plan.Secret(name, roots if name == "ROOTCA" or name.endswith("-cacert") else material))
            for name in sorted(needed - there)
        ]
        report = engine.apply(
            Delta(tuple(Upsert(each.kind, each.name, each.digest, each.body) for each in encoded))
        )
        held = {(each.resource, each.name) for each in engine.held()}
        lost = [each.name for each in encoded if (each.kind, each.name) not in held]
        refused = [f"{each.resource} {each.name}: {each.path}: {each.reason}" for each in report.refused]
        print(json.dumps([case, refused, lost]), flush=True)
        engine.apply(Delta(removals=tuple(Removal(each.kind, each.name) for each in encoded)))
        assert not engine.held()
    engine.shutdown(1_000)


if __name__ == "__main__":
    main()
