"""The whole brain over the model engine and the real xDS server machine: what operators rely on."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from fake_control_plane import ControlPlane, View, golden_view
from fake_engine import FakeEngine

from mainstay._proto import pool
from mainstay.compile.resource import MESSAGES, Kind, Resource, resource_of_bytes
from mainstay.engine import Asked, EndpointHealth, Removal
from mainstay.identity import join_wire
from mainstay.model.application import decode_application
from mainstay.settings.sidecar import ControlPlane as ControlPlaneSettings
from mainstay.settings.sidecar import Probe, Registry, SidecarSettings
from mainstay.sidecar import restore
from mainstay.sidecar.bootstrap import own
from mainstay.sidecar.border import Lease
from mainstay.sidecar.brain import Brain
from mainstay.sidecar.certificates import Certificates
from mainstay.sidecar.configuration import MANY_RESOURCES
from mainstay.sidecar.convert.gathered import ReadFile
from mainstay.sidecar.convert.table import Converted
from mainstay.sidecar.identity import Identity
from mainstay.sidecar.last_good import LastGood, NoLastGood
from mainstay.sidecar.leaf_file import LeafFile
from mainstay.sidecar.lifecycle import Lifecycle
from mainstay.sidecar.registry_api.keep import Keep
from mainstay.sidecar.registry_api.machine import Place
from mainstay.sidecar.registry_api.place import place_of
from mainstay.sidecar.registry_api.serve import RegistryApi
from mainstay.sidecar.status import Status

CASE = "canary-weights"
INBOUND = "127.1.0.1_8080"
"""The inbound listener of the case `explicit`."""


class Sidecar:
    """A sidecar as `main` builds it, with the model engine inside."""

    def __init__(
        self,
        control_plane: ControlPlane,
        data: Path | None = None,
        token: Path | None = None,
        variant: str = "delta",
        probe: Probe = Probe(),
        registry: Registry = Registry(),
    ) -> None:
        self.engine = FakeEngine()
        self.control_plane = control_plane
        control_plane.wall = self.engine.wall
        for cluster in (own.XDS_CLUSTER, f"{own.XDS_CLUSTER}-2", own.JOIN_CLUSTER, own.FIRST_CLUSTER):
            self.engine.servers[cluster] = control_plane.call
        insecure = token is None and (data is None or not (data / "identity").exists())
        self.settings = SidecarSettings(
            workload="web-1",
            namespace="shop",
            service_account="web",
            data=data,
            probe=probe,
            registry=registry,
            control_plane=ControlPlaneSettings("127.0.0.1:15012", insecure, variant, token),  # type: ignore[arg-type]
        )
        self.boot = own.own_boot(self.settings, "sidecar", "0.1.0")
        self.last_good = LastGood(data) if data is not None else NoLastGood()
        self.life = Lifecycle(5_000, 45_000, needs_identity=not insecure)
        self.status = Status("0.1.0")
        self.lease = Lease(self.engine)
        self.keep = Keep(data / "application" if data is not None else None)
        self.brain = self.new_brain()

    def new_brain(self) -> Brain:
        self.lease = Lease(self.engine)
        identity = None
        if not self.settings.control_plane.insecure:
            file = LeafFile(self.settings.data / "identity" if self.settings.data is not None else None)
            machine = Certificates(self.boot.node_id, "shop", "web", lambda: 0.5)
            token = self.settings.control_plane.join_token_file
            identity = Identity(machine, self.lease, file, token, "127.0.0.1", 15012, self.engine.wall_clock)
        brain = Brain(
            self.lease,
            self.boot,
            self.life,
            self.last_good,
            self.status,
            identity,
            self.engine.clock,
            lambda: 0.5,
            lambda path: path.encode(),
            lambda _: None,
            registry=RegistryApi(self.engine, place_of(self.settings), self.keep)
            if self.settings.registry.enabled
            else None,
        )
        brain.start()
        return brain

    def run(self, for_ms: int = 2_000, until: Callable[[], bool] = lambda: False) -> None:
        """Turns until the time has passed or something holds."""
        end = self.engine.limit = self.engine.now + for_ms
        for _ in range(10_000):
            if self.brain.ended or until() or self.engine.now >= end:
                return
            self.brain.turn()
        raise AssertionError("never comes to rest")

    def digests(self) -> dict[tuple[str, str], str]:
        return {reference: digest for reference, (digest, _) in self.engine.resources.items()}


def names_of(view: View, kind: Kind) -> list[str]:
    return sorted(view.resources[kind])


def holds_view(sidecar: Sidecar, view: View) -> bool:
    own_clusters = {own.XDS_CLUSTER, f"{own.PROBE_PREFIX}settings"}
    clusters = [name for name in sidecar.engine.names("cluster") if name not in own_clusters]
    return (
        clusters == names_of(view, "cluster")
        and sidecar.engine.names("listener") == names_of(view, "listener")
        and sidecar.engine.names("route") == names_of(view, "route")
        and sidecar.engine.names("endpoints") == names_of(view, "endpoint")
    )


def changed(resource: Resource, change: Callable[[object], None]) -> Resource:
    message = pool.parse(MESSAGES[resource.kind], resource.body)
    change(message)
    return resource_of_bytes(
        resource.kind, resource.name, message.SerializeToString(deterministic=True), resource.refers
    )


def a_route(view: View) -> Resource:
    return next(iter(view.resources["route"].values()))


def joined_sidecar(tmp_path: Path, view: View | None = None, variant: str = "delta") -> Sidecar:
    control_plane = ControlPlane(view if view is not None else golden_view(CASE))
    token = tmp_path / "token"
    token.write_text(control_plane.token())
    sidecar = Sidecar(control_plane, tmp_path / "data", token, variant)
    sidecar.run()
    return sidecar


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_it_joins_loads_everything_and_becomes_ready(tmp_path: Path, variant: str) -> None:
    sidecar = joined_sidecar(tmp_path, variant=variant)
    assert sidecar.control_plane.identity_calls == [join_wire.GET_BUNDLE, join_wire.JOIN]
    assert holds_view(sidecar, sidecar.control_plane.view)
    assert sidecar.engine.ready == [False, True]
    assert sidecar.control_plane.refused == {}
    assert sidecar.engine.names("secret") == ["ROOTCA", "default"]
    assert own.FIRST_CLUSTER not in sidecar.engine.names("cluster")
    assert own.JOIN_CLUSTER not in sidecar.engine.names("cluster")


def test_memory_is_given_back_after_the_start_and_after_many_resources(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    assert sidecar.engine.memory_given_back == 1
    view = sidecar.control_plane.view
    some = next(iter(view.resources["cluster"].values()))

    def copies(count: int) -> list[Resource]:
        made = []
        for number in range(count):
            message = pool.parse(MESSAGES["cluster"], some.body)
            message.name = f"copy-{number}"
            body = message.SerializeToString(deterministic=True)
            made.append(resource_of_bytes("cluster", message.name, body, some.refers))
        return made

    sidecar.control_plane.show(view.with_(*copies(5)))
    sidecar.run()
    assert sidecar.engine.memory_given_back == 1, "a few leave little behind"
    sidecar.control_plane.show(view.with_(*copies(MANY_RESOURCES)))
    sidecar.run()
    assert sidecar.engine.memory_given_back == 2


def test_nothing_goes_out_before_what_it_needs(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    there: set[tuple[str, str]] = set()
    needs = {"cluster": "endpoints", "route": "cluster", "listener": "route"}
    for delta in sidecar.engine.deltas:
        kinds = {kind for kind, _ in there}
        for upsert in delta.upserts:
            if upsert.resource in needs and upsert.name not in (
                own.FIRST_CLUSTER,
                own.JOIN_CLUSTER,
                own.XDS_CLUSTER,
            ):
                assert needs[upsert.resource] in kinds or upsert.name.startswith(("inbound|", "BlackHole"))
        there |= {(upsert.resource, upsert.name) for upsert in delta.upserts}


def test_what_only_the_engine_refuses_is_a_nack_with_name_and_reason(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    control_plane = sidecar.control_plane
    route = a_route(control_plane.view)
    before = sidecar.digests()
    sidecar.engine.refuse["route", route.name] = ("virtual_hosts[0].routes[0].matches", "bad regex")

    def rename(message: object) -> None:
        message.virtual_hosts[0].name += "-changed"  # type: ignore[attr-defined]

    control_plane.show(control_plane.view.with_(changed(route, rename)))
    sidecar.run()
    assert control_plane.refused.keys() == {route.name}
    assert "virtual_hosts[0].routes[0].matches" in control_plane.refused[route.name]
    assert "bad regex" in control_plane.refused[route.name]
    assert sidecar.digests() == before, "the last good version stays"
    assert sidecar.status.refusals["route", route.name].reason == "bad regex"
    assert sidecar.engine.ready == [False, True]


def test_what_cannot_be_converted_is_a_nack_and_the_rest_goes_on(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    control_plane = sidecar.control_plane
    names = names_of(control_plane.view, "cluster")
    bad = control_plane.view.resources["cluster"][names[0]]
    good = control_plane.view.resources["cluster"][names[1]]

    def to_maglev(message: object) -> None:
        message.lb_policy = 5  # type: ignore[attr-defined]

    def to_slower(message: object) -> None:
        message.connect_timeout.seconds = 77  # type: ignore[attr-defined]

    control_plane.show(control_plane.view.with_(changed(bad, to_maglev), changed(good, to_slower)))
    sidecar.run()
    assert control_plane.refused == {bad.name: "lb_policy: MAGLEV is not supported"}
    plan = sidecar.engine.plan("cluster", good.name)
    assert isinstance(plan, dict)
    assert plan["connect_timeout"] == 77_000


def test_it_serves_on_when_the_control_plane_goes_and_resumes_when_it_comes_back(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    control_plane = sidecar.control_plane
    before = sidecar.digests()
    control_plane.up = False
    sidecar.engine.cut(own.XDS_CLUSTER)
    sidecar.run(for_ms=60_000)
    assert sidecar.digests() == before
    assert not sidecar.status.connected
    assert sidecar.engine.ready == [False, True]
    control_plane.up, sent = True, control_plane.sent
    deltas = len(sidecar.engine.deltas)
    sidecar.run(for_ms=60_000)
    assert len(control_plane.nodes) == 2
    assert control_plane.sent == sent, "versions were told: nothing had to be sent again"
    assert len(sidecar.engine.deltas) == deltas


def test_a_restart_without_control_plane_serves_the_last_good_configuration(tmp_path: Path) -> None:
    first = joined_sidecar(tmp_path)
    again = ControlPlane(first.control_plane.view)
    again.up = False
    second = Sidecar(again, tmp_path / "data", tmp_path / "token")
    second.run()
    assert holds_view(second, again.view)
    assert second.engine.ready == [False, True]
    again.up = True
    deltas = len(second.engine.deltas)
    second.run(for_ms=60_000)
    assert again.nodes
    assert again.sent == 0
    assert len(second.engine.deltas) == deltas


def test_what_was_removed_meanwhile_is_removed_on_resume(tmp_path: Path) -> None:
    first = joined_sidecar(tmp_path)
    view = first.control_plane.view
    gone = names_of(view, "listener")[-1]
    again = ControlPlane(view.without(("listener", gone)))
    second = Sidecar(again, tmp_path / "data", tmp_path / "token")
    second.run()
    assert gone not in second.engine.names("listener")
    third = Sidecar(ControlPlane(again.view), tmp_path / "data", tmp_path / "token")
    third.control_plane.up = False
    third.run()
    assert gone not in third.engine.names("listener")


def test_the_keys_on_disk_are_for_the_owner_alone(tmp_path: Path) -> None:
    joined_sidecar(tmp_path)
    for path in (tmp_path / "data").iterdir():
        assert path.stat().st_mode & 0o077 == 0
    stored = LeafFile(tmp_path / "data" / "identity").load()
    assert stored is not None
    assert stored.joined is not None
    assert stored.joined.identity == "spiffe://cluster.local/ns/shop/sa/web"


def test_renewal_swaps_the_leaf_and_forgets_the_old_key(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    leaf = sidecar.digests()["secret", "default"]
    others = {
        reference: digest for reference, digest in sidecar.digests().items() if reference[1] != "default"
    }
    assert len(sidecar.engine.keys) == 1
    sidecar.run(for_ms=13 * 3_600_000)
    assert sidecar.control_plane.identity_calls[-1] == join_wire.RENEW
    assert sidecar.digests()["secret", "default"] != leaf
    assert len(sidecar.engine.keys) == 1
    for reference, digest in others.items():
        assert reference[1] == own.XDS_CLUSTER or sidecar.digests()[reference] == digest


def test_the_stream_shows_the_new_leaf_and_loses_nothing_by_it(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    sent = sidecar.control_plane.sent
    sidecar.run(for_ms=13 * 3_600_000)
    assert {call.cluster for call in sidecar.engine.calls.values()} == {f"{own.XDS_CLUSTER}-2"}
    assert own.XDS_CLUSTER not in sidecar.engine.names("cluster")
    assert len(sidecar.control_plane.nodes) == 2
    assert sidecar.control_plane.sent == sent
    assert sidecar.engine.ready == [False, True]


def test_a_denied_join_is_told_and_nothing_is_served(tmp_path: Path) -> None:
    control_plane = ControlPlane(golden_view(CASE))
    control_plane.deny = "the token has been used up"
    token = tmp_path / "token"
    token.write_text(control_plane.token())
    sidecar = Sidecar(control_plane, tmp_path / "data", token)
    sidecar.run(for_ms=20_000)
    assert sidecar.engine.ready == [False]
    assert control_plane.nodes == []
    control_plane.deny = None
    sidecar.run(for_ms=60_000)
    assert sidecar.engine.ready == [False, True]


def test_a_stop_tells_the_control_plane_drains_and_ends(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    sidecar.engine.signal(signal.SIGTERM)
    sidecar.run(for_ms=100)
    assert sidecar.engine.ready[-1] is False
    assert [(each.healthy, each.reason) for each in sidecar.control_plane.health] == [(False, "draining")]
    assert sidecar.engine.drains == [("inbound", 5_000, 45_000)]
    assert sidecar.engine.names("listener"), "it still accepts"
    sidecar.run(for_ms=60_000)
    assert [scope for scope, _, _ in sidecar.engine.drains] == ["inbound", "process"]
    assert sidecar.brain.ended


def test_configuration_still_comes_in_while_it_drains(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    sidecar.engine.happen(Asked(1, "operator", "POST", "/drain_listeners", b""))
    sidecar.run(for_ms=100)
    control_plane = sidecar.control_plane
    control_plane.show(control_plane.view.without(("listener", names_of(control_plane.view, "listener")[-1])))
    sidecar.run(for_ms=1_000)
    assert sidecar.engine.names("listener") == names_of(control_plane.view, "listener")


def test_probe_results_go_up_and_are_repeated_after_a_reconnect() -> None:
    control_plane = ControlPlane(View())
    sidecar = Sidecar(control_plane, probe=Probe(port=8080))
    sidecar.run()
    assert control_plane.health == []
    sidecar.engine.happen(EndpointHealth("probe|settings", "127.0.0.1:8080", healthy=True))
    sidecar.engine.happen(EndpointHealth("outbound|80||x", "127.0.0.1:1", healthy=False))
    sidecar.run()
    assert [each.healthy for each in control_plane.health] == [True]
    sidecar.engine.happen(EndpointHealth("probe|settings", "127.0.0.1:8080", healthy=False))
    sidecar.run()
    assert "127.0.0.1:8080" in control_plane.health[-1].reason
    sidecar.engine.cut(own.XDS_CLUSTER)
    sidecar.run(for_ms=60_000)
    assert [each.healthy for each in control_plane.health] == [True, False, False]


def test_a_new_brain_takes_over_without_touching_what_is_equal(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    before = {
        reference: digest for reference, digest in sidecar.digests().items() if reference[1] != "default"
    }
    sidecar.engine.resources["cluster", "leftover"] = ("digest", b"")
    sidecar.lease.end()
    assert not sidecar.engine.calls
    sidecar.engine.deltas.clear()
    sidecar.brain = sidecar.new_brain()
    sidecar.run()
    assert {ref: digest for ref, digest in sidecar.digests().items() if ref[1] != "default"} == before
    removals = [removal for delta in sidecar.engine.deltas for removal in delta.removals]
    assert removals == [Removal("cluster", "leftover")]
    assert sidecar.engine.ready == [False, True, True], "readiness stays"
    assert len(sidecar.engine.keys) == 1
    assert len(sidecar.control_plane.nodes) == 2


def test_pages_show_what_waits_and_what_was_refused(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    sidecar.engine.happen(Asked(1, "operator", "GET", "/mainstay/status", b""))
    sidecar.engine.happen(Asked(2, "operator", "GET", "/config_dump", b""))
    sidecar.engine.happen(Asked(3, "operator", "GET", "/quitquitquit", b""))
    sidecar.engine.happen(Asked(4, "operator", "GET", "/nothing", b""))
    sidecar.run(for_ms=10)
    status = msgspec.json.decode(sidecar.engine.answers[1][1])
    assert status["state"] == "ready"
    assert status["control_plane"]["connected"]
    assert status["resources"]["listener"] == len(sidecar.engine.names("listener"))
    dump = msgspec.json.decode(sidecar.engine.answers[2][1])
    assert {entry["name"] for entry in dump["configs"]} >= set(sidecar.engine.names("listener"))
    assert sidecar.engine.answers[3][0] == 405
    assert sidecar.engine.answers[4][0] == 404
    assert not sidecar.engine.drains


def test_its_figures_are_metrics_of_the_engine(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    sidecar.run(for_ms=3_000)
    lines = sidecar.engine.metrics.splitlines()
    assert "mainstay_control_plane_connected 1" in lines
    assert "mainstay_xds_refused_responses_total 0" in lines
    assert f'mainstay_resources{{kind="listener"}} {len(sidecar.engine.names("listener"))}' in lines
    assert any(line.startswith('mainstay_xds_responses_total{kind="cluster"} ') for line in lines)
    assert any(line.startswith("mainstay_certificate_not_after_seconds ") for line in lines)
    assert all(line.startswith("#") or len(line.split(" ")) == 2 for line in lines)


def test_it_asks_for_no_secret_of_its_own(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path)
    (stream,) = sidecar.control_plane.streams
    secret = stream._machine.status().get("secret")
    assert secret is None or secret.names == ()


def test_a_port_that_is_taken_is_a_nack_too(tmp_path: Path) -> None:
    """The engine says so while it puts the change in force, by an event."""
    control_plane = ControlPlane(golden_view(CASE))
    token = tmp_path / "token"
    token.write_text(control_plane.token())
    sidecar = Sidecar(control_plane, tmp_path / "data", token)
    name = names_of(control_plane.view, "listener")[0]
    sidecar.engine.taken_ports.add(name)
    sidecar.run()
    assert control_plane.refused.keys() == {name}
    assert "address already in use" in control_plane.refused[name]
    assert sidecar.status.refusals["listener", name].path == "address"


@pytest.mark.parametrize("variant", ["delta", "sotw"])
def test_a_workload_whose_port_is_taken_stays_out_until_it_is_free(tmp_path: Path, variant: str) -> None:
    control_plane = ControlPlane(golden_view("explicit"))
    token = tmp_path / "token"
    token.write_text(control_plane.token())
    sidecar = Sidecar(control_plane, tmp_path / "data", token, variant)
    sidecar.engine.taken_ports.add(INBOUND)
    sidecar.run()
    assert True not in sidecar.engine.ready
    (report,) = control_plane.health
    assert not report.healthy
    assert report.reason == f"listener {INBOUND}: 10.0.0.1:1 cannot be bound: address already in use"

    tried = len(sidecar.engine.deltas)
    sidecar.run(for_ms=120_000)
    # After 1, 3, 7, 15, 31, 61, 91 and 121 seconds.
    assert 6 <= len(sidecar.engine.deltas) - tried <= 8

    sidecar.engine.taken_ports.clear()
    sidecar.run(for_ms=31_000)
    assert sidecar.engine.ready[-1] is True
    # The resumed stream is told once more.
    assert [each.healthy for each in control_plane.health] == [False, True, True]
    assert control_plane.answers[-1].refused == ()
    assert sidecar.status.refusals == {}


def test_a_further_port_that_is_taken_does_not_take_a_workload_out(tmp_path: Path) -> None:
    sidecar = joined_sidecar(tmp_path, golden_view("explicit"))
    view = sidecar.control_plane.view
    sidecar.engine.taken_ports.add(INBOUND)
    moved = changed(
        view.resources["listener"][INBOUND], lambda listener: setattr(listener, "stat_prefix", "new")
    )
    sidecar.control_plane.show(view.with_(moved))
    sidecar.run()
    assert sidecar.control_plane.refused.keys() == {INBOUND}
    assert sidecar.engine.ready[-1] is True
    assert sidecar.control_plane.health == []


def test_a_bug_that_an_old_record_brings_to_light_does_not_keep_it_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = joined_sidecar(tmp_path)
    name = names_of(first.control_plane.view, "cluster")[0]
    convert = restore.convert

    def convert_or_die(message: str, body: bytes, read_file: ReadFile) -> Converted:
        found = convert(message, body, read_file)
        if found.resource.kind == "cluster" and found.resource.name == name:
            raise RuntimeError("a bug")
        return found

    monkeypatch.setattr(restore, "convert", convert_or_die)
    second = Sidecar(ControlPlane(first.control_plane.view), tmp_path / "data", tmp_path / "token")
    second.run()
    assert holds_view(second, second.control_plane.view), "it came anew"


REGISTRY = Registry(enabled=True, inbound_port=12_201)
HELLO = b'{"serviceName":"com.example.Hello:1.0"}'


def with_registry(data: Path | None = None) -> Sidecar:
    sidecar = Sidecar(ControlPlane(golden_view(CASE)), data, registry=REGISTRY)
    sidecar.run()
    return sidecar


def ask(sidecar: Sidecar, token: int, path: str, body: bytes = HELLO) -> None:
    sidecar.engine.happen(Asked(token, "application", "POST", path, body))


def told(sidecar: Sidecar) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    found = [decode_application(text) for text in sidecar.control_plane.applications]
    return [(each.published, each.subscribed) for each in found]


def test_what_the_application_registers_is_told_and_told_again_to_a_new_stream(tmp_path: Path) -> None:
    sidecar = with_registry(tmp_path)
    assert told(sidecar) == [((), ())]
    ask(sidecar, 1, "/services/publish")
    sidecar.run(10)
    assert sidecar.engine.answers[1] == (200, b'{"success":true}')
    assert told(sidecar)[-1] == (("com.example.Hello:1.0",), ())
    sidecar.engine.happen(Asked(2, "operator", "GET", "/mainstay/status", b""))
    sidecar.run(10)
    shown = msgspec.json.decode(sidecar.engine.answers[2][1])["application"]
    assert shown["published"] == ["com.example.Hello:1.0"]
    assert (shown["serves_at"], shown["calls_at"]) == ("127.0.0.1:12200", "127.0.0.1:12220")
    sidecar.engine.cut(own.XDS_CLUSTER)
    sidecar.run(60_000, lambda: len(told(sidecar)) == 3)
    assert told(sidecar)[-1] == (("com.example.Hello:1.0",), ())
    # Nothing of it is the brain's alone.
    sidecar.lease.end()
    sidecar.brain = sidecar.new_brain()
    sidecar.run(10)
    again = Sidecar(ControlPlane(golden_view(CASE)), tmp_path, registry=REGISTRY)
    again.run()
    for each in (sidecar, again):
        assert told(each)[-1] == (("com.example.Hello:1.0",), ())


def test_the_port_of_an_application_that_publishes_is_probed() -> None:
    probe = f"{own.PROBE_PREFIX}application"
    sidecar = with_registry()
    assert probe not in sidecar.engine.names("cluster")
    ask(sidecar, 1, "/services/publish")
    sidecar.run(100)
    assert probe in sidecar.engine.names("cluster")
    sidecar.engine.happen(EndpointHealth(probe, "127.0.0.1:12200", healthy=True))
    sidecar.engine.happen(EndpointHealth(probe, "127.0.0.1:12200", healthy=False))
    sidecar.run(100)
    assert [each.healthy for each in sidecar.control_plane.health] == [True, False]
    # A new process, which calls others only: what the dead one published is gone, and its port is no reason any more.
    ask(sidecar, 2, "/configs/application", b'{"appName":"hello"}')
    sidecar.run(100)
    assert told(sidecar)[-1] == ((), ())
    assert probe not in sidecar.engine.names("cluster")
    assert sidecar.control_plane.health[-1].healthy


def test_what_a_former_process_published_takes_calls_once_its_application_is_there(tmp_path: Path) -> None:
    first = with_registry(tmp_path)
    ask(first, 1, "/services/publish")
    first.run(10)
    assert first.control_plane.health == []
    again = with_registry(tmp_path)
    assert [each.healthy for each in again.control_plane.health] == [False]
    # The next brain of this process knows no better, and no verdict comes for it.
    again.lease.end()
    again.brain = again.new_brain()
    again.run(100)
    assert len(again.control_plane.health) == 1
    again.engine.happen(EndpointHealth(f"{own.PROBE_PREFIX}application", "127.0.0.1:12200", healthy=True))
    again.run(100)
    assert [each.healthy for each in again.control_plane.health] == [False, True]


def test_a_subscription_is_answered_without_a_provider_too() -> None:
    sidecar = with_registry()
    ask(sidecar, 1, "/services/subscribe")
    sidecar.run(10)
    assert 1 not in sidecar.engine.answers, "its calls cannot go out yet"
    sidecar.run(2_000)
    status, body = sidecar.engine.answers[1]
    assert status == 200
    assert b'"datas":["127.0.0.1:12220?p=1' in body
    ask(sidecar, 2, "/services/subscribe")
    sidecar.run(10)
    assert 2 in sidecar.engine.answers, "who asks again need not wait"


def test_a_subscription_is_answered_as_soon_as_its_routes_are_there() -> None:
    engine = FakeEngine()
    api = RegistryApi(engine, Place("bolt", "", "", "127.0.0.1:12220"), Keep(None))
    api.take(Asked(1, "application", "POST", "/services/subscribe", HELLO), 0)
    api.routed(["another"])
    assert (engine.answers, api.next_deadline()) == ({}, 1_000)
    api.routed(["another", "com.example.Hello:1.0"])
    assert engine.answers[1][0] == 200
    assert not api.waits
