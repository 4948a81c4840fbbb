"""The API over a model that has learnt a small world: what it answers, and what it says where it does not."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.adapters.http.app import build_app
from stream.adapters.http.limits import MAX_BODY_BYTES, MAX_ITEMS, MAX_USERS, Rates
from stream.adapters.http.problems import ProblemError
from stream.core.event import MAX_ID_BYTES
from stream.core.snapshot import Snapshot
from stream.core.stats import WindowReport
from stream.errors import ScallError, StorageError, UsageError
from stream.service_settings import Http
from tests.adapters.http.views import ReplayedView, item_ids, replay_world, snapshot_of

TOKEN = "0123456789abcdef"
HTTP = Http(port=0, token=TOKEN, max_requests_per_second=10_000)
BEARER = {"Authorization": f"Bearer {TOKEN}"}
Ask = Callable[..., httpx.Response]


def grant(_: int) -> None: ...


def asking(view: ReplayedView, http: Http = HTTP, request_budget: Callable[[int], str | None] = grant) -> Ask:
    """Return what asks the application one thing, as a client at some address."""
    app = build_app(view, http, request_budget)

    def ask(method: str, url: str, client: str = "192.0.2.1", **more: Any) -> httpx.Response:
        async def once() -> httpx.Response:
            transport = httpx.ASGITransport(app, client=(client, 1234))
            async with httpx.AsyncClient(transport=transport, base_url="http://scall") as session:
                return await session.request(method, url, **more)

        return asyncio.run(once())

    return ask


@pytest.fixture
def view() -> ReplayedView:
    return ReplayedView()


@pytest.fixture
def ask(view: ReplayedView) -> Ask:
    return asking(view)


def detail_of(response: httpx.Response, status: int) -> str:
    """Return the one line in which a refusal says why, and check its form."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    problem = response.json()
    assert problem.keys() == {"type", "title", "status", "detail"}
    assert (problem["type"], problem["status"]) == ("about:blank", status)
    detail: str = problem["detail"]
    assert detail.isprintable()
    assert "Traceback" not in response.text
    return detail


def as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


# Recommendations


def test_a_user_gets_what_the_model_recommends(ask: Ask, view: ReplayedView) -> None:
    assert view.snapshot is not None
    known = [
        f"u{i}" for i in range(8000) if view.snapshot.recommend(f"u{i}", 1, exclude_seen=False).reason == "personal"
    ]
    assert known
    for user in known[:5]:
        answer = ask("GET", f"/v1/users/{user}/recommendations?n=7&exclude_seen=true").json()
        expected = view.snapshot.recommend(user, 7, exclude_seen=True)
        assert [(item["item"], item["score"]) for item in answer["items"]] == expected.items
        assert (answer["user"], answer["reason"], answer["n"], answer["exclude_seen"]) == (user, "personal", 7, True)
        assert answer["events_learnt"] == 12_000
        assert answer["snapshot_age_s"] >= 0


def test_a_user_nobody_knows_gets_the_cold_path_and_the_answer_says_so(ask: Ask) -> None:
    answer = ask("GET", "/v1/users/nobody/recommendations").json()
    assert (answer["reason"], len(answer["items"]), answer["exclude_seen"]) == ("cold", 20, False)


def test_what_was_taken_is_left_out_by_default_where_the_model_is_made_for_that() -> None:
    ask = asking(ReplayedView(replay_world("drift", 4000, True)))
    answer = ask("GET", "/v1/users/u1/recommendations").json()
    assert answer["exclude_seen"] is True
    assert ask("POST", "/v1/recommendations", json={"users": ["u1"]}).json()["exclude_seen"] is True
    assert ask("GET", "/v1/users/u1/recommendations?exclude_seen=false").json()["exclude_seen"] is False


def test_an_evicted_item_is_never_in_an_answer(ask: Ask, view: ReplayedView) -> None:
    assert view.snapshot is not None
    alive, all_ids = set(item_ids(view.snapshot)), {f"i{i}" for i in range(6000)}
    gone = sorted(all_ids - alive)
    for user in ("u1", "nobody"):
        items = ask("GET", f"/v1/users/{user}/recommendations?n=1000").json()["items"]
        assert {item["item"] for item in items} <= alive
    assert {item["item"] for item in ask("GET", f"/v1/items/{min(alive)}/similar?n=1000").json()["items"]} <= alive
    assert "was evicted" in detail_of(ask("GET", f"/v1/items/{gone[0]}/similar"), 404)


