"""The live page: how a service stands, for a person to watch; its script asks the same API as everybody."""

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

from fastapi import APIRouter, HTTPException, Request, Response

from stream.adapters.page_style import STYLE

_FOLDER: Final = files("stream.adapters.http") / "live"
_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_POLICY: Final = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        # Text from outside, such as a topic's name, can then not become markup even by mistake.
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
)
_HEADERS: Final = {
    # Kept by the browser, and asked about each time: after an upgrade nobody sees half of the old page.
    "Cache-Control": "no-cache",
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class Asset(NamedTuple):
    """A file of the page, as it is sent."""

    content: bytes
    headers: dict[str, str]


def assets() -> dict[str, Asset]:
    """Return every file of the page by name, read once."""
    found = {entry.name: entry.read_bytes() for entry in _FOLDER.iterdir() if entry.name.split(".")[-1] in _TYPES}
    # The report and this page are one product: one palette, one type.
    found["page.css"] = STYLE.encode() + found["page.css"]
    return {name: _asset(name, content) for name, content in found.items()}


def _asset(name: str, content: bytes) -> Asset:
    tag = b64encode(sha256(content).digest()[:12]).decode()
    return Asset(content, _HEADERS | {"Content-Type": _TYPES[name.split(".")[-1]], "ETag": f'"{tag}"'})


def router() -> APIRouter:
    """Return what answers ``/`` with the page and ``/page/NAME`` with its style and scripts."""
    routes, held = APIRouter(include_in_schema=False), assets()

    @routes.api_route("/", methods=["GET", "HEAD"])
    async def page(request: Request) -> Response:
        return _answer(request, held["page.html"])

    @routes.api_route("/page/{name}", methods=["GET", "HEAD"])
    async def asset(request: Request, name: str) -> Response:
        if name not in held:
            raise HTTPException(404)
        return _answer(request, held[name])

    return routes


def _answer(request: Request, asset: Asset) -> Response:
    known = {tag.strip().removeprefix("W/") for tag in request.headers.get("if-none-match", "").split(",")}
    if asset.headers["ETag"] in known:
        return Response(status_code=304, headers=asset.headers)
    return Response(asset.content, headers=asset.headers)
