"""The edge as an operator sets it up: HTTPS by a secret that is shown nowhere, redirect to it, TLS passed through by name."""

from __future__ import annotations

import datetime
import http.client
import http.server
import json
import os
import ssl
import textwrap
import threading
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ports import free_port

pytestmark = [pytest.mark.mesh, pytest.mark.xdist_group("mesh")]
PATIENCE_S = 60

MESH = """
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {{name: edge, namespace: shop}}
spec: {{address: 127.0.0.1, labels: {{istio: edge}}, serviceAccount: edge}}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: front, namespace: shop}}
spec:
  hosts: [front.shop.svc.cluster.local]
  ports: [{{number: 80, protocol: HTTP, name: http}}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {application}}}}}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: raw, namespace: shop}}
spec:
  hosts: [raw.example]
  ports: [{{number: 443, protocol: TLS, name: tls}}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{tls: {raw}}}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: edge, namespace: shop}}
spec:
  selector: {{istio: edge}}
  servers:
  - port: {{number: {http}, protocol: HTTP, name: http}}
    bind: 127.0.0.1
    hosts: [shop.example]
    tls: {{httpsRedirect: true}}
  - port: {{number: {https}, protocol: HTTPS, name: https}}
    bind: 127.0.0.1
    hosts: [shop.example]
    tls: {{mode: SIMPLE, credentialName: shop-tls}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: front, namespace: shop}}
spec:
  hosts: [shop.example]
  gateways: [edge]
  http:
  - route: [{{destination: {{host: front.shop.svc.cluster.local, port: {{number: 80}}}}}}]
"""


class Pair:
    """A self-signed certificate and its key."""

    def __init__(self, name: str) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.datetime.now(datetime.UTC)
        made = (
            x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(key, hashes.SHA256())
        )
        self.certificate = made.public_bytes(serialization.Encoding.PEM).decode()
        self.key = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def as_secret(self, name: str = "shop-tls") -> str:
        document = f"apiVersion: mainstay.dev/v1alpha1\nkind: GatewaySecret\nmetadata: {{name: {name}, namespace: shop}}\n"
        values = (("tls.crt", self.certificate), ("tls.key", self.key))
        told = "".join(f"  {name}: |\n{textwrap.indent(text, ' ' * 4)}" for name, text in values)
        return f"{document}stringData:\n{told}"