@pytest.mark.parametrize(
    "name", ["a/b", "a%2Fb", "é", "日本", " ", "..", "a\nb\n", "a/recommendations", "?n=5#x", "x" * 252]
)
def test_an_id_may_hold_anything(ask: Ask, name: str) -> None:
    url = f"/v1/users/{quote(name, safe='').replace('.', '%2E')}/recommendations"
    assert ask("GET", url).json()["user"] == name
    assert ask("POST", "/v1/recommendations", json={"users": [name]}).json()["users"][0]["user"] == name
    assert repr(name)[:150] in detail_of(
        ask("GET", url.replace("users", "items").removesuffix("recommendations") + "similar"), 404
    )


def test_similar_items_come_with_their_cosines(ask: Ask, view: ReplayedView) -> None:
    assert view.snapshot is not None
    name = item_ids(view.snapshot)[0]
    answer = ask("GET", f"/v1/items/{name}/similar?n=5").json()
    assert [(item["item"], item["score"]) for item in answer["items"]] == view.snapshot.similar(name, 5)
    assert (answer["item"], answer["n"], answer["events_learnt"]) == (name, 5, 12_000)


def test_a_batch_is_answered_as_its_users_are_in_its_order(ask: Ask, view: ReplayedView) -> None:
    assert view.snapshot is not None
    users = [f"u{i}" for i in range(7900, 7900 + MAX_USERS)]
    answer = ask("POST", "/v1/recommendations", json={"users": users, "n": 3, "exclude_seen": True}).json()
    assert [user["user"] for user in answer["users"]] == users
    for user in answer["users"]:
        items, reason = view.snapshot.recommend(user["user"], 3, exclude_seen=True)
        assert (user["reason"], [(item["item"], item["score"]) for item in user["items"]]) == (reason, items)


def test_a_batch_is_answered_from_one_model_though_another_comes_meanwhile(view: ReplayedView) -> None:
    held: list[int] = []

    class Moving(ReplayedView):
        @contextmanager
        def hold(self) -> Iterator[Snapshot | None]:
            with super().hold() as snapshot:
                held.append(0 if snapshot is None else snapshot.num_learnt)
                self.snapshot = snapshot_of(replay_world("drift", 4000).trainer)
                yield snapshot

    answer = asking(Moving())("POST", "/v1/recommendations", json={"users": ["nobody"] * 35, "n": 4}).json()
    assert held == [12_000]
    assert answer["events_learnt"] == 12_000
    assert {msgspec.json.encode(user["items"]) for user in answer["users"]} == {
        msgspec.json.encode(answer["users"][0]["items"])
    }
    assert {item["item"] for item in answer["users"][0]["items"]} <= set(item_ids(snapshot_of(view.life.trainer)))


def test_a_snapshot_is_let_go_whatever_becomes_of_the_request(ask: Ask, view: ReplayedView) -> None:
    ask("GET", "/v1/users/u1/recommendations")
    ask("GET", "/v1/users/" + "x" * 300 + "/recommendations")
    ask("GET", "/v1/items/none/similar")
    ask("POST", "/v1/recommendations", json={"users": ["u1"] * 30})
    assert view.num_holds == 0


def test_before_there_is_a_model_clients_are_told_to_come_back() -> None:
    ask = asking(ReplayedView.before_the_first())
    for method, url, more in (
        ("GET", "/v1/users/u1/recommendations", {}),
        ("GET", "/v1/items/i1/similar", {}),
        ("POST", "/v1/recommendations", {"json": {"users": ["u1"]}}),
        ("GET", "/v1/state", {}),
    ):
        answer = ask(method, url, **more)
        assert "starting" in detail_of(answer, 503)
        assert answer.headers["Retry-After"] == "1"
    assert ask("GET", "/v1/windows").json() == []


