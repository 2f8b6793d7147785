"""The REST API over a whole control plane in process, asked as any client would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mainstay.compile.capability import Capability
from mainstay.compile.traits import Proxy
from mainstay.control.loop import Loop
from mainstay.control.plane import Plane
from mainstay.control.rest.build import build_rest
from mainstay.identity.gateway_secrets import Vault
from mainstay.model.endpoints import Health
from mainstay.model.key import ObjectKey, WorkloadKey
from mainstay.model.workload import Registration
from mainstay.settings.serve import Files, ServeSettings
from mainstay.store import MemoryStore

CREDENTIAL = "c" * 40
SERVICES = "/apis/mainstay.dev/v1alpha1/namespaces/shop/services"
PROTOCOLS = "/apis/mainstay.dev/v1alpha1/protocols"
CART: dict[str, Any] = {
    "apiVersion": "mainstay.dev/v1alpha1",
    "kind": "Service",
    "metadata": {"name": "cart", "namespace": "shop"},
    "spec": {"ports": [{"name": "http", "number": 80}], "selector": {"app": "cart"}},
}


def play(
    scenario: Callable[[httpx.AsyncClient, Plane], Coroutine[Any, Any, None]],
    settings: ServeSettings | None = None,
) -> None:
    async def run() -> None:
        plane = Plane(settings or ServeSettings(), MemoryStore(), Vault(b"k" * 32), lambda *_: None)
        loop = Loop()
        plane.spawn(loop)
        running = asyncio.create_task(loop.run())
        app: Any = build_rest(plane, CREDENTIAL)
        headers = {"Authorization": f"Bearer {CREDENTIAL}"}
        transport = httpx.ASGITransport(app)
        try:
            async with (
                asyncio.timeout(30),
                httpx.AsyncClient(
                    transport=transport, base_url="http://127.0.0.1:1", headers=headers
                ) as client,
            ):
                await scenario(client, plane)
        finally:
            loop.end()
            await running

    asyncio.run(run())


def with_port(number: int) -> dict[str, Any]:
    return {**CART, "spec": {**CART["spec"], "ports": [{"name": "http", "number": number}]}}


def test_object_lives_through_create_read_replace_patch_delete() -> None:
    async def scenario(client: httpx.AsyncClient, plane: Plane) -> None:
        created = await client.post(SERVICES, json=CART)
        assert created.status_code == 201
        revision = created.json()["metadata"]["resourceVersion"]
        assert created.headers["etag"] == f'"{revision}"'
        assert (await client.post(SERVICES, json=CART)).status_code == 409
        replaced = await client.put(f"{SERVICES}/cart", json=with_port(81), headers={"If-Match": revision})
        assert (replaced.status_code, replaced.json()["metadata"]["generation"]) == (200, 2)
        late = await client.put(f"{SERVICES}/cart", json=with_port(82), headers={"If-Match": revision})
        assert late.status_code == 412
        assert "read it again" in late.json()["detail"]
        patched = await client.patch(
            f"{SERVICES}/cart",
            content=json.dumps({"spec": {"selector": {"app": "basket"}}}),
            headers={"Content-Type": "application/merge-patch+json"},
        )
        assert patched.json()["spec"] == {
            "ports": [{"name": "http", "number": 81}],
            "selector": {"app": "basket"},
        }
        assert len(list(plane.collections.services.items())) == 1
        assert (await client.delete(f"{SERVICES}/cart")).status_code == 200
        assert (await client.get(f"{SERVICES}/cart")).status_code == 404
        assert list(plane.collections.services.items()) == []

    play(scenario)


@pytest.mark.parametrize("depth", [400, 100_000])
def test_bodies_that_are_nested_too_deep_are_refused_in_words(depth: int) -> None:
    deep = '{"a":' * depth + "1" + "}" * depth

    async def scenario(client: httpx.AsyncClient, _plane: Plane) -> None:
        await client.post(SERVICES, json=CART)
        media = {"Content-Type": "application/merge-patch+json"}
        for answer in (
            await client.post("/v1/apply", content=f'{{"files": [{{"x": {deep}}}]}}'),
            await client.post(SERVICES, content=deep),
            await client.patch(f"{SERVICES}/cart", content=deep, headers=media),
        ):
            assert 400 <= answer.status_code < 500, answer.text
            assert answer.headers["content-type"].startswith("application/problem+json")

    play(scenario)


def test_dry_run_checks_everything_and_changes_nothing() -> None:
    async def scenario(client: httpx.AsyncClient, plane: Plane) -> None:
        answer = await client.post(SERVICES, params={"dryRun": "All"}, json=CART)
        assert answer.status_code == 201
        assert plane.store.revision() == 0
        assert (await client.post(SERVICES, params={"dryRun": "yes"}, json=CART)).status_code == 400

    play(scenario)


def test_refusal_lists_every_problem_with_file_line_path_and_remedy() -> None:
    text = "apiVersion: mainstay.dev/v1alpha1\nkind: Service\nmetadata: {name: a}\nspec:\n  port: []\n"

    async def scenario(client: httpx.AsyncClient, _plane: Plane) -> None:
        body = {"files": [{"name": "a.yaml", "text": text}], "namespace": "shop"}
        answer = await client.post("/v1/apply", json=body)
        assert answer.status_code == 422
        assert answer.headers["content-type"].startswith("application/problem+json")
        problems = answer.json()["problems"]
        assert {(each["file"], each["line"], each["path"]) for each in problems} >= {
            ("a.yaml", 5, "spec.port")
        }
        assert all(each["remedy"] and each["reason"] for each in problems)

    play(scenario)


def test_object_that_becomes_nothing_is_refused_before_it_is_stored() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.example]
  http:
  - match: [{uri: {regex: "/(["}}]
    directResponse: {status: 200}
"""

    async def scenario(client: httpx.AsyncClient, _plane: Plane) -> None:
        body = {"files": [{"name": "a.yaml", "text": text}], "namespace": "shop"}
        answer = await client.post("/v1/apply", json=body)
        assert answer.status_code == 422, answer.text
        [problem] = answer.json()["problems"]
        assert (problem["file"], problem["line"]) == ("a.yaml", 8)
        assert problem["path"] == "spec.http[0].match[0].uri.regex"
        path = "/apis/networking.istio.io/v1/namespaces/shop/virtualservices/a"
        assert (await client.get(path)).status_code == 404

    play(scenario)


