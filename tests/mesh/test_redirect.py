"""REDIRECT mode between two hosts: connections are redirected by nftables, and neither application knows of the mesh.

Two network namespaces with a cable between them; each makes its own rule, Mainstay installs none. The client calls a virtual
IP that nobody has; its sidecar finds the service by the original destination, speaks mutual TLS to the server's, which passes
on to where the connection was meant to go.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from waiting import until

pytestmark = [pytest.mark.mesh, pytest.mark.xdist_group("mesh")]

CLIENT, SERVER, VIRTUAL = "10.5.0.1", "10.5.0.2", "10.5.1.1"
OBJECTS = f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: echo, namespace: shop}}
spec:
  hosts: [echo.shop.svc.cluster.local]
  addresses: [{VIRTUAL}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{{number: 8080, name: http, protocol: HTTP}}]
  endpoints:
  - address: {SERVER}
    labels: {{app: echo, security.istio.io/tlsMode: istio}}
    serviceAccount: echo
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {{name: default, namespace: shop}}
spec: {{mtls: {{mode: STRICT}}}}
"""
APPLICATION = """
import http.server, sys
class Echo(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = f"{self.path} {self.headers}".encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
http.server.ThreadingHTTPServer((sys.argv[1], 8080), Echo).serve_forever()
"""
CLIENT_PROGRAM = """
import http.client, sys
connection = http.client.HTTPConnection(sys.argv[1], 8080, timeout=10)
connection.request("GET", "/through", headers={"host": sys.argv[2]})
answer = connection.getresponse()
print(answer.status, answer.read().decode())
"""


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout


class Hosts:
    """Two namespaces, `client` and `server`, and what runs in them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._names = {host: f"ms-{host}-{os.getpid()}" for host in ("client", "server")}
        self._processes: list[subprocess.Popen[bytes]] = []

    def make(self) -> None:
        for tool in ("ip", "nft"):
            assert shutil.which(tool), f"{tool} is needed: `.ci/run` installs it"
        made = subprocess.run(["ip", "netns", "add", self._names["client"]], capture_output=True, text=True)
        if made.returncode != 0 and "Operation not permitted" in made.stderr:
            pytest.skip("the kernel lets this user make no network namespace (CAP_SYS_ADMIN)")
        assert made.returncode == 0, made.stderr
        run("ip", "netns", "add", self._names["server"])
        client, server = self._names["client"], self._names["server"]
        run("ip", "-n", client, "link", "add", "up0", "type", "veth", "peer", "name", "up0", "netns", server)
        for name, address in ((client, CLIENT), (server, SERVER)):
            run("ip", "-n", name, "link", "set", "lo", "up")
            run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "up0")
            run("ip", "-n", name, "link", "set", "up0", "up")
        run("ip", "-n", client, "route", "add", "10.5.1.0/24", "dev", "up0")
        self._redirect("client", "output", f"ip daddr {VIRTUAL} tcp dport 8080", 15_001)
        self._redirect("server", "prerouting", "tcp dport 8080", 15_006)

    def _redirect(self, host: str, hook: str, match: str, port: int) -> None:
        rules = f"""
            add table ip mesh
            add chain ip mesh {hook} {{ type nat hook {hook} priority -100; }}
            add rule ip mesh {hook} {match} redirect to :{port}
        """
        done = subprocess.run(
            ["ip", "netns", "exec", self._names[host], "nft", "-f", "-"],
            input=rules,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0 and "Operation not supported" in done.stderr:
            pytest.skip("the kernel has no nftables NAT (nft_redir)")
        assert done.returncode == 0, done.stderr

    def start(self, host: str, name: str, *command: str, environment: dict[str, str] | None = None) -> Path:
        """A program on a host; gives its log."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._names[host], *command],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        self._processes.append(process)
        return log

    def run(self, host: str, *command: str, environment: dict[str, str] | None = None) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", self._names[host], *command],
            capture_output=True,
            text=True,
            timeout=60,
            env={**os.environ, **(environment or {})},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def end(self) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()
        for name in self._names.values():
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    made = Hosts(tmp_path)
    try:
        made.make()
        yield made
    finally:
        made.end()


