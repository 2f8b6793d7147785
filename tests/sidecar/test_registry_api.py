"""The registry API as SOFARPC's Java and Python clients speak it: what they post, what they get, what outlives a restart."""

from __future__ import annotations

import contextlib
import json
import stat
import string
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mainstay.model.application import (
    MAX_PUBLISHED,
    Application,
    decode_application,
    encode_application,
    server_name,
)
from mainstay.settings.define import OperatorError
from mainstay.settings.sidecar import Admin, Registry, SidecarSettings
from mainstay.sidecar.registry_api.keep import Keep
from mainstay.sidecar.registry_api.machine import Place, State
from mainstay.sidecar.registry_api.machine import Registry as Machine
from mainstay.sidecar.registry_api.place import check_registry

HELLO = "com.example.Hello:1.0"
PLACE = Place("bolt", "127.0.0.5:12200", "127.0.0.1:12200", "127.0.0.1:12220")

JAVA_PUBLISH = (
    '{"serviceName":"com.example.Hello:1.0","providerMetaInfo":{"protocol":"bolt","version":"4.0",'
    '"serializeType":"hessian2","appName":"hello","properties":{"weight":"100"}},"onlyPublishInCloud":false,'
    '"protocolType":"bolt","group":null}'
)
JAVA_SUBSCRIBE = (
    '{"serviceName":"com.example.Hello:1.0","targetAppAddress":null,"vipEnforce":false,"vipOnly":false,'
    '"localCloudFirst":false,"protocolType":"bolt","group":null,"properties":{}}'
)
PYTHON_PUBLISH = {
    "serviceName": HELLO,
    "providerMetaInfo": {"protocol": "1", "version": "4.0", "serializeType": "protobuf", "appName": "hello"},
    "port": "12201",
    "protocolType": "DEFAULT",
    "onlyPublishInCloud": False,
}


def registry(place: Place = PLACE, state: State = State()) -> Machine:
    return Machine(place, state)


def post(machine: Machine, path: str, body: str | dict[str, Any]) -> dict[str, Any]:
    text = body if isinstance(body, str) else json.dumps(body)
    answer = machine.handle(path, text.encode())
    assert answer.status == 200
    assert b": " not in answer.body.replace(b'"', b"") or b"errorMessage" in answer.body, (
        "Java takes compact JSON alone"
    )
    told: dict[str, Any] = json.loads(answer.body)
    return told


def test_java_publishes_without_a_port() -> None:
    machine = registry()
    assert post(machine, "/configs/application", '{"appName":"hello"}') == {"success": True}
    assert post(machine, "/services/publish", JAVA_PUBLISH) == {"success": True}
    assert machine.application == Application(
        "bolt", (HELLO,), (), 12_200, "127.0.0.1:12200", "127.0.0.1:12220", "hello"
    )


def test_python_tells_its_port_as_text() -> None:
    machine = registry()
    assert post(machine, "/services/publish", PYTHON_PUBLISH) == {"success": True}
    assert (machine.application.port, machine.application.endpoint) == (12_200, "127.0.0.1:12201")
    other = {**PYTHON_PUBLISH, "serviceName": "other", "port": "12300"}
    assert "one port" in post(machine, "/services/publish", other)["errorMessage"]


def test_subscribing_before_a_provider_exists_gives_an_address_with_a_query() -> None:
    machine = registry()
    post(machine, "/configs/application", '{"appName":"caller"}')
    told = post(machine, "/services/subscribe", JAVA_SUBSCRIBE)
    address, _, query = told["datas"][0].partition("?")
    assert (told["success"], told["serviceName"], address) == (True, HELLO, "127.0.0.1:12220")
    assert query == "p=1&v=4.0&_SERIALIZETYPE=hessian2&app_name=caller"
    assert machine.application.subscribed == (HELLO,)
    assert machine.handle("/services/subscribe", JAVA_SUBSCRIBE.encode()).body.startswith(b'{"success":true,')


def in_group(body: str, group: str) -> str:
    return body.replace('"group":null', f'"group":"{group}"')