def test_list_comes_in_pages_and_a_watch_goes_on_from_it() -> None:
    async def scenario(client: httpx.AsyncClient, plane: Plane) -> None:
        for name in ("a", "b", "c"):
            await client.post(SERVICES, json={**CART, "metadata": {"name": name, "namespace": "shop"}})
        first = (await client.get(SERVICES, params={"limit": "2"})).json()
        assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
        following = {"limit": "2", "continue": first["metadata"]["continue"]}
        assert len((await client.get(SERVICES, params=following)).json()["items"]) == 1
        events = plane.store.watch("objects/mainstay.dev/Service/shop/", 1)
        assert isinstance(events, tuple)
        assert len(events) == 2
        assert (await client.get(SERVICES, params={"continue": "!"})).status_code == 400

    play(scenario)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Host": "evil.example"}, 403),
        ({"Host": "localhost:1"}, 200),
        ({"Host": "[::1]:1"}, 200),
    ],
)
def test_only_this_machine_with_the_credential_may_ask(headers: dict[str, str], status: int) -> None:
    async def scenario(client: httpx.AsyncClient, _plane: Plane) -> None:
        assert (await client.get("/v1/status", headers=headers)).status_code == status

    play(scenario)


def make_key_pair() -> tuple[str, str]:
    """PEM of a certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "edge")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2050, 1, 1))
    pem = serialization.Encoding.PEM
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    chain = made.sign(key, hashes.SHA256()).public_bytes(pem).decode()
    return chain, key.private_bytes(pem, form, plain).decode()


def test_secret_is_sealed_in_the_store_and_shown_to_nobody() -> None:
    chain, key = make_key_pair()
    hidden = key.splitlines()[1]
    secret = {
        "apiVersion": "mainstay.dev/v1alpha1",
        "kind": "GatewaySecret",
        "metadata": {"name": "edge", "namespace": "shop"},
        "stringData": {"tls.crt": chain, "tls.key": key},
    }
    path = "/apis/mainstay.dev/v1alpha1/namespaces/shop/gatewaysecrets"

    async def scenario(client: httpx.AsyncClient, plane: Plane) -> None:
        written = await client.post(path, json=secret)
        assert written.status_code == 201, written.text
        shown = (await client.get(f"{path}/edge")).text + (await client.get(path)).text + written.text
        assert hidden not in shown
        entries = plane.store.scan("").entries
        assert entries
        assert all(hidden.encode() not in entry.value for entry in entries)
        (again,) = (
            await client.post("/v1/apply", json={"files": [{"name": "", "text": json.dumps(secret)}]})
        ).json()["results"]
        assert again["outcome"] == "unchanged"

    play(scenario)


def test_openapi_describes_every_kind_that_is_listed() -> None:
    async def scenario(client: httpx.AsyncClient, _plane: Plane) -> None:
        document = (await client.get("/openapi/v3")).json()
        kinds = (await client.get("/v1/kinds")).json()["kinds"]
        assert {each["kind"] for each in kinds} == set(document["components"]["schemas"])
        for each in kinds:
            assert f"/apis/{each['group']}/{each['version']}/{each['plural']}" in document["paths"]

    play(scenario)


def test_what_does_not_exist_is_told_by_name() -> None:
    async def scenario(client: httpx.AsyncClient, _plane: Plane) -> None:
        for path, said in (
            ("/apis/mainstay.dev/v1alpha1/namespaces/shop/servics", "no kind servics"),
            ("/v1/proxies/nobody/listeners", "no proxy 'nobody'"),
            ("/v1/nothing", "/v1/nothing"),
        ):
            answer = await client.get(path)
            assert (answer.status_code, said in answer.json()["detail"]) == (404, True), answer.text
        large = await client.post("/v1/apply", content=b"x" * (17 * 1024 * 1024))
        assert large.status_code == 413

    play(scenario)


def test_status_shows_the_workload_beside_a_proxy_which_has_short_names() -> None:
    async def scenario(client: httpx.AsyncClient, plane: Plane) -> None:
        group = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: carts, namespace: shop}
spec: {metadata: {labels: {app: cart}}, template: {serviceAccount: cart}, probe: {tcpSocket: {port: 80}}}
"""
        applied = await client.post("/v1/apply", json={"files": [{"name": "x.yaml", "text": group}]})
        assert applied.status_code == 200, applied.text
        nodes = ["sidecar~127.0.0.5~cart-1.shop~x", "sidecar~127.0.0.6~cart-1.other~x"]
        for node, namespace in zip(nodes, ("shop", "other"), strict=True):
            plane.proxies.open(node, Proxy(node, namespace), cast(Any, Quiet()))
        claim = Registration(WorkloadKey("shop", "cart-1"), ObjectKey("shop", "carts"), ("127.0.0.5",))
        plane.workloads.open_stream("s", claim)
        plane.workloads.report("s", Health.UNHEALTHY)
        async with asyncio.timeout(20):
            while plane.find_workload(claim.key) is None:
                await asyncio.sleep(0)

        async def ask(name: str) -> httpx.Response:
            return await client.get("/v1/status", params={"node": name})

        [shown] = (await ask("cart-1.shop")).json()["proxies"]
        assert shown["workload"] == {"name": "shop/cart-1", "group": "shop/carts", "health": "unhealthy"}
        [shown] = (await ask("cart-1.other")).json()["proxies"]
        assert shown["workload"] is None
        several = await ask("cart-1")
        assert (several.status_code, "several proxies" in several.text) == (409, True)
        assert (await client.get("/v1/proxies/cart-1.shop/listeners")).json()["node"] == nodes[0]

    play(scenario)


