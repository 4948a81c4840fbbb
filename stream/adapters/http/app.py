"""The application: recommendations, the budget, state, metrics, health, the live page; over a view of the learner."""

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BeforeValidator
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from stream.adapters.http import page
from stream.adapters.http.answers import (
    DEFAULT_ITEMS,
    Batch,
    BudgetAnswer,
    BudgetRequest,
    Recommended,
    RecommendedToMany,
    RecommendedToOne,
    Sides,
    Similar,
    State,
    excludes_seen,
    find_similar,
    gather,
    recommend_to_one,
    recommend_to_some,
)
from stream.adapters.http.health import Health, judge_live, judge_ready
from stream.adapters.http.limits import MAX_ITEMS, Limits, Rates, check_id
from stream.adapters.http.metrics import Metrics
from stream.adapters.http.openapi import Documented, asked, told
from stream.adapters.http.problems import Guard, ProblemError, shown, tell_problems
from stream.adapters.http.view import View
from stream.config import parse_bytes
from stream.core.event import MAX_ID_BYTES
from stream.core.snapshot import Snapshot
from stream.core.stats import WindowReport
from stream.errors import BudgetError, ScallError, StorageError, UsageError
from stream.service_settings import Http

_CHUNK: Final = 10
"""Users of a batch that are worked out before other requests have a turn."""
_MODELS: Final = (
    RecommendedToOne, RecommendedToMany, Similar, Batch, BudgetRequest, BudgetAnswer, State, WindowReport, Health,
)  # fmt: skip

RequestBudget = Callable[[int], str | None]
"""Asks for a budget in bytes; returns why it is refused, None once it is in force; raises a :class:`ScallError`."""