# What is refused


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("/v1/users//recommendations", "user_id: string should have at least 1 character"),
        ("/v1/users/" + "x" * 253 + "/recommendations", "user_id: string should have at most 252 characters"),
        (
            "/v1/users/" + quote("é" * 127) + "/recommendations",
            "user_id has 254 bytes: an id has 1 to 252 bytes of UTF-8",
        ),
        ("/v1/items/" + quote("é" * 127) + "/similar", "item_id has 254 bytes: an id has 1 to 252 bytes of UTF-8"),
        ("/v1/users/u/recommendations?n=0", "n: input should be greater than or equal to 1"),
        (f"/v1/users/u/recommendations?n={MAX_ITEMS + 1}", "n: input should be less than or equal to 1000"),
        ("/v1/users/u/recommendations?n=1e2", "n: give a whole number"),
        ("/v1/users/u/recommendations?n=1_0", "n: give a whole number"),
        ("/v1/users/u/recommendations?n=", "n: give a whole number"),
        ("/v1/users/u/recommendations?n=" + "9" * 5000, "n: give a whole number"),
        ("/v1/users/u/recommendations?exclude_seen=1", "exclude_seen: give true or false"),
        ("/v1/windows?after=-2", "after: input should be greater than or equal to -1"),
    ],
)
def test_a_parameter_that_says_nothing_is_refused(ask: Ask, url: str, told: str) -> None:
    assert detail_of(ask("GET", url), 422) == told


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b'{"users": ["u"', 400, "the body is not JSON: check its quotes, commas and depth"),
        (b'{"users": ["\xff"]}', 400, "the body is not JSON"),
        (b"[]", 422, "body: expected `object`, got `array`"),
        (b"[" * 100_000, 400, "the body is not JSON"),
        (b'{"users": ["u"], "n": 1.5}', 422, "body.n: expected `int`, got `float`"),
        (b'{"users": ["u"], "n": 1e400}', 422, "body[...]: number out of range"),
        (b"", 400, "the body is not JSON"),
        (b'{"users": []}', 422, "body.users: expected `array` of length >= 1"),
        (json.dumps({"users": ["u"] * (MAX_USERS + 1)}).encode(), 422, "body.users: expected `array` of length <= 100"),
        (b'{"users": [7]}', 422, "body.users[0]: expected `str`, got `int`"),
        (b'{"users": ["u", ""]}', 422, "body.users[1]: expected `str` of length >= 1"),
        ('{"users": ["u", "%s"]}' % ("é" * 127), 422, "users[1] has 254 bytes"),
        (b'{"users": ["u"], "n": 0}', 422, "body.n: expected `int` >= 1"),
        (b'{"users": ["u"], "n": "1"}', 422, "body.n: expected `int`, got `str`"),
        (b'{"users": ["u"], "m": 1}', 422, "body: object contains unknown field `m`"),
        (b'{"n": 1}', 422, "body: object missing required field `users`"),
        (b" " * (MAX_BODY_BYTES + 1), 413, "the body is longer than 262144 bytes: send less"),
    ],
)
def test_a_body_that_says_nothing_is_refused(ask: Ask, body: bytes | str, status: int, told: str) -> None:
    content = body if isinstance(body, bytes) else body.encode()
    answer = ask("POST", "/v1/recommendations", content=content, headers={"Content-Type": "application/json"})
    assert detail_of(answer, status).startswith(told)


def test_a_body_in_pieces_is_refused_once_it_is_too_long(ask: Ask) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 2**15
            yield b" " * 2**15

    assert "longer than" in detail_of(ask("POST", "/v1/recommendations", content=endless()), 413)
    assert sent <= MAX_BODY_BYTES + 2**17


def test_a_body_of_another_type_is_refused(ask: Ask) -> None:
    answer = ask("POST", "/v1/recommendations", data={"users": "u"})
    assert detail_of(answer, 415) == "the body is 'application/x-www-form-urlencoded': send application/json"


def test_the_longest_batch_there_may_be_is_no_body_too_long(ask: Ask) -> None:
    # Characters of one byte that JSON may write as six.
    body = json.dumps({"users": ["\x01" * MAX_ID_BYTES] * MAX_USERS})
    assert 100_000 < len(body) < MAX_BODY_BYTES
    assert ask("POST", "/v1/recommendations", content=body).status_code == 200


@pytest.mark.parametrize(
    ("method", "url", "status", "told"),
    [
        ("GET", "/v2/users/u", 404, "nothing is at '/v2/users/u': /openapi.json lists what there is"),
        ("GET", "/v1/users/u/recommendations/", 404, "nothing is at"),
        ("GET", "/docs", 404, "nothing is at"),
        ("GET", "/" + "x" * 3000, 404, "nothing is at"),
        ("DELETE", "/v1/state", 405, "DELETE is not for '/v1/state': use GET"),
        ("PUT", "/v1/budget", 405, "PUT is not for '/v1/budget': use POST"),
        ("GET", "/v1/users/%ff/recommendations", 400, "'/v1/users/%ff/recommendations' is not UTF-8"),
    ],
)
def test_what_is_not_there_is_told(ask: Ask, method: str, url: str, status: int, told: str) -> None:
    answer = ask(method, url)
    assert detail_of(answer, status).startswith(told)
    assert len(answer.content) < 500
    assert (status == 405) == ("Allow" in answer.headers)