def test_registered_workloads_are_listed_as_the_entries_they_would_be() -> None:
    entries = "/apis/networking.istio.io/v1/namespaces/shop/workloadentries"

    async def scenario(client: httpx.AsyncClient, plane: Plane) -> None:
        group = """
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: carts, namespace: shop}
spec:
  metadata: {labels: {app: cart}}
  template: {serviceAccount: cart, ports: {http: 8080}, locality: eu/a}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: written, namespace: shop}
spec: {address: 10.0.0.1, labels: {app: cart}}
"""
        applied = await client.post("/v1/apply", json={"files": [{"name": "x.yaml", "text": group}]})
        assert applied.status_code == 200, applied.text
        claim = Registration(WorkloadKey("shop", "cart-1"), ObjectKey("shop", "carts"), ("127.0.0.5",))
        plane.workloads.open_stream("s", claim)
        async with asyncio.timeout(20):
            while plane.find_workload(claim.key) is None:
                await asyncio.sleep(0)
        written, registered = (await client.get(entries)).json()["items"]
        assert written["metadata"]["name"] == "written"
        assert registered["metadata"] == {
            "name": "cart-1",
            "namespace": "shop",
            "annotations": {"istio.io/autoRegistrationGroup": "carts"},
        }
        assert registered["spec"] == {
            "address": "127.0.0.5",
            "labels": {"app": "cart"},
            "ports": {"http": 8080},
            "serviceAccount": "cart",
            "locality": "eu/a",
        }
        assert (registered["status"]["source"], registered["status"]["health"]) == ("registered", "healthy")
        assert (await client.get(f"{entries}/cart-1")).json() == registered
        elsewhere = await client.get(entries.replace("shop", "other"))
        assert elsewhere.json()["items"] == []
        deleted = await client.delete(f"{entries}/cart-1")
        assert (deleted.status_code, "goes when its sidecar stops" in deleted.text) == (409, True)

    play(scenario)


