"""Calls the greeter until all its instances have answered, then what it may not call; tells what came of it as JSON lines."""

from __future__ import annotations

import json
import os
import time

import grpc

INSTANCES = int(os.environ["INSTANCES"])
channel = grpc.secure_channel(os.environ["GREETER_ADDR"], grpc.xds_channel_credentials())


def call(method: str) -> str:
    ask = channel.unary_unary(
        f"/test.Greeter/{method}", request_serializer=str.encode, response_deserializer=bytes.decode
    )
    try:
        return ask("", timeout=5, wait_for_ready=True)
    except grpc.RpcError as error:
        return error.code().name


answers: set[str] = set()
while len({each.split()[0] for each in answers if each != each.upper()}) < INSTANCES:
    answers.add(call("Who"))
    print(json.dumps({"answers": sorted(answers)}), flush=True)
    time.sleep(0.05)
steady = {call("Who") for _ in range(60)}
denied = {call("Secret") for _ in range(12)}
print(json.dumps({"steady": sorted(steady), "denied": sorted(denied)}), flush=True)
time.sleep(3_600)
