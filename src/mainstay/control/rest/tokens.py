"""`/v1/tokens`: join tokens, for `mainstay join-token`.

In: for whom, how often, how long. Out: the token's text, once; a list without texts. Invariant: every token made or deleted is
audited; neither the text nor its secret is logged.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Callable

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mainstay.control.rest.answers import RestError, answer
from mainstay.control.rest.changes import WHO
from mainstay.identity.authorise import Operator, authorise
from mainstay.identity.tokens import Tokens
from mainstay.store import StoreError, StoreFullError

Audit = Callable[[str, str, str, str], None]


class TokenBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    namespace: str = "default"
    account: str = "default"
    group: str = ""
    uses: int = 1
    lifeMs: int = 3_600_000  # noqa: N815  names of the REST API are Kubernetes-like


def token_routes(tokens: Tokens, audit: Audit) -> list[Route]:
    """The routes; `audit(who, action, object, result)`."""

    async def create(request: Request) -> Response:
        try:
            body = msgspec.json.decode(await request.body() or b"{}", type=TokenBody)
        except msgspec.MsgspecError as error:
            raise RestError(400, f"the body cannot be read: {error}") from None
        verdict = authorise(
            Operator(), "create-token", f"{body.namespace}/{body.account}", tokens.trust_domain
        )
        if not verdict.allowed:
            raise RestError(403, verdict.reason)
        try:
            issued = await asyncio.to_thread(
                tokens.create, body.namespace, body.account, body.group, body.uses, body.lifeMs
            )
        except ValueError as error:
            raise RestError(422, str(error)) from None
        except StoreFullError as error:
            raise RestError(507, str(error)) from None
        except StoreError as error:
            raise RestError(503, str(error)) from None
        expires = _moment(issued.expires)
        audit(WHO, "create-token", issued.identity.spiffe, f"{issued.id}, {body.uses} uses, until {expires}")
        return answer(
            {"token": issued.text, "id": issued.id, "identity": issued.identity.spiffe, "expires": expires},
            201,
        )

    async def list_all(_request: Request) -> Response:
        return answer(
            {
                "items": [
                    {
                        "id": token.id,
                        "identity": token.identity.spiffe,
                        "group": token.group,
                        "uses": token.uses,
                        "used": token.used,
                        "expires": _moment(token.expires),
                        "state": token.state,
                    }
                    for token in await asyncio.to_thread(tokens.known)
                ]
            }
        )

    async def delete(request: Request) -> Response:
        number = request.path_params["id"]
        if not await asyncio.to_thread(tokens.delete, number):
            raise RestError(404, f"there is no token {number!r}")
        audit(WHO, "delete-token", number, "done")
        return answer({"id": number, "outcome": "deleted"})

    return [
        Route("/v1/tokens", list_all, methods=["GET"]),
        Route("/v1/tokens", create, methods=["POST"]),
        Route("/v1/tokens/{id}", delete, methods=["DELETE"]),
    ]


def _moment(ms: int) -> str:
    return datetime.datetime.fromtimestamp(ms / 1_000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