def test_objects_of_the_directory_are_shown_beside_those_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "cart.yaml").write_text(json.dumps(CART))

    async def scenario(client: httpx.AsyncClient, plane: Plane) -> None:
        async with asyncio.timeout(20):
            while not plane.in_files() or not plane.is_synced():
                await asyncio.sleep(0)
        other = {**CART, "metadata": {"name": "web", "namespace": "shop"}}
        assert (await client.post(SERVICES, json=other)).status_code == 201
        shown = (await client.get(SERVICES)).json()["items"]
        assert [each["metadata"]["name"] for each in shown] == ["web", "cart"]
        assert shown[1]["status"]["source"] == "files"
        one = await client.get(f"{SERVICES}/cart")
        assert one.json()["spec"] == CART["spec"]
        assert (await client.get("/apis/mainstay.dev/v1alpha1/namespaces/other/services")).json()[
            "items"
        ] == []

    play(scenario, ServeSettings(files=Files(directory=tmp_path, poll=10)))


class Quiet:
    """A stream that is told and says nothing."""

    def view_changed(self, *_: object) -> None:
        pass

    def status(self) -> dict[str, Any]:
        return {}

    def applied(self, _: str) -> dict[str, Any]:
        return {}


def test_a_protocol_belongs_to_the_whole_mesh_and_a_changed_one_is_a_new_version_of_listeners() -> None:
    volt = yaml.safe_load((Path(__file__).resolve().parents[1] / "protocols" / "volt.yaml").read_text())
    port = {"ports": [{"name": "rpc", "number": 7100, "appProtocol": "volt"}], "selector": {"app": "cells"}}
    cells = {**CART, "metadata": {"name": "cells", "namespace": "shop"}, "spec": port}
    caller = Proxy("sidecar~10.0.0.1~a.shop~x", "shop", capability=Capability("mainstay"))

    async def scenario(client: httpx.AsyncClient, plane: Plane) -> None:
        def codec() -> str:
            shape = plane.views.shapes.get(caller)
            step = next(step for kind, name, step in shape.steps if name == "0.0.0.0_7100") if shape else None
            made = plane.views.steps.get(step) if step is not None else None
            return made.body.decode("utf-8", "replace") if made is not None else ""

        refused = await client.post(SERVICES, json=cells)
        assert refused.status_code == 422, "nobody described volt yet"
        assert refused.json()["problems"][0]["path"] == "spec.ports[0].appProtocol"
        created = await client.post(PROTOCOLS, json=volt)
        assert created.status_code == 201, created.text
        assert (await client.post(SERVICES, json=cells)).status_code == 201
        plane.graph.want(plane.views.shapes, caller)
        plane.graph.settle()
        before = codec()
        assert '"name":"volt"' in before

        volt["spec"]["about"] = "Another version."
        changed = await client.put(f"{PROTOCOLS}/volt", json=volt)
        assert changed.status_code == 200, changed.text
        after = codec()
        assert "Another version." in after
        assert "Another version." not in before

        listed = (await client.get(PROTOCOLS)).json()["items"]
        assert {item["metadata"]["name"]: item["status"].get("source") for item in listed} == {
            "volt": None,
            "bolt": "built-in",
            "dubbo": "built-in",
            "thrift": "built-in",
        }
        assert not any("namespace" in item["metadata"] for item in listed)
        misplaced = await client.get("/apis/mainstay.dev/v1alpha1/namespaces/shop/protocols/volt")
        assert misplaced.status_code == 404
        assert "use /apis/mainstay.dev/v1alpha1/protocols" in misplaced.text
        wrong = {**volt, "spec": {**volt["spec"], "id": "nothing"}}
        told = (await client.put(f"{PROTOCOLS}/volt", json=wrong)).json()["problems"][0]
        assert (told["code"], told["object"], told["path"]) == ("MS1112", "Protocol/volt", "spec.id")
        body = {"objects": [{"kind": "Protocol", "group": "mainstay.dev", "name": "volt"}]}
        used = await client.post("/v1/delete", json=body)
        assert used.status_code == 422
        assert "Service/shop/cells" in used.text
        gone = await client.post("/v1/delete", json={**body, "force": True})
        assert gone.json()["results"][0]["object"] == "Protocol/volt"

    play(scenario)


