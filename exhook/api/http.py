"""HTTP for the API: one path that answers signed calls, two for whoever watches the server."""

import asyncio
import json
from typing import Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HttpRequest
from starlette.responses import Response
from starlette.routing import Route

from exhook.api.answer import Answer
from exhook.api.api import Api
from exhook.api.refusal import Refusal
from exhook.api.request import Request

BODY_BYTES: Final = 256 * 1024
"""Largest body."""

BODY_SECONDS: Final = 10.0
"""How long a body may take to come."""

_METHODS: Final = ["GET", "POST"]


def application(api: Api) -> Starlette:
    """The API as an ASGI application. It never redirects: the SDKs would follow, 30 times."""

    async def call(http: HttpRequest) -> Response:
        try:
            request = await _received(http)
        except Refusal as refusal:
            return _response(api.refuse(_head(http), _address(http), refusal), close=True)
        except ClientDisconnect:
            return Response(status_code=400)
        return _response(await api.answer(request, _address(http)))

    async def not_there(http: HttpRequest, _: Exception) -> Response:
        # Another method is as good as another path: the vendor has one status for this code.
        refusal = Refusal("InvalidApi.NotFound", "calls are made by GET or POST to the path /", status=404)
        return _response(api.refuse(_head(http), _address(http), refusal))

    async def health(_: HttpRequest) -> Response:
        return _json_response(200, {"status": "ok"})

    async def ready(_: HttpRequest) -> Response:
        if await api.ready():
            return _json_response(200, {"status": "ready"})
        return _json_response(503, {"status": "the store is not available"})

    made = Starlette(
        routes=[
            Route("/", call, methods=_METHODS),
            Route("/health", health, methods=["GET"]),
            Route("/ready", ready, methods=["GET"]),
        ],
        exception_handlers={HTTPException: not_there},
    )
    made.router.redirect_slashes = False
    return made


async def _received(http: HttpRequest) -> Request:
    """The whole request.

    Raises:
        Refusal: its body is too large, or does not come.
        ClientDisconnect: whoever asked went away.
    """
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in http.stream():
                body += piece
                if len(body) > BODY_BYTES:
                    raise Refusal.invalid("Body", f"over {BODY_BYTES} bytes")
    except TimeoutError:
        raise Refusal.invalid("Body", f"did not come within {BODY_SECONDS:g} s") from None
    return _head(http, body)


def _head(http: HttpRequest, body: bytes = b"") -> Request:
    scope = http.scope
    return Request(scope["method"], scope["raw_path"].decode(), scope["query_string"], tuple(scope["headers"]), body)


def _address(http: HttpRequest) -> str:
    return http.client.host if http.client else ""


def _response(answer: Answer, *, close: bool = False) -> Response:
    headers = {**answer.headers, **({"connection": "close"} if close else {})}
    return Response(answer.body, answer.status, headers, media_type="application/json")


def _json_response(status: int, body: dict[str, str]) -> Response:
    return Response(json.dumps(body).encode(), status, media_type="application/json")