class _AnyText(Convertor[str]):
    """A part of a path that may hold anything, slashes and line ends too: ids do."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


def _whole_number(text: str) -> str:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise ValueError("give a whole number")
    return text


def _truth(text: str) -> str:
    if text not in ("true", "false"):
        raise ValueError("give true or false")
    return text


IdInPath = Annotated[str, Path(min_length=1, max_length=MAX_ID_BYTES, description="Any text; percent-encoded.")]
NumberAsked = Annotated[
    int, Query(ge=1, le=MAX_ITEMS, description="How many items, at most."), BeforeValidator(_whole_number)
]
ExcludeSeen = Annotated[
    bool,
    Query(description="Leave out what the user took; by default as the model's settings have it."),
    BeforeValidator(_truth),
]


def build_app(view: View, http: Http, request_budget: RequestBudget) -> Documented:
    """Return the application.

    ``request_budget`` may take seconds; it is called in a thread of its own, once at a time.
    """
    app = Documented(
        title="scall",
        version=version("scall-stream"),
        description="Recommendations from a model that learns from a stream within a memory budget.",
        default_response_class=Response,
        # The usual pages load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.models = _MODELS
    rates, metrics = Rates(http.max_requests_per_second), Metrics(view)
    tell_problems(app)
    app.include_router(_recommendations(view, rates))
    app.include_router(_budget(http, request_budget))
    app.include_router(_state(view))
    app.include_router(_health(view, http, metrics))
    app.include_router(page.router())
    # The last one added stands first.
    app.add_middleware(Limits, charge=rates.charge)
    app.add_middleware(Guard)
    app.add_middleware(_Noted, observe=metrics.requests.observe)
    return app


def _json(answer: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(answer), status, media_type="application/json")


@contextmanager
def _snapshot_of(view: View) -> Iterator[Snapshot]:
    with view.hold() as snapshot:
        if snapshot is None:
            text = "there is no model to answer from yet: the service is starting, ask again"
            raise ProblemError(503, text, {"Retry-After": "1"})
        yield snapshot


def _body_as(model: type[Any]) -> Any:
    """Return what reads a request's body as a model."""

    async def read(request: Request) -> Any:
        kind = request.headers.get("Content-Type", "application/json").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise ProblemError(415, f"the body is {shown(kind)}: send application/json")
        try:
            values = msgspec.json.decode(await request.body())
            if isinstance(values, dict):
                # To JSON 20.0 is a whole number.
                values = {name: int(v) if type(v) is float and v.is_integer() else v for name, v in values.items()}
            return msgspec.convert(values, model)
        except msgspec.ValidationError as error:
            what, _, where = str(error).partition(" - at `$")
            raise ProblemError(422, f"body{where.strip('`')}: {what[:1].lower()}{what[1:]}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProblemError(400, "the body is not JSON: check its quotes, commas and depth") from None

    return Depends(read)


def _recommendations(view: View, rates: Rates) -> APIRouter:
    routes = APIRouter(tags=["recommendations"])
    turn = asyncio.Semaphore(1)
    item, cold = {"item": "i42", "score": 1.25}, {"n": 20, "snapshot_age_s": 0.4, "events_learnt": 1_204_331}
    to_one = {"user": "u7", "reason": "personal", "items": [item]}

    @routes.get(
        "/v1/users/{user_id:text}/recommendations",
        responses=told(
            RecommendedToOne, "The best items, best first.", 422, 503, example=to_one | cold | {"exclude_seen": False}
        ),
    )
    async def recommend(
        user_id: IdInPath, n: NumberAsked = DEFAULT_ITEMS, exclude_seen: ExcludeSeen | None = None
    ) -> Response:
        """Return the best items for a user; for one who is not known, what newcomers take."""
        with _snapshot_of(view) as snapshot:
            return _json(recommend_to_one(snapshot, check_id(user_id, "user_id"), n, exclude_seen))

    @routes.post(
        "/v1/recommendations",
        responses=told(
            RecommendedToMany, "The best items for each user.", 413, 415, 422, 503,
            example={"users": [to_one]} | cold | {"exclude_seen": False},
        ),
        openapi_extra=asked(Batch, {"users": ["u7", "u8"], "n": 20}),
    )  # fmt: skip
    async def recommend_to_many(request: Request, batch: Annotated[Batch, _body_as(Batch)]) -> Response:
        """Return the best items for up to 100 users, all from the same model. Counts as one request a user."""
        rates.charge(request.client and (request.client.host, 0), len(batch.users) - 1)
        users = [check_id(user, f"users[{i}]") for i, user in enumerate(batch.users)]
        found: list[Recommended] = []
        # One batch at a time, so that none keeps the model for long.
        async with turn:
            with _snapshot_of(view) as snapshot:
                excludes = excludes_seen(snapshot, batch.exclude_seen)
                for begin in range(0, len(users), _CHUNK):
                    some = users[begin : begin + _CHUNK]
                    found += await asyncio.to_thread(recommend_to_some, snapshot, some, batch.n, excludes)
                return _json(gather(snapshot, found, batch.n, excludes))

    @routes.get(
        "/v1/items/{item_id:text}/similar",
        responses=told(
            Similar, "The nearest items, nearest first.", 404, 422, 503,
            example={"item": "i7", "items": [item | {"score": 0.93}]} | cold,
        ),
    )  # fmt: skip
    async def similar(item_id: IdInPath, n: NumberAsked = DEFAULT_ITEMS) -> Response:
        """Return the items most similar to one."""
        with _snapshot_of(view) as snapshot:
            answer = find_similar(snapshot, check_id(item_id, "item_id"), n)
        if answer is None:
            text = f"item {shown(item_id)} is not known: it has not been seen, or was evicted"
            raise ProblemError(404, text)
        return _json(answer)

    return routes


def _budget(http: Http, request_budget: RequestBudget) -> APIRouter:
    routes = APIRouter(tags=["budget"])
    turn = asyncio.Lock()
    done, waits = "the budget is in force", "no answer yet: the learner takes the request up when it comes to it"
    example = {"budget_bytes": 64 * 2**20, "in_force": True, "detail": done}
    answers = told(BudgetAnswer, "The budget is in force.", 401, 403, 409, 413, 415, 422, 503, example=example)
    unanswered = example | {"in_force": False, "detail": waits}
    answers[202] = told(BudgetAnswer, "Asked for; there is no answer yet.", example=unanswered)[200]

    def check_token(request: Request) -> None:
        if http.token is None:
            text = "the service has no http.token, so nobody may change its budget here: set one, or use scall budget"
            raise ProblemError(403, text)
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        is_known = secrets.compare_digest(token.strip().encode(), http.token.encode())
        if scheme.lower() != "bearer" or not is_known:
            text = "this needs the service's token: send Authorization: Bearer TOKEN"
            raise ProblemError(401, text, {"WWW-Authenticate": "Bearer"})

    @routes.post(
        "/v1/budget",
        responses=answers,
        dependencies=[Depends(check_token)],
        openapi_extra=asked(BudgetRequest, {"budget": "64MiB"}) | {"security": [{"token": []}]},
    )
    async def change_budget(request: Annotated[BudgetRequest, _body_as(BudgetRequest)]) -> Response:
        """Give the service another memory budget, in which it goes on with all that there is room for."""
        try:
            budget_bytes = parse_bytes(str(request.budget), "budget")
        except BudgetError as error:
            raise ProblemError(422, str(error)) from None
        if turn.locked():
            raise ProblemError(409, "another change of the budget is under way: wait for its answer")
        async with turn:
            try:
                refusal = await asyncio.to_thread(request_budget, budget_bytes)
            except (UsageError, StorageError) as error:
                raise ProblemError(503, str(error), {"Retry-After": "10"}) from None
            except ScallError:
                return _json(BudgetAnswer(budget_bytes, False, waits), 202)
        if refusal is not None:
            raise ProblemError(409, refusal)
        return _json(BudgetAnswer(budget_bytes, True, done))

    return routes


def _state(view: View) -> APIRouter:
    routes = APIRouter(tags=["state"])

    @routes.get("/v1/state", responses=told(State, "How the service stands.", 503))
    def state() -> Response:
        """Return how the service stands, and the sizes of its embeddings by rank."""
        status, sides = view.status(), view.sides()
        if status is None or sides is None:
            raise ProblemError(503, "nothing is known of the learner yet: it is starting", {"Retry-After": "1"})
        return _json(State(status, view.silence_s(), Sides(*sides)))

    @routes.get("/v1/windows", responses=told(list[WindowReport], "The windows closed, oldest first.", 422))
    async def windows(after: Annotated[int, Query(ge=-1), BeforeValidator(_whole_number)] = -1) -> Response:
        """Return the windows closed after the one with this index, the newest hundred at most."""
        return _json([window for window in view.windows() if window.index > after])

    return routes


def _health(view: View, http: Http, metrics: Metrics) -> APIRouter:
    routes = APIRouter(tags=["health"])
    started_s = time.monotonic()

    def answer(health: Health) -> Response:
        return _json(health, 200 if health.ok else 503)

    def answers(text: str) -> dict[int | str, dict[str, Any]]:
        found = told(Health, text)
        return {200: found[200], 503: found[200] | {"description": "A check was not passed."}}

    @routes.get("/live", responses=answers("The learner moves."))
    async def live() -> Response:
        """Return whether the learner moves: if not, start it again."""
        return answer(judge_live(view, http, time.monotonic() - started_s))

    @routes.get("/ready", responses=answers("The service keeps up."))
    async def ready() -> Response:
        """Return whether the service keeps up with its topics and is safe."""
        return answer(judge_ready(view, http, time.monotonic() - started_s))

    @routes.get("/metrics", include_in_schema=False)
    def scrape(request: Request) -> Response:
        content, kind = metrics.exposition(request.headers.get("Accept"))
        return Response(content, headers={"Content-Type": kind})

    return routes


class _Noted:
    """Middleware: notes how each request was answered, and how long that took."""

    def __init__(self, app: ASGIApp, observe: Callable[[str | None, str, int, float], None]) -> None:
        self._app = app
        self._observe = observe

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin_s, status = time.perf_counter(), 500

        async def note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path_format", None)
            self._observe(route, scope["method"], status, time.perf_counter() - begin_s)