def test_a_protocol_that_comes_with_mainstay_makes_room_and_comes_back() -> None:

    async def scenario(client: httpx.AsyncClient, _plane: Plane) -> None:
        bolt = (await client.get(f"{PROTOCOLS}/bolt")).json()
        named = {"objects": [{"kind": "Protocol", "group": "mainstay.dev", "name": "bolt"}]}
        media = {"Content-Type": "application/merge-patch+json"}
        for kept in (
            await client.delete(f"{PROTOCOLS}/bolt"),
            await client.post("/v1/delete", json=named),
            await client.patch(f"{PROTOCOLS}/bolt", content=b"{}", headers=media),
        ):
            assert kept.status_code == 409, kept.text
            assert "Protocol/bolt comes with Mainstay; apply another" in kept.text
        del bolt["status"]
        bolt["spec"]["about"] = "One of our own."
        assert (await client.put(f"{PROTOCOLS}/bolt", json=bolt)).status_code == 201, (
            "it takes the built-in's place"
        )
        listed = (await client.get(PROTOCOLS)).json()["items"]
        assert [item["spec"]["about"] for item in listed if item["metadata"]["name"] == "bolt"] == [
            "One of our own."
        ]
        assert (await client.delete(f"{PROTOCOLS}/bolt")).status_code == 200
        assert (await client.get(f"{PROTOCOLS}/bolt")).json()["status"]["source"] == "built-in"

    play(scenario)