def test_a_group_is_part_of_what_is_published_and_wanted() -> None:
    machine = registry()
    post(machine, "/services/publish", in_group(JAVA_PUBLISH, "gray"))
    told = post(machine, "/services/subscribe", in_group(JAVA_SUBSCRIBE, "gray"))
    assert told["serviceName"] == HELLO, "calls name it so"
    assert machine.application.published == machine.application.subscribed == (f"{HELLO}@gray",)
    post(machine, "/services/unpublish", {"serviceName": HELLO})
    assert list(machine.application.published) == [f"{HELLO}@gray"], "that is another service"
    post(machine, "/services/unpublish", {"serviceName": HELLO, "group": "gray"})
    assert not machine.application.published
    post(machine, "/services/publish", in_group(JAVA_PUBLISH, "SOFA"))
    assert machine.application.published == (HELLO,), "the group of whoever names none"


def test_one_application_calls_a_service_of_one_group() -> None:
    machine = registry()
    post(machine, "/services/subscribe", in_group(JAVA_SUBSCRIBE, "blue"))
    assert "another group" in post(machine, "/services/subscribe", JAVA_SUBSCRIBE)["errorMessage"]
    post(machine, "/configs/application", '{"appName":"its successor"}')
    assert post(machine, "/services/subscribe", JAVA_SUBSCRIBE)["success"]
    assert machine.application.subscribed == (HELLO,)
    post(machine, "/services/publish", in_group(JAVA_PUBLISH, "blue"))
    post(machine, "/services/publish", JAVA_PUBLISH)
    assert machine.application.published == (HELLO,), "one process serves it once"


@pytest.mark.parametrize(
    ("properties", "weights"),
    [
        ('{"weight":"50"}', ((HELLO, 50),)),
        ('{"_WEIGHT":200}', ((HELLO, 200),)),
        ('{"weight":"0"}', ((HELLO, 0),)),
        ('{"weight":"70000"}', ((HELLO, 10_000),)),
        ('{"weight":"100"}', ()),
        ('{"weight":"heavy"}', ()),
        ("{}", ()),
        ("null", ()),
    ],
)
def test_a_providers_weight_is_told(properties: str, weights: tuple[tuple[str, int], ...]) -> None:
    machine = registry()
    post(machine, "/services/publish", JAVA_PUBLISH.replace('{"weight":"100"}', properties))
    assert machine.application.weights == weights
    assert decode_application(encode_application(machine.application)) == machine.application
    post(machine, "/services/publish", JAVA_PUBLISH)
    assert machine.application.weights == ()


def test_a_weight_goes_with_its_service() -> None:
    machine = registry()
    post(machine, "/services/publish", JAVA_PUBLISH.replace('"100"', '"5"'))
    post(machine, "/services/unpublish", {"serviceName": HELLO})
    assert machine.application.weights == ()


def test_an_application_name_that_would_break_the_query_is_left_out() -> None:
    machine = registry()
    post(machine, "/configs/application", {"appName": "a&p=13"})
    assert post(machine, "/services/subscribe", {"serviceName": "s"})["datas"][0].endswith("&app_name=")


def test_withdrawing_is_idempotent() -> None:
    machine = registry()
    for _ in range(2):
        post(machine, "/services/publish", JAVA_PUBLISH)
        post(machine, "/services/subscribe", JAVA_SUBSCRIBE)
    for _ in range(2):
        assert post(machine, "/services/unpublish", {"serviceName": HELLO}) == {"success": True}
        assert post(machine, "/services/unsubscribe", {"serviceName": HELLO}) == {"success": True}
    assert (machine.application.published, machine.application.subscribed) == ((), ())


