"""What xDS offered and Mainstay cannot do whole: refused by path, or, leniently, taken without it and told once."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from mainstay._proto import pool
from mainstay.sidecar.convert.references import Reference
from mainstay.sidecar.convert.source import AGGREGATED
from mainstay.sidecar.intake import PATIENCE_MS, Intake
from mainstay.xds.client.types import Offer, Offered, Refusal

ALS = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def offered(name: str) -> Offered:
    """A listener whose access log goes somewhere that Mainstay does not know."""
    router = {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": f"type.googleapis.com/{MANAGER}",
        "stat_prefix": "in",
        "route_config": {},
        "http_filters": [{"name": "router", "typed_config": router}],
    }
    fields = {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": 1}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    message = pool.from_json("envoy.config.listener.v3.Listener", fields)
    inner = pool.message_class(MANAGER)()
    filters = message.filter_chains[0].filters[0]
    inner.ParseFromString(filters.typed_config.value)
    inner.access_log.add(name="log").typed_config.type_url = f"type.googleapis.com/{ALS}"
    filters.typed_config.value = inner.SerializeToString()
    return Offered(1, "listener", (Offer(name, "1", message.SerializeToString()),), ())


def test_what_is_not_supported_costs_the_resource() -> None:
    intake = Intake(lambda: 0)
    intake.submit(offered("a"), AGGREGATED)
    assert not intake.convert(0)[0].offer.upserts
    ((verdict,), _) = intake.decided(lambda _: None, {}, 0)
    (refusal,) = verdict.refused
    assert refusal.name == "a"
    assert refusal.path == "filter_chains[0].filters[0].typed_config.access_log[0].typed_config"
    assert ALS in refusal.reason


def test_leniently_it_is_left_out_and_told_once(caplog: pytest.LogCaptureFixture) -> None:
    intake = Intake(lambda: 0, lenient=True)
    intake.submit(offered("a"), AGGREGATED)
    intake.submit(offered("b"), AGGREGATED)
    assert [ready.offer.upserts[0].name for ready in intake.convert(0)] == ["a", "b"]
    (told,) = [record.__dict__["fields"] for record in caplog.records]
    assert told["first"] == "a"
    assert ALS in told["field"]


def test_what_waits_on_is_checked_before_its_verdict() -> None:
    intake = Intake(lambda: 0, lenient=True)
    intake.submit(offered("a"), AGGREGATED)
    (made,) = intake.convert(0)[0].offer.upserts
    reference = (made.kind, made.name)
    asked: list[Mapping[Reference, str]] = []

    def check(waiting: Mapping[Reference, str]) -> Mapping[Reference, Refusal]:
        asked.append(dict(waiting))
        return {reference: Refusal("a", "path", "never")}

    assert intake.decided(lambda _: None, {}, PATIENCE_MS - 1, check=check) == ([], [])
    ((verdict,), _) = intake.decided(lambda _: None, {}, PATIENCE_MS, check=check)
    assert verdict.refused == (Refusal("a", "path", "never"),)
    assert asked == [{reference: made.digest}]
    assert intake.decided(lambda _: made.digest, {}, PATIENCE_MS + 1) == ([], []), "nothing is kept of it"
