"""The OpenAPI document: what is said of answers comes from the very types that they are made of."""

from typing import Any, Final

import msgspec
from fastapi import FastAPI

from stream.adapters.http.problems import MEDIA_TYPE, Problem, encode_problem

_REF: Final = "#/components/schemas/{name}"
_JSON: Final = "application/json"
_WHEN: Final = {
    400: ("This is no HTTP, no UTF-8 or no JSON.", "the body is not JSON: check its quotes, commas and depth"),
    401: ("The token is missing or wrong.", "give the service's token: Authorization: Bearer TOKEN"),
    403: ("Nobody may.", "the service has no http.token: set one in its settings, and start it again"),
    404: ("It is not known.", "item 'i7' is not known: it has not been seen, or was evicted"),
    409: ("It is refused as things are.", "the budget is too small: give at least 24KiB"),
    413: ("The body is too long.", "the body is longer than 262144 bytes: send less"),
    415: ("The body is of another type.", "the body is 'text/plain': send application/json"),
    422: ("A parameter or the body does not say anything that can be done.", "n: give a whole number from 1 to 1000"),
    429: ("This client asks too often.", "192.0.2.7 asks for more than 500 answers a second: wait, then ask again"),
    500: ("A mistake in the service.", "this went wrong in a way nobody thought of; the service's log has the error"),
    503: ("Not now.", "there is no model to answer from yet: the service is starting, ask again"),
}
"""By status: what a problem means, and an example of its detail."""
_WAITS: Final = (429, 503)
_EVERYWHERE: Final = (400, 429, 500)
_RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer", "minimum": 1}}}


class Documented(FastAPI):
    """An application that describes its answers by ``models``, msgspec types."""

    models: tuple[Any, ...] = ()

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document."""
        if not self.openapi_schema:
            document = super().openapi()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            for name in [name for name in schemas if "ValidationError" in name]:
                del schemas[name]
            schemas |= msgspec.json.schema_components([*self.models, Problem], ref_template=_REF)[1]
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        assert self.openapi_schema is not None
        return self.openapi_schema


def told(model: Any, text: str, *problems: int, example: Any = None) -> dict[int | str, dict[str, Any]]:
    """Return a route's answers: 200 with a model, and problems."""
    found: dict[int | str, dict[str, Any]] = {200: {"description": text, "content": _content(model, example)}}
    for status in sorted({*problems, *_EVERYWHERE}):
        meaning, detail = _WHEN[status]
        content = {"schema": _schema(Problem), "example": msgspec.json.decode(encode_problem(status, detail))}
        found[status] = {"description": meaning, "content": {MEDIA_TYPE: content}}
        if status in _WAITS:
            found[status]["headers"] = _RETRY_AFTER
    return found


def asked(model: Any, example: Any) -> dict[str, Any]:
    """Return what a route takes as its body."""
    return {"requestBody": {"required": True, "content": _content(model, example)}}


def _content(model: Any, example: Any) -> dict[str, Any]:
    return {_JSON: {"schema": _schema(model)} | ({} if example is None else {"example": example})}


def _schema(model: Any) -> dict[str, Any]:
    (schema,), _ = msgspec.json.schema_components([model], ref_template=_REF)
    return schema
