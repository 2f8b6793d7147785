"""Verbs against a scripted control plane: what they ask, what they print, how they exit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from mainstay.cli import main
from mainstay.settings.version import program_version

KINDS = {
    "kinds": [
        {
            "kind": "VirtualService",
            "plural": "virtualservices",
            "group": "networking.istio.io",
            "version": "v1",
            "shortNames": ["vs"],
        },
        {"kind": "Service", "plural": "services", "group": "mainstay.dev", "version": "v1alpha1"},
        {
            "kind": "WorkloadEntry",
            "plural": "workloadentries",
            "group": "networking.istio.io",
            "version": "v1",
        },
    ]
}
REFUSAL = {
    "title": "Unprocessable",
    "status": 422,
    "detail": "nothing was applied",
    "problems": [
        {
            "code": "MS1002",
            "severity": "error",
            "object": "VirtualService/shop/reviews",
            "file": "FILE",
            "line": 3,
            "column": 5,
            "path": "spec.http[0].rout",
            "reason": "unknown field",
            "remedy": "Did you mean route?",
        }
    ],
}


class ControlPlane:
    """Answers by method and path; remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {"GET /v1/kinds": (200, KINDS)}
        self.asked: list[tuple[str, dict[str, list[str]], Any, str]] = []
        plane = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                parts = urlsplit(self.path)
                length = int(self.headers.get("Content-Length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                asked = f"{self.command} {parts.path}"
                plane.asked.append(
                    (asked, parse_qs(parts.query), body, self.headers.get("Authorization", ""))
                )
                status, said = plane.answers.get(
                    asked, (404, {"title": "Not found", "detail": f"no {asked}"})
                )
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = answer  # noqa: N815  names of http.server

            def log_message(self, format: str, *args: Any) -> None:
                """Silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ControlPlane]:
    made = ControlPlane()
    context = tmp_path / "context.json"
    context.touch(0o600)
    context.write_text(
        json.dumps({"server": f"http://127.0.0.1:{made.server.server_port}", "credential": "secret-word"})
    )
    monkeypatch.setenv("MAINSTAY_CONTEXT", str(context))
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_apply_sends_all_files_and_lists_outcomes(
    plane: ControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "b.yaml").write_text("kind: B")
    (tmp_path / "config" / "a.yaml").write_text("kind: A")
    plane.answers["POST /v1/apply"] = (
        200,
        {"results": [{"object": "virtualservice/shop/a", "outcome": "created"}]},
    )
    assert main(["apply", "-f", str(tmp_path / "config"), "-n", "shop", "--dry-run"]) == 0
    asked, query, body, credential = plane.asked[0]
    assert (asked, query, credential) == ("POST /v1/apply", {"dryRun": ["All"]}, "Bearer secret-word")
    assert [file["text"] for file in body["files"]] == ["kind: A", "kind: B"]
    assert body["namespace"] == "shop"
    assert "virtualservice/shop/a   created (dry run)" in capsys.readouterr().out


def test_refused_apply_shows_file_line_path_and_remedy(
    plane: ControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "shop.yaml"
    file.write_text("kind: VirtualService\nspec:\n  - rout:\n")
    refusal = json.loads(json.dumps(REFUSAL).replace("FILE", str(file)))
    plane.answers["POST /v1/apply"] = (422, refusal)
    assert main(["apply", "-f", str(file)]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "error[MS1002]: spec.http[0].rout: unknown field",
        f"  --> {file}:3:5",
        "    |",
        "  3 |   - rout:",
        "    |     ^",
        "  in VirtualService/shop/reviews",
        "  help: Did you mean route?",
        "",
        "refused: 1 problem; nothing was applied",
    ]
    assert main(["apply", "-f", str(file), "-o", "json"]) == 3
    assert json.loads(capsys.readouterr().out)["problems"][0]["line"] == 3


ITEM = {
    "metadata": {"namespace": "shop", "name": "reviews", "creationTimestamp": "2020-01-01T00:00:00Z"},
    "spec": {},
}


def test_validate_takes_references_to_what_is_not_in_the_files_for_possible(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "route.yaml"
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec: {hosts: [a.example], http: [{route: [{destination: {host: elsewhere}}]}]}
"""
    file.write_text(text)
    assert main(["validate", "-f", str(file)]) == 0
    assert "warning[IST0101]" in capsys.readouterr().err
    file.write_text(text.replace("{host: elsewhere}", "{hots: elsewhere}"))
    assert main(["validate", "-f", str(file)]) == 3


@pytest.mark.parametrize(
    "kind", ["vs", "VirtualService", "virtualservices", "virtualservice.networking.istio.io"]
)
def test_get_finds_the_kind_by_any_of_its_names(
    plane: ControlPlane, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    collection = "GET /apis/networking.istio.io/v1/namespaces/shop/virtualservices"
    plane.answers[collection] = (200, {"items": [ITEM], "metadata": {}})
    assert main(["get", kind, "-n", "shop"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAMESPACE", "NAME", "AGE", "STATE"]
    assert lines[1].split()[:2] == ["shop", "reviews"]


def test_get_one_object_as_yaml(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    plane.answers["GET /apis/networking.istio.io/v1/namespaces/shop/virtualservices/reviews"] = (200, ITEM)
    assert main(["get", "vs", "reviews", "-n", "shop", "-o", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["metadata"]["name"] == "reviews"


def test_status_shows_the_proxys_own_reason(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    plane.answers["GET /v1/status"] = (
        200,
        {
            "proxies": [
                {
                    "node": "sidecar~1",
                    "software": "envoy",
                    "workload": {"name": "shop/cart-1", "group": "", "health": "unhealthy"},
                    "types": {
                        "clusters": {
                            "sent": 3,
                            "pending": 0,
                            "refused": [{"name": "c", "reason": "bad regex"}],
                        },
                        "routes": {"sent": 2, "pending": 1},
                    },
                }
            ],
            "sources": [{"name": "files", "state": "stale", "reason": "cannot list /x"}],
            "problems": REFUSAL["problems"],
        },
    )
    assert main(["status"]) == 0
    out = capsys.readouterr().out
    assert "sidecar~1   envoy      unhealthy   refused 1 of 3" in out
    assert "sidecar~1 refused clusters c:\n  bad regex" in out
    assert "source files is stale: cannot list /x" in out
    assert "error[MS1002]: spec.http[0].rout: unknown field\n  --> FILE:3:5\n" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["aply", "-f", "x"], 2, "unknown verb 'aply'; did you mean apply?"),
        (["get", "virtualservce"], 2, "unknown kind 'virtualservce'; did you mean virtualservice"),
        (["get", "vs", "a", "-A"], 2, "a name belongs to one namespace"),
        (["apply"], 2, "--file is needed: YAML or JSON file"),
        (["apply", "-f", "/missing.yaml", "--context", "/missing.json"], 2, "there is no file /missing.yaml"),
        (["get"], 2, "KIND is needed\nUsage: mainstay get [OPTIONS] KIND [NAME]\nsee `mainstay get --help`"),
        (["get", "vs", "--namspace", "shop"], 2, "unknown option --namspace; did you mean --namespace?"),
        (["get", "vs", "-o", "jsn"], 2, "--output: 'jsn' is none of table, json, yaml; did you mean json?"),
        (["join-token"], 2, "Commands:\n  create"),
        (["join-token", "creat"], 2, "mainstay join-token has no verb 'creat'; did you mean create?"),
        (["join-token", "create", "--uses", "0"], 2, "--uses: 0 is not in the range 1<=x<=10000"),
        (["help", "aply"], 2, "unknown verb 'aply'; did you mean apply?"),
        (["apply", "-f", "/missing.yaml"], 2, "there is no file /missing.yaml"),
        (["delete", "vs"], 2, "name either KIND and NAME"),
        (["delete", "vs", "x", "-f", "/missing.yaml"], 2, "name either KIND and NAME"),
        (["get", "svc", "-n", "shop"], 2, "unknown kind 'svc'"),
        (["get", "service", "x"], 1, "no GET /apis/mainstay.dev/v1alpha1/namespaces/default/services/x"),
        (["join-token", "create", "--life", "soon"], 2, "'soon' is no duration"),
        (["proxy-config", "n", "cluters"], 2, "'cluters' is none of listeners, routes"),
        (["proxy-config", "n"], 2, "KIND is needed: one of listeners, routes"),
        (["status", "--context", "/missing.json"], 4, "there is no context file /missing.json"),
    ],
)
def test_mistakes_are_told_in_words_with_their_exit_code(
    plane: ControlPlane, arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert plane.server.server_port
    assert main(arguments) == code
    captured = capsys.readouterr()
    assert said in captured.err
    assert captured.out == ""


def test_unreachable_control_plane_is_code_4(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    plane.server.shutdown()
    plane.server.server_close()
    assert main(["status"]) == 4
    assert "Is `mainstay serve` running?" in capsys.readouterr().err


def test_context_that_others_can_read_is_refused(
    plane: ControlPlane, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "context.json").chmod(0o644)
    assert main(["status"]) == 1
    assert f"chmod 600 {tmp_path}/context.json" in capsys.readouterr().err
    assert plane.asked == []


def test_answer_that_is_no_json_is_told(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    plane.answers["GET /v1/status"] = (200, b"<html>")
    assert main(["status"]) == 1
    assert "without JSON; is it a Mainstay control plane?" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_MAINSTAY_COMPLETE" in capsys.readouterr().out


def test_token_alone_is_on_stdout(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    answer = {
        "token": "abc",
        "id": "7f",
        "identity": "spiffe://cluster.local/ns/shop/sa/web",
        "expires": "soon",
    }
    plane.answers["POST /v1/tokens"] = (201, answer)
    assert (
        main(["join-token", "create", "-n", "shop", "--account", "web", "--uses", "2", "--life", "5m"]) == 0
    )
    assert plane.asked[0][2] == {
        "namespace": "shop",
        "account": "web",
        "group": "",
        "uses": 2,
        "lifeMs": 300_000,
    }
    assert capsys.readouterr().out == "abc\n"


def test_token_is_revoked_by_its_id(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    plane.answers["DELETE /v1/tokens/7f"] = (200, {"id": "7f", "outcome": "deleted"})
    assert main(["join-token", "revoke", "7f"]) == 0
    assert "7f revoked" in capsys.readouterr().out
    plane.answers["DELETE /v1/tokens/7f"] = (404, {"detail": "there is no token '7f'"})
    assert main(["join-token", "revoke", "7f"]) == 1
    assert "there is no token" in capsys.readouterr().err


def test_tokens_are_listed(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    token = {"id": "7f", "identity": "spiffe://x/ns/a/sa/b", "group": "", "uses": 3, "used": 1}
    plane.answers["GET /v1/tokens"] = (200, {"items": [{**token, "expires": "soon", "state": "open"}]})
    assert main(["join-token", "list"]) == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split() == ["ID", "IDENTITY", "GROUP", "USED", "EXPIRES", "STATE"]
    assert line.split("   ")[0] == "7f"
    assert "1 of 3" in line
    plane.answers["GET /v1/tokens"] = (200, {"items": []})
    assert main(["join-token", "list"]) == 0
    assert "no join tokens" in capsys.readouterr().err


def test_registered_workloads_say_so(plane: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {
        "metadata": {"namespace": "shop", "name": "cart-1"},
        "status": {"source": "registered", "group": "carts", "health": "healthy", "problems": []},
    }
    plane.answers["GET /apis/networking.istio.io/v1/namespaces/shop/workloadentries"] = (
        200,
        {"items": [entry], "metadata": {}},
    )
    assert main(["get", "workloadentries", "-n", "shop"]) == 0
    assert "registered into carts, healthy" in capsys.readouterr().out


def test_no_verb_shows_the_verbs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: mainstay")
    assert "proxy-config" in out
    assert err == ""


@pytest.mark.parametrize("words", [["web.shop", "routes"], ["routes", "web.shop"], ["route", "web.shop"]])
def test_configuration_of_a_proxy_is_shown_in_either_order(
    plane: ControlPlane, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    resource = {"name": "http", "version": "7", "state": "applied", "resource": {"virtualHosts": [{}]}}
    plane.answers["GET /v1/proxies/web.shop/routes"] = (200, {"resources": [resource]})
    assert main(["proxy-config", *words]) == 0
    assert "http   7         applied   1 virtual host, 0 routes" in capsys.readouterr().out


def test_help_is_a_verb_too_and_the_version_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "join-token", "create"]) == 0
    assert capsys.readouterr().out.startswith("Usage: mainstay join-token create")
    assert main(["help"]) == 0
    assert "Verbs:" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"mainstay {program_version()}\n"


@pytest.mark.parametrize("verb", ["up --print-schema", "sidecar --help", "completion bash"])
def test_output_that_cannot_be_written_is_told_without_a_traceback(verb: str) -> None:
    command = [sys.executable, "-m", "mainstay", *verb.split()]
    with open("/dev/full", "w") as full:
        run = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert run.returncode == 1
    assert run.stderr == "error: cannot write the output: No space left on device\n"


@pytest.mark.parametrize("verb", ["up --print-schema", "sidecar --help"])
def test_a_reader_that_has_gone_is_no_error(verb: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "mainstay", *verb.split()]
    with os.fdopen(writing, "w") as gone:
        run = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("form", ["table", "json"])
@pytest.mark.parametrize("verb", ["validate", "protocol validate"])
def test_a_refusal_is_one_though_nobody_reads_it(verb: str, form: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(
        "apiVersion: mainstay.dev/v1alpha1\nkind: Nothing\nmetadata: {name: a}\n"
    )
    file = ["-f"] if verb == "validate" else []
    command = [sys.executable, "-m", "mainstay", *verb.split(), *file, str(tmp_path / "bad.yaml"), "-o", form]
    refused = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as gone:
        unread = subprocess.run(command, stdout=gone, stderr=gone, check=False, timeout=60)
    assert (refused.returncode, unread.returncode) == (3, 3), refused.stderr


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["ge"], {"get"}),
        (["proxy-config", "web", "r"], {"routes"}),
        (["join-token", "r"], {"revoke"}),
        (["up", "shop-"], {"shop-mixed"}),
        (["sidecar", "--probe-pe"], {"--probe-period"}),
    ],
)
def test_words_are_completed(words: list[str], offered: set[str]) -> None:
    asking = {"_MAINSTAY_COMPLETE": "bash_complete", "COMP_CWORD": str(len(words))}
    asking["COMP_WORDS"] = " ".join(["mainstay", *words])
    command = [sys.executable, "-m", "mainstay"]
    run = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env=os.environ | asking
    )
    plain = {line.removeprefix("plain,") for line in run.stdout.splitlines() if line.startswith("plain,")}
    assert plain == offered
