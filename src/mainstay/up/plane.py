"""What `up` asks of others over HTTP: the control plane's REST API, the pages of proxies, applications' probes.

In: addresses. Out: answers, or `Unanswered` in words. Blocking, with short limits; `run` calls it from threads.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from mainstay.up.file import Text
from mainstay.up.load import Count

TIMEOUT_S = 5.0
APPLY_TIMEOUT_S = 30.0


class Unanswered(Exception):  # noqa: N818  an outcome
    """Nobody answered, or not what was asked for."""


class RefusedObjects(Exception):  # noqa: N818  it reports the author's mistake
    """The control plane refused objects; `problems` as it sent them."""

    def __init__(self, detail: str, problems: list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.problems = problems


class ControlPlane:
    """The REST API of this run's control plane."""

    def __init__(self, server: str, credential: str) -> None:
        self._server, self._credential = server, credential

    @classmethod
    def from_context(cls, path: Path) -> ControlPlane:
        """Read the context file that the control plane wrote; raises Unanswered."""
        try:
            context = json.loads(path.read_bytes())
            return cls(context["server"], context["credential"])
        except (OSError, ValueError, KeyError) as error:
            raise Unanswered(f"the context file {path} cannot be used: {error}") from None

    def apply(self, texts: tuple[Text, ...], namespace: str) -> None:
        """Apply objects in one transaction; raises RefusedObjects, Unanswered."""
        files = [{"name": each.file, "text": each.text} for each in texts]
        self._call("POST", "/v1/apply", {"namespace": namespace, "files": files}, APPLY_TIMEOUT_S)

    def create_token(self, namespace: str, account: str, group: str, life_ms: int) -> str:
        """Return a join token."""
        body = {"namespace": namespace, "account": account, "group": group, "uses": 1, "lifeMs": life_ms}
        return str(self._call("POST", "/v1/tokens", body)["token"])

    def nodes(self) -> list[str]:
        """Return the names of connected proxies."""
        return [str(each["node"]) for each in self._call("GET", "/v1/status")["proxies"]]

    def refusals(self) -> list[tuple[str, str]]:
        """Return what proxies refuse now: their names, and kind, name and reason in their own words."""
        found = []
        for proxy in self._call("GET", "/v1/status")["proxies"]:
            for kind, state in proxy.get("types", {}).items():
                found += [
                    (str(proxy["node"]), f"refused {kind} {each['name']}: {each['reason']}")
                    for each in state["refused"]
                ]
        return found

    def endpoints(self, node: str) -> dict[str, set[str]]:
        """Return the addresses that take traffic, by cluster, as a proxy has them in force: none of what is on its way."""
        found: dict[str, set[str]] = {}
        for each in self._call("GET", f"/v1/proxies/{node}/endpoints")["resources"]:
            if each.get("state") in ("applied", "pending"):
                applied = each["state"] == "applied"
                found[each["name"]] = set(_serving(each["resource"])) if applied else set()
        return found

    def _call(self, method: str, path: str, body: Any = None, timeout_s: float = TIMEOUT_S) -> Any:
        parts = urlsplit(self._server)
        headers = {"Authorization": f"Bearer {self._credential}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        status, text = ask(parts.hostname or "", parts.port or 80, method, path, data, headers, timeout_s)
        try:
            answer = json.loads(text) if text else {}
        except ValueError:
            raise Unanswered(f"{method} {path} was answered with {status} and no JSON") from None
        if status < 400:
            return answer
        detail = str(answer.get("detail") or answer.get("title") or f"status {status}")
        if answer.get("problems"):
            raise RefusedObjects(detail, answer["problems"])
        raise Unanswered(f"{method} {path}: {detail}")


def _serving(assignment: dict[str, Any]) -> Iterator[str]:
    """Addresses of a ClusterLoadAssignment, as Protobuf JSON, but for those that are out of rotation."""
    for locality in assignment.get("endpoints", ()):
        for each in locality.get("lbEndpoints", ()):
            place = each.get("endpoint", {}).get("address", {}).get("socketAddress", {})
            if each.get("healthStatus", "HEALTHY") in ("UNKNOWN", "HEALTHY") and "address" in place:
                yield str(place["address"])


def ask(
    host: str,
    port: int,
    method: str,
    path: str,
    body: bytes | None = None,
    headers: dict[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> tuple[int, str]:
    """Send one request; raises Unanswered."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(f"{host}:{port}{path}: {error or type(error).__name__}") from None
    finally:
        connection.close()


def read_count(log: Path) -> Count:
    """Return the last count that a load generator wrote."""
    try:
        lines = log.read_bytes().splitlines()
    except OSError:
        return Count()
    for line in reversed(lines):
        try:
            return msgspec.json.decode(line, type=Count)
        except msgspec.MsgspecError:
            continue
    return Count()
