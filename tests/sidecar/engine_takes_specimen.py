"""Run as a program, with the specimen's folder: gives the specimen to one real engine, and prints what it refuses and what it
lacks, as JSON. Listeners are not bound.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from mainstay.engine import Delta, Engine, Upsert
from mainstay.sidecar import plan
from mainstay.sidecar.bootstrap.read import read_bootstrap
from mainstay.sidecar.convert.table import encode

ORDER = ("secret", "endpoints", "cluster", "route", "listener")
_listener = msgspec.msgpack.Decoder(plan.Listener)


def main() -> None:
    folder = Path(sys.argv[1])
    boot = read_bootstrap(folder / "bootstrap.yaml", "1")
    found = [
        encode(msgspec.structs.replace(_listener.decode(part.body), bind=False))
        if part.kind == "listener"
        else part
        for each in boot.static
        for part in each.parts
    ]
    chain = plan.CertificateChain((folder / "leaf.pem").read_bytes(), (folder / "leaf.key").read_bytes())
    # What comes from elsewhere.
    found += [
        encode(plan.Secret("remote", plan.CertificateMaterial(chain))),
        encode(plan.Endpoints("members", ())),
        encode(plan.RouteTable("remote", ())),
    ]
    found.sort(key=lambda each: (ORDER.index(each.kind), each.name))
    engine = Engine(plan.EngineSettings(node_id="specimen"))
    report = engine.apply(
        Delta(tuple(Upsert(each.kind, each.name, each.digest, each.body) for each in found))
    )
    held = {(each.resource, each.name) for each in engine.held()}
    lost = [f"{each.kind} {each.name}" for each in found if (each.kind, each.name) not in held]
    refused = [f"{each.resource} {each.name}: {each.path}: {each.reason}" for each in report.refused]
    print(json.dumps([len(found), refused, lost]))
    engine.shutdown(0)


if __name__ == "__main__":
    main()
