"""Errors as RFC 9457 has them: every answer that is none says why in one line, as ``application/problem+json``."""

import logging
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from msgspec import Meta
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MEDIA_TYPE: Final = "application/problem+json"
_SHOWN: Final = 200
"""Most characters of a request that are told again."""


class Problem(msgspec.Struct, frozen=True):
    """Why a request was not answered (RFC 9457)."""

    title: str
    """The status in words."""
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: str
    """What is wrong with this request, in one line, and what to do."""
    type: str = "about:blank"


class ProblemError(Exception):
    """Raised wherever a request cannot be answered; becomes a :class:`Problem`."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}

    def response(self) -> Response:
        """Return the answer that tells it."""
        return Response(encode_problem(self.status, self.detail), self.status, self.headers, MEDIA_TYPE)


def encode_problem(status: int, detail: str) -> bytes:
    """Return a problem as JSON.

    >>> encode_problem(404, "nothing is here")
    b'{"title":"Not Found","status":404,"detail":"nothing is here","type":"about:blank"}'
    """
    return msgspec.json.encode(Problem(HTTPStatus(status).phrase, status, detail))


def shown(text: str) -> str:
    """Return text from a request as it may be told again: in quotes, on one line, of readable length.

    >>> shown("a b")
    "'a b'"
    """
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def tell_problems(app: FastAPI) -> None:
    """Let an application tell its errors as problems."""

    async def tell(_: Request, error: Any) -> Response:
        assert isinstance(error, ProblemError)
        return error.response()

    async def tell_refusal(request: Request, error: Any) -> Response:
        assert isinstance(error, HTTPException)
        path, headers = shown(request.url.path), dict(error.headers or {})
        details = {
            404: f"nothing is at {path}: /openapi.json lists what there is",
            405: f"{request.method[:20]} is not for {path}: use {headers.get('Allow', 'another method')}",
        }
        return ProblemError(error.status_code, details.get(error.status_code, str(error.detail)), headers).response()

    async def tell_mistake(_: Request, error: Any) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        text = first["msg"].removeprefix("Value error, ")
        return ProblemError(422, f"{first['loc'][-1]}: {text[:1].lower()}{text[1:]}").response()

    app.add_exception_handler(ProblemError, tell)
    app.add_exception_handler(HTTPException, tell_refusal)
    app.add_exception_handler(RequestValidationError, tell_mistake)


class Guard:
    """Stands before everything: what fails in an unforeseen way is logged in one line, and told without its innards."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_begun = False

        async def note(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, note)
        except ProblemError as problem:
            if not has_begun:
                await problem.response()(scope, receive, send)
        except ClientDisconnect:
            pass  # Nobody is there to be told.
        except Exception as error:
            logging.getLogger("scall").error(
                "answering %s %s failed: %s: %s", scope["method"], shown(scope["path"]), type(error).__name__, error
            )
            if has_begun:
                raise
            text = "this went wrong in a way nobody thought of; the service's log has the error"
            await ProblemError(500, text).response()(scope, receive, send)