@pytest.mark.parametrize(
    ("client", "server"),
    [
        ("mainstay", "mainstay"),
        pytest.param("envoy", "mainstay", marks=pytest.mark.envoy),
        pytest.param("mainstay", "envoy", marks=pytest.mark.envoy),
    ],
)
def test_redirected_connection_crosses_the_mesh_by_its_original_destination(
    hosts: Hosts, client: str, server: str
) -> None:
    folder, mainstay = hosts.folder, (sys.executable, "-m", "mainstay")
    context = {"MAINSTAY_CONTEXT": str(folder / "context.json")}
    ready = folder / "ready.json"
    log = hosts.start(
        "client",
        "control-plane",
        *(*mainstay, "serve", "--state", str(folder / "state"), "--api-context", context["MAINSTAY_CONTEXT"]),
        *("--api-port", "0", "--metrics-port", "0", "--xds-bind", CLIENT, "--xds-port", "15012"),
        *("--ready-file", str(ready)),
    )
    until(ready.exists, log.read_text)
    objects = folder / "objects.yaml"
    objects.write_text(OBJECTS)
    hosts.run("client", *mainstay, "apply", "-f", str(objects), environment=context)
    for host, workload, address, account, proxy in (
        ("client", "caller-1", CLIENT, "caller", client),
        ("server", "echo-1", SERVER, "echo", server),
    ):
        token = folder / f"{workload}.token"
        token.touch(0o600)
        token.write_text(
            hosts.run(
                "client",
                *(*mainstay, "join-token", "create", "-n", "shop", "--account", account),
                environment=context,
            )
        )
        file = folder / f"{workload}.ready"
        log = hosts.start(
            host,
            workload,
            *(
                *mainstay,
                "sidecar",
                "--workload",
                workload,
                "--namespace",
                "shop",
                "--service-account",
                account,
            ),
            *("--addresses", address, "--labels", f"app={account},version=v1", "--interception", "REDIRECT"),
            *("--control-plane-address", f"{CLIENT}:15012", "--control-plane-join-token-file", str(token)),
            *("--data", str(folder / workload), "--ready-file", str(file), "--drain-min", "0"),
            *(
                ("--proxy", proxy, "--proxy-path", os.environ["MAINSTAY_TEST_ENVOY"])
                if proxy == "envoy"
                else ()
            ),
        )
        until(file.exists, log.read_text)
    log = hosts.start("server", "application", sys.executable, "-c", APPLICATION, SERVER)
    until(lambda: "LISTEN" in hosts.run("server", "ss", "-Hltn", "sport", "=", ":8080"), log.read_text)

    said = hosts.run("client", sys.executable, "-c", CLIENT_PROGRAM, VIRTUAL, "echo.shop.svc.cluster.local")
    assert said.startswith("200 /through"), said
    assert "spiffe://cluster.local/ns/shop/sa/caller" in said, said
    # The server takes nothing that did not come from the mesh.
    plain = subprocess.run(
        [
            "ip",
            "netns",
            "exec",
            f"ms-client-{os.getpid()}",
            sys.executable,
            "-c",
            CLIENT_PROGRAM,
            SERVER,
            "echo",
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert plain.returncode != 0, plain.stdout
    metrics = hosts.run(
        "server",
        sys.executable,
        "-c",
        "import urllib.request as u; print(u.urlopen('http://127.0.0.1:15090/stats/prometheus').read().decode())",
    )
    if server == "envoy":
        assert 'envoy_listener_ssl_handshake{envoy_listener_address="0.0.0.0_15006"} 1' in metrics
    else:
        assert 'connection_security_policy="mutual_tls"' in metrics
    assert json.loads(ready.read_text())["xds"] == 15_012