def test_a_data_id_is_the_service_that_calls_name() -> None:
    machine = registry()
    post(machine, "/services/publish", {"serviceName": f"{HELLO}@DEFAULT"})
    assert machine.application.published == (HELLO,)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("/services/publish", "no json", "the body is not what"),
        ("/services/publish", "[]", "the body is not what"),
        ("/services/publish", '{"other":' + "[" * 100_000, "nested too deep"),
        ("/services/publish", '{"providerMetaInfo":{"properties":{"a":' + "[" * 100_000, "nested too deep"),
        ("/services/publish", "{}", "serviceName is missing"),
        ("/services/publish", '{"serviceName":null}', "serviceName is missing"),
        ("/services/publish", '{"serviceName":"a b"}', "no name of a service"),
        ("/services/publish", '{"serviceName":"*"}', "no name of a service"),
        ("/services/publish", '{"serviceName":"a|b"}', "no name of a service"),
        ("/services/subscribe", json.dumps({"serviceName": "x" * 256}), "255 characters"),
        ("/services/publish", '{"serviceName":"a","group":"b c"}', "no name of a group"),
        ("/services/publish", '{"serviceName":"a","port":"70000"}', "no port"),
        ("/services/publish", '{"serviceName":"a","port":"-1"}', "no port"),
        ("/services/publish", '{"serviceName":"a","protocolType":"rest"}', "only bolt"),
        ("/services/subscribe", '{"serviceName":"a","protocolType":"tr"}', "only bolt"),
    ],
)
def test_what_cannot_be_is_refused_in_words_that_clients_show(path: str, body: str, words: str) -> None:
    machine = registry()
    told = post(machine, path, body)
    assert told["success"] is False
    assert words in told["errorMessage"]
    assert machine.state == State()


def test_an_unknown_path_is_404() -> None:
    answer = registry().handle("/services/other", b"{}")
    assert (answer.status, json.loads(answer.body)["success"]) == (404, False)


def test_no_more_services_than_the_limit() -> None:
    full = State(published=tuple(sorted(f"s{number}" for number in range(MAX_PUBLISHED))))
    machine = registry(state=full)
    assert str(MAX_PUBLISHED) in post(machine, "/services/publish", {"serviceName": "more"})["errorMessage"]
    assert post(machine, "/services/publish", {"serviceName": "s0"}) == {"success": True}
    assert machine.state == full


def test_what_is_off_says_which_setting_turns_it_on() -> None:
    machine = registry(Place("bolt", "127.0.0.5:12200", "", ""))
    assert "--registry-data-port" in post(machine, "/services/subscribe", JAVA_SUBSCRIBE)["errorMessage"]
    assert "--registry-application-port" in post(machine, "/services/publish", JAVA_PUBLISH)["errorMessage"]


def test_a_told_port_that_is_the_sidecars_is_refused_with_the_remedy() -> None:
    shared = Place("bolt", "127.0.0.5:12201", "127.0.0.5:22200", "127.0.0.5:12220")
    told = post(registry(shared), "/services/publish", PYTHON_PUBLISH)
    assert "--registry-inbound-port" in told["errorMessage"]
    intercepted = msgspec.structs.replace(shared, intercepted=True)
    machine = registry(intercepted)
    assert post(machine, "/services/publish", PYTHON_PUBLISH) == {"success": True}
    assert machine.application.port == 12_201, "peers reach the application itself"


def test_a_process_that_died_leaves_nothing_to_its_successor() -> None:
    machine = registry()
    post(machine, "/services/publish", JAVA_PUBLISH)
    post(machine, "/configs/application", '{"appName":"second client of one process"}')
    assert machine.application.published == (HELLO,)
    machine.died()
    assert machine.application.published == (HELLO,), "it may only have been busy"
    post(machine, "/configs/application", '{"appName":"hello"}')
    assert not machine.application.published


def test_what_was_registered_outlives_a_restart_in_a_private_file(tmp_path: Path) -> None:
    path = tmp_path / "data" / "application"
    keep = Keep(path)
    state = State("hello", (HELLO,), ("other",), 12_201)
    keep.save(state)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Keep(path).state == state
    path.write_bytes(b"torn")
    assert Keep(path).state == State()
    assert keep.state == state


def settings(**fields: Any) -> SidecarSettings:
    own = {
        name: fields.pop(name)
        for name in list(fields)
        if name in {field.name for field in msgspec.structs.fields(Registry)}
    }
    fields.setdefault("addresses", ("127.0.0.5",))
    return SidecarSettings(workload="hello", registry=Registry(enabled=True, **own), **fields)