class Answer(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = (self.headers["x-forwarded-proto"] or "").encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def serve(pair: Pair | None, folder: Path) -> http.server.ThreadingHTTPServer:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (folder / "raw.pem").write_text(pair.certificate + pair.key)
        context.load_cert_chain(folder / "raw.pem")
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def ask(port: int, name: str, trusted: Pair | None, path: str = "/") -> tuple[int, str, str]:
    """Status, `location` and body of one request, over TLS that trusts one certificate alone."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.connect()
    if trusted is not None:
        context = ssl.create_default_context(cadata=trusted.certificate)
        connection.sock = context.wrap_socket(connection.sock, server_hostname=name)
    try:
        connection.request("GET", path, headers={"host": name})
        response = connection.getresponse()
        return response.status, response.getheader("location") or "", response.read().decode()
    finally:
        connection.close()


def read_page(address: str, path: str) -> str:
    with urllib.request.urlopen(f"http://{address}{path}", timeout=PATIENCE_S) as answer:
        return str(answer.read().decode())


def is_served_with(port: int, pair: Pair, name: str = "shop.example") -> bool:
    try:
        return ask(port, name, pair)[0] == 200
    except (OSError, http.client.HTTPException):
        return False


@pytest.mark.parametrize("proxy", ["mainstay", pytest.param("envoy", marks=pytest.mark.envoy)])
def test_edge_serves_https_by_a_secret_that_nobody_is_shown(
    operator: Any, tmp_path: Path, proxy: str
) -> None:
    first, second, behind = Pair("shop.example"), Pair("shop.example"), Pair("raw.example")
    http_port, https_port, passing = free_port(), free_port(), free_port()
    application, raw = serve(None, tmp_path), serve(behind, tmp_path)
    xds = operator.start_control_plane()
    operator.apply(
        MESH.format(
            application=application.server_port, raw=raw.server_port, http=http_port, https=https_port
        )
        + f"---\n{first.as_secret()}---\n{PASSTHROUGH.format(passing=passing)}"
    )
    flags: tuple[str, ...] = ()
    if proxy == "envoy":
        envoy = os.environ["MAINSTAY_TEST_ENVOY"]
        flags = ("--proxy", proxy, "--proxy-path", envoy, "--metrics-port", str(free_port()))
    gateway = operator.start_proxy("gateway", "edge", "edge", xds, *flags)

    operator.wait(lambda: is_served_with(https_port, first))
    assert ask(https_port, "shop.example", first)[2] == "https"
    assert ask(http_port, "shop.example", None, "/a?b=c")[:2] == (301, "https://shop.example/a?b=c")
    assert ask(passing, "raw.example", behind)[0] == 200
    with pytest.raises((OSError, http.client.HTTPException)):
        ask(passing, "other.example", behind)

    operator.apply(second.as_secret())
    operator.wait(lambda: is_served_with(https_port, second))

    node = json.loads(operator.run("status", "-o", "json"))["proxies"][0]["node"]
    shown = [
        read_page(gateway["listeners"]["admin"], "/config_dump"),
        operator.run("get", "gatewaysecret", "-n", "shop", "-o", "yaml"),
        operator.run("get", "gatewaysecret", "shop-tls", "-n", "shop", "-o", "json"),
        operator.run("proxy-config", node, "secrets", "-o", "json"),
        operator.run("proxy-config", node, "listeners", "-o", "yaml"),
        *(path.read_text("latin-1") for path in (tmp_path / "state").rglob("*") if path.is_file()),
        *(path.read_text("latin-1") for path in tmp_path.glob("*.log")),
    ]
    assert any("shop-tls" in text for text in shown)
    for pair in (first, second):
        secret = pair.key.splitlines()[1]
        assert not [text for text in shown if secret in text]


def test_a_server_whose_secret_is_gone_holds_up_no_other(operator: Any, tmp_path: Path) -> None:
    """The secret is deleted by force: the gateway that starts then waits for it as long as Envoy does, 15 s."""
    kept, gone = Pair("shop.example"), Pair("gone.example")
    http_port, https_port = free_port(), free_port()
    application = serve(None, tmp_path)
    xds = operator.start_control_plane()
    mesh = MESH.format(application=application.server_port, raw=9, http=http_port, https=https_port)
    second = SECOND_SERVER.format(https=https_port)
    operator.apply(
        mesh.replace("    tls: {mode: SIMPLE, credentialName: shop-tls}\n", second).replace(
            "  hosts: [shop.example]\n  gateways", "  hosts: ['*']\n  gateways"
        )
        + f"---\n{kept.as_secret()}---\n{gone.as_secret('gone-tls')}"
    )
    operator.run("delete", "gatewaysecret", "gone-tls", "-n", "shop", "--force")
    operator.start_proxy("gateway", "edge", "edge", xds)
    operator.wait(lambda: is_served_with(https_port, kept))
    assert not is_served_with(https_port, gone, "gone.example")
    operator.apply(gone.as_secret("gone-tls"))
    operator.wait(lambda: is_served_with(https_port, gone, "gone.example"))


SECOND_SERVER = """\
    tls: {{mode: SIMPLE, credentialName: shop-tls}}
  - port: {{number: {https}, protocol: HTTPS, name: https-gone}}
    bind: 127.0.0.1
    hosts: [gone.example]
    tls: {{mode: SIMPLE, credentialName: gone-tls}}
"""

PASSTHROUGH = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {{name: passing, namespace: shop}}
spec:
  selector: {{istio: edge}}
  servers:
  - port: {{number: {passing}, protocol: TLS, name: tls}}
    bind: 127.0.0.1
    hosts: [raw.example]
    tls: {{mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: raw, namespace: shop}}
spec:
  hosts: [raw.example]
  gateways: [passing]
  tcp:
  - route: [{{destination: {{host: raw.example, port: {{number: 443}}}}}}]
"""