def test_what_fails_in_an_unforeseen_way_is_logged_and_told_without_its_innards(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(ReplayedView):
        def windows(self) -> list[WindowReport]:
            raise ZeroDivisionError("secret")

    with caplog.at_level(logging.ERROR, "scall"):
        detail = detail_of(asking(Broken())("GET", "/v1/windows"), 500)
    assert "secret" not in detail
    assert [record.getMessage() for record in caplog.records] == [
        "answering GET '/v1/windows' failed: ZeroDivisionError: secret"
    ]


# Rates


def test_a_client_that_asks_too_often_is_refused_and_others_are_not(view: ReplayedView) -> None:
    ask = asking(view, msgspec.structs.replace(HTTP, max_requests_per_second=1))
    answers = [ask("GET", "/v1/users/u/recommendations", client="192.0.2.1") for _ in range(20)]
    assert answers[0].status_code == 200
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused
    for answer in refused:
        assert "192.0.2.1 asks for more than 1 answers a second" in detail_of(answer, 429)
        assert answer.headers["Retry-After"] == "1"
    assert ask("GET", "/v1/users/u/recommendations", client="192.0.2.2").status_code == 200


requests = st.lists(st.tuples(st.integers(0, 500), st.integers(1, 5), st.sampled_from("ab")), max_size=60)


@settings(derandomize=True, deadline=None)
@given(requests)
def test_a_client_gets_what_is_its_due_and_no_more(asked: list[tuple[int, int, str]]) -> None:
    now_ms, used = 0, {"a": [(0, 0)], "b": [(0, 0)]}
    rates = Rates(5, clock=lambda: now_ms / 1000)
    for wait_ms, num, name in asked:
        now_ms += wait_ms
        try:
            rates.charge((name, 0), num)
            is_let_through = True
        except ProblemError:
            is_let_through = False
        # In no span of time more than five, and five a second of it.
        granted = [*used[name], (now_ms, num)]
        spans = [(now_ms - begin_ms, sum(n for _, n in granted[i:])) for i, (begin_ms, _) in enumerate(granted)]
        margins = [5 + span_ms / 200 - total for span_ms, total in spans[1:]]
        if is_let_through:
            used[name].append((now_ms, num))
            assert min(margins) > -1e-6
        else:
            assert min(margins) < 1e-6


def test_clients_without_end_are_not_remembered_without_end() -> None:
    now_s = 0.0
    rates = Rates(1, clock=lambda: now_s)
    for number in range(50_000):
        now_s += 0.0001
        rates.charge((f"2001:db8:{number:x}::1", 0))
        assert len(rates._used_until_s) <= 10_001
    with pytest.raises(ProblemError):
        rates.charge(("2001:db8:c34f:0:ffff::2", 0))


def test_what_watches_the_service_is_never_refused(view: ReplayedView) -> None:
    ask = asking(view, msgspec.structs.replace(HTTP, max_requests_per_second=1))
    for path in ("/live", "/ready", "/metrics") * 10:
        assert ask("GET", path).status_code == 200


def test_a_batch_counts_as_one_request_a_user(view: ReplayedView) -> None:
    ask = asking(view, msgspec.structs.replace(HTTP, max_requests_per_second=60))
    answers = [ask("POST", "/v1/recommendations", json={"users": ["u"] * 50}) for _ in range(6)]
    assert answers[0].status_code == 200
    assert 429 in {answer.status_code for answer in answers}
    too_many = ask("POST", "/v1/recommendations", client="192.0.2.9", json={"users": ["u"] * 70})
    assert "more than http.max_requests_per_second = 60: ask for fewer" in detail_of(too_many, 422)


# The budget


def test_a_budget_is_asked_for_in_bytes(view: ReplayedView) -> None:
    asked: list[int] = []
    ask = asking(view, HTTP, asked.append)
    for budget, num_bytes in (("64MiB", 64 * 2**20), (65_536, 65_536), ("1.5 GB", 1_500_000_000)):
        answer = ask("POST", "/v1/budget", json={"budget": budget}, headers=BEARER)
        assert (answer.status_code, answer.json()) == (
            200, {"budget_bytes": num_bytes, "in_force": True, "detail": "the budget is in force"},
        )  # fmt: skip
    assert asked == [64 * 2**20, 65_536, 1_500_000_000]


@pytest.mark.parametrize(
    ("outcome", "status", "told"),
    [
        ("budget of 100 bytes is too small", 409, "budget of 100 bytes is too small"),
        (UsageError("no service runs"), 503, "no service runs"),
        (StorageError("cannot ask: disk full"), 503, "cannot ask: disk full"),
    ],
)
def test_a_budget_that_is_refused_is_told_why(
    view: ReplayedView, outcome: str | Exception, status: int, told: str
) -> None:
    def refuse(_: int) -> str:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    answer = asking(view, HTTP, refuse)("POST", "/v1/budget", json={"budget": 100}, headers=BEARER)
    assert detail_of(answer, status) == told


def test_a_budget_without_an_answer_in_time_is_accepted(view: ReplayedView) -> None:
    def wait(_: int) -> None:
        raise ScallError("no answer within 5 s")

    answer = asking(view, HTTP, wait)("POST", "/v1/budget", json={"budget": 100}, headers=BEARER)
    assert (answer.status_code, answer.json()["in_force"]) == (202, False)


@pytest.mark.parametrize("budget", ["much", "-1", "", 0, -5, 1.5, None, True, ["1MiB"], 2**60])
def test_a_budget_that_is_no_size_is_refused(view: ReplayedView, budget: Any) -> None:
    ask = asking(view, HTTP, lambda _: pytest.fail("it was asked for"))
    assert detail_of(ask("POST", "/v1/budget", json={"budget": budget}, headers=BEARER), 422)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", "Bearer é"],
)
def test_without_the_token_no_budget_is_changed(view: ReplayedView, header: str | None) -> None:
    ask = asking(view, HTTP, lambda _: pytest.fail("it was asked for"))
    headers = {} if header is None else {"Authorization": header.encode()}
    answer = ask("POST", "/v1/budget", json={"budget": "1MiB"}, headers=headers)
    assert detail_of(answer, 401) == "this needs the service's token: send Authorization: Bearer TOKEN"
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert TOKEN not in answer.text


