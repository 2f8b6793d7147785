"""`/v1/tokens`, asked as any client would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx

from mainstay.control.join import StoreShelf
from mainstay.control.rest.app import build_app
from mainstay.control.rest.tokens import token_routes
from mainstay.identity.bundle import make_bundle, pem_of
from mainstay.identity.join_wire import read_token
from mainstay.identity.tokens import Tokens
from mainstay.store import MemoryStore

CREDENTIAL = "c" * 40
NOW = 1_800_000_000_000


def play(
    scenario: Callable[[httpx.AsyncClient, Tokens, list[tuple[str, ...]]], Coroutine[Any, Any, None]],
) -> None:
    async def run() -> None:
        bundle = make_bundle("cluster.local", [pem_of(b"root")])
        tokens = Tokens(StoreShelf(MemoryStore()), "cluster.local", lambda: bundle, lambda: NOW)
        audit: list[tuple[str, ...]] = []
        routes = token_routes(tokens, lambda *line: audit.append(line))
        app: Any = build_app(routes, {}, lambda: True, CREDENTIAL)
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:1"
        ) as client:
            await scenario(client, tokens, audit)

    asyncio.run(run())


AS_OPERATOR = {"Authorization": f"Bearer {CREDENTIAL}"}


def test_token_is_shown_once_and_audited_without_its_secret() -> None:
    async def scenario(client: httpx.AsyncClient, tokens: Tokens, audit: list[tuple[str, ...]]) -> None:
        body = {"namespace": "shop", "account": "web", "uses": 2, "lifeMs": 60_000}
        made = await client.post("/v1/tokens", json=body, headers=AS_OPERATOR)
        assert made.status_code == 201
        answer = made.json()
        assert answer["identity"] == "spiffe://cluster.local/ns/shop/sa/web"
        assert answer["expires"] == "2027-01-15T08:01:00Z"
        assert tokens.redeem(answer["token"], "key").identity.account == "web"
        assert [line[1] for line in audit] == ["create-token"]
        assert read_token(answer["token"]).secret not in str(audit)

    play(scenario)


def test_tokens_are_listed_without_what_lets_one_join() -> None:
    async def scenario(client: httpx.AsyncClient, tokens: Tokens, _: list[tuple[str, ...]]) -> None:
        long = {"namespace": "shop", "account": "web", "group": "webs", "uses": 2, "lifeMs": 120_000}
        made = [
            (await client.post("/v1/tokens", json=body, headers=AS_OPERATOR)).json()
            for body in (long, {"lifeMs": 60_000})
        ]
        tokens.redeem(made[0]["token"], "key")
        tokens.redeem(made[1]["token"], "key")
        answer = await client.get("/v1/tokens", headers=AS_OPERATOR)
        assert answer.json()["items"] == [
            {
                "id": made[1]["id"],
                "identity": "spiffe://cluster.local/ns/default/sa/default",
                "group": "",
                "uses": 1,
                "used": 1,
                "expires": "2027-01-15T08:01:00Z",
                "state": "used up",
            },
            {
                "id": made[0]["id"],
                "identity": "spiffe://cluster.local/ns/shop/sa/web",
                "group": "webs",
                "uses": 2,
                "used": 1,
                "expires": "2027-01-15T08:02:00Z",
                "state": "open",
            },
        ]
        assert all(read_token(each["token"]).secret not in answer.text for each in made)

    play(scenario)


def test_token_can_be_taken_back() -> None:
    async def scenario(client: httpx.AsyncClient, _: Tokens, audit: list[tuple[str, ...]]) -> None:
        made = (await client.post("/v1/tokens", json={}, headers=AS_OPERATOR)).json()
        path = f"/v1/tokens/{made['id']}"
        assert (await client.delete(path, headers=AS_OPERATOR)).status_code == 200
        assert (await client.delete(path, headers=AS_OPERATOR)).status_code == 404
        assert [line[1] for line in audit] == ["create-token", "delete-token"]

    play(scenario)


def test_what_cannot_be_is_refused_in_words() -> None:
    async def scenario(client: httpx.AsyncClient, _: Tokens, audit: list[tuple[str, ...]]) -> None:
        cases = (
            ({"namespace": "a/b"}, 422, "is no namespace"),
            ({"uses": 0}, 422, "1 to 10000 uses"),
            ({"lifeMs": 10**12}, 422, "at most 30 days"),
            ({"nmaespace": "x"}, 400, "nmaespace"),
        )
        for body, status, words in cases:
            answer = await client.post("/v1/tokens", json=body, headers=AS_OPERATOR)
            assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text
        assert (await client.post("/v1/tokens", json={})).status_code == 401
        assert audit == []

    play(scenario)