def test_defaults_fit_together() -> None:
    check_registry(settings(), "sidecar")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"application_host": "127.0.0.5"}, "--registry-inbound-port"),
        ({"application_host": "0.0.0.0"}, "--registry-inbound-port"),
        ({"bind": "192.0.2.1"}, "loopback"),
        ({"bind": "localhost"}, "not an IP address"),
        ({"data_port": 13_330}, "--registry-port"),
        ({"port": 15_000, "admin": Admin("127.0.0.1", 15_000)}, "--admin-port"),
        ({"bind": "127.0.0.5", "inbound_port": 12_220}, "--registry-data-port"),
        ({"proxy": "envoy"}, "--proxy envoy"),
    ],
)
def test_what_clashes_is_refused_at_the_start_with_the_remedy(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(OperatorError, match=words):
        check_registry(settings(**fields), "sidecar")


def test_an_intercepted_application_may_have_the_port() -> None:
    check_registry(settings(application_host="0.0.0.0", interception="REDIRECT"), "sidecar")


NAMES = st.text(string.ascii_letters + string.digits + "_.$-", min_size=1, max_size=20)


@given(st.sets(NAMES), st.sets(NAMES), st.integers(0, 65_535))
def test_what_is_told_is_what_arrives(published: set[str], subscribed: set[str], port: int) -> None:
    try:
        application = Application("bolt", tuple(sorted(published)), tuple(sorted(subscribed)), port)
        assert decode_application(encode_application(application)) == application
    except ValueError:
        assert any(name[0] in ".$-" for name in published | subscribed)


@given(st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_text_is_taken_or_refused_in_words(text: str) -> None:
    with contextlib.suppress(ValueError):
        assert isinstance(decode_application(text), Application)


@pytest.mark.parametrize(
    "told",
    [
        {"published": ["b", "a"]},
        {"published": ["a", "a"]},
        {"published": ["a*"]},
        {"subscribed": [f"s{number:05}" for number in range(3_000)]},
        {"endpoint": "localhost:1"},
        {"protocol": "Bolt;"},
        {"published": ["a@b c"]},
        {"published": ["a@SOFA"]},
        {"published": ["a"], "weights": [["b", 1]]},
        {"published": ["a"], "weights": [["a", 10_001]]},
        {"published": ["a"], "weights": [["a", 1], ["a", 2]]},
        {"other": 1},
    ],
)
def test_the_control_plane_takes_only_what_a_sidecar_of_ours_would_tell(told: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_application(json.dumps(told))


@given(st.text(min_size=1, max_size=300))
def test_any_service_has_a_server_name(host: str) -> None:
    name = server_name(host)
    assert set(name) <= set(string.ascii_lowercase + string.digits + ".*-")
    assert len(name) <= 200


class Clients(RuleBasedStateMachine):
    """Whatever clients ask for, in any order: the state is what a set would be, and can be told."""

    def __init__(self) -> None:
        super().__init__()
        self.machine = registry()
        self.published: set[str] = set()
        self.subscribed: set[str] = set()

    @rule(name=st.sampled_from(["a", "b:1.0", "c@DEFAULT"]), what=st.sampled_from(["", "un"]))
    def publish(self, name: str, what: str) -> None:
        post(self.machine, f"/services/{what}publish", {"serviceName": name})
        (self.published.discard if what else self.published.add)(name.partition("@")[0])

    @rule(name=st.sampled_from(["a", "b:1.0", "c"]), what=st.sampled_from(["", "un"]))
    def subscribe(self, name: str, what: str) -> None:
        post(self.machine, f"/services/{what}subscribe", {"serviceName": name})
        (self.subscribed.discard if what else self.subscribed.add)(name)

    @rule(
        path=st.sampled_from(["/services/publish", "/configs/application", "/x"]), body=st.binary(max_size=20)
    )
    def anything(self, path: str, body: bytes) -> None:
        before = self.machine.state
        answer = self.machine.handle(path, body)
        assert json.loads(answer.body)["success"] in (True, False)
        if path != "/configs/application":
            assert self.machine.state == before

    @invariant()
    def can_be_told(self) -> None:
        application = self.machine.application
        assert decode_application(encode_application(application)) == application
        assert (set(application.published), set(application.subscribed)) == (self.published, self.subscribed)


TestClients = Clients.TestCase