def test_where_there_is_no_token_nobody_may_change_the_budget(view: ReplayedView) -> None:
    ask = asking(view, msgspec.structs.replace(HTTP, token=None), lambda _: pytest.fail("it was asked for"))
    assert "has no http.token" in detail_of(ask("POST", "/v1/budget", json={"budget": "1MiB"}, headers=BEARER), 403)


def test_two_changes_of_the_budget_do_not_go_at_once(view: ReplayedView) -> None:
    asked, answered = threading.Event(), threading.Event()

    def wait(_: int) -> None:
        asked.set()
        assert answered.wait(60)

    async def ask_twice() -> tuple[httpx.Response, httpx.Response]:
        transport = httpx.ASGITransport(build_app(view, HTTP, wait))
        async with httpx.AsyncClient(transport=transport, base_url="http://scall") as session:
            first = asyncio.create_task(session.post("/v1/budget", json={"budget": 1}, headers=BEARER))
            await asyncio.to_thread(asked.wait, 60)
            second = await session.post("/v1/budget", json={"budget": 2}, headers=BEARER)
            answered.set()
            return await first, second

    first, second = asyncio.run(ask_twice())
    assert first.status_code == 200
    assert "another change of the budget is under way" in detail_of(second, 409)


# State


def test_the_state_is_the_learners_own(ask: Ask, view: ReplayedView) -> None:
    state = ask("GET", "/v1/state").json()
    sides = view.sides()
    assert sides is not None
    assert state["status"] == as_json(view.current)
    assert state["sides"] == {name: as_json(side) for name, side in zip(("users", "items"), sides, strict=True)}
    assert state["silence_s"] == 0.2


def test_windows_are_those_closed_after_one(ask: Ask, view: ReplayedView) -> None:
    assert [window["index"] for window in ask("GET", "/v1/windows").json()] == [0, 1, 2, 3, 4, 5]
    newest = ask("GET", "/v1/windows?after=4").json()
    assert newest == [as_json(view.closed[-1])]
    assert ask("GET", "/v1/windows?after=5").json() == []


def test_metrics_are_mounted_and_count_the_requests(ask: Ask) -> None:
    ask("GET", "/v1/users/u/recommendations")
    ask("GET", "/v1/users/u/recommendations?n=0")
    ask("GET", "/nowhere")
    lines = ask("GET", "/metrics").text.splitlines()
    route = 'route="/v1/users/{user_id}/recommendations"'
    assert f'scall_http_requests_total{{method="GET",{route},status="200"}} 1.0' in lines
    assert f'scall_http_requests_total{{method="GET",{route},status="422"}} 1.0' in lines
    assert 'scall_http_requests_total{method="GET",route="none",status="404"} 1.0' in lines


def test_the_live_page_is_mounted(ask: Ask) -> None:
    page = ask("GET", "/")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
