"""The server on a real socket: slow clients, oversized requests and floods, and that others are served meanwhile."""

import json
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest

from stream.adapters.http import server
from stream.adapters.http.app import build_app
from stream.adapters.http.server import serve
from stream.errors import UsageError
from stream.service_settings import Http
from tests.adapters.http.views import ReplayedView

HTTP = Http(port=0, token="0123456789abcdef", max_connections=8)
SHORT_S = 0.3
PATIENCE_S = 60.0
"""Long enough for whatever is to come; nothing depends on it while all is well."""


@contextmanager
def serving(http: Http = HTTP, app: Any = None) -> Iterator[int]:
    """Serve the API over a small world; yields the port."""
    ports: list[int] = []
    is_ready, is_over = Event(), Event()

    def note(port: int) -> None:
        ports.append(port)
        is_ready.set()

    app = app or build_app(ReplayedView(), http, lambda _: None)
    thread = Thread(target=serve, args=(app, http, note, is_over))
    thread.start()
    try:
        assert is_ready.wait(PATIENCE_S)
        yield ports[0]
    finally:
        is_over.set()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


@pytest.fixture
def port() -> Iterator[int]:
    with serving() as port:
        yield port


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return what serves with time limits that a test can wait for."""
    for name in ("_REQUEST_S", "_READ_S", "_IDLE_S"):
        monkeypatch.setattr(server, name, SHORT_S)
    return serving


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)


def read_all(client: socket.socket) -> bytes:
    """Read until the other end closes, or cuts off."""
    got = b""
    try:
        while piece := client.recv(65536):
            got += piece
    except ConnectionResetError:
        pass
    return got


def problem_in(answer: bytes, status: int) -> str:
    """Return the detail of a problem, and check its form."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"content-type: application/problem+json" in head.lower()
    problem = json.loads(body)
    assert problem["status"] == status
    detail: str = problem["detail"]
    return detail


def is_served(port: int) -> bool:
    with urlopen(f"http://127.0.0.1:{port}/v1/users/u/recommendations?n=1", timeout=PATIENCE_S) as answer:
        return bool(answer.status == 200)


# Clients that are slow, or done


def test_a_client_that_has_said_all_it_will_say_is_answered(port: int) -> None:
    with connect(port) as client:
        # The token is checked in a thread, so the end of what is sent is seen before there is an answer.
        client.sendall(b"POST /v1/budget HTTP/1.1\r\nHost: scall\r\nContent-Length: 2\r\n\r\n{}")
        client.shutdown(socket.SHUT_WR)
        assert "this needs the service's token" in problem_in(read_all(client), 401)


def test_a_client_that_ends_within_its_request_is_let_go(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"POST /v1/budget HTTP/1.1\r\nHost: scall\r\nContent-Length: 2\r\n\r\n{")
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /v1/users/u/recommendations HTTP/1.1\r\nX: y",
        b"POST /v1/recommendations HTTP/1.1\r\nHost: scall\r\nContent-Length: 50\r\n\r\n{",
    ],
    ids=["nothing", "half a head", "half a body"],
)
def test_a_request_that_does_not_come_is_cut_off(impatient: Any, sent: bytes) -> None:
    with impatient() as port, connect(port) as client:
        client.sendall(sent)
        assert "the request did not come within" in problem_in(read_all(client), 408)
        assert is_served(port)


def test_a_request_that_drips_in_is_cut_off_all_the_same(impatient: Any) -> None:
    with impatient() as port, connect(port) as client:
        client.settimeout(SHORT_S / 20)
        answer = b""
        client.sendall(b"GET /live HTTP/1.1\r\nX: ")
        while not answer:
            try:
                client.sendall(b"x")
                answer = client.recv(4096)
            except TimeoutError:
                continue
        assert problem_in(answer, 408)


def test_a_connection_that_is_idle_is_closed(impatient: Any) -> None:
    with impatient() as port, connect(port) as client:
        client.sendall(b"GET /live HTTP/1.1\r\nHost: scall\r\n\r\n")
        assert read_all(client).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_does_not_read_is_cut_off(impatient: Any) -> None:
    is_over = Event()

    async def app(_: Any, __: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": b"x" * 2**20, "more_body": True})
        is_over.set()

    with impatient(app=app) as port, connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: scall\r\n\r\n")
        # All this is taken only once nobody waits any longer for it to be read.
        assert is_over.wait(PATIENCE_S)


def test_a_head_without_end_is_refused(port: int) -> None:
    for head in (
        b"GET /" + b"x" * 40_000,
        b"GET / HTTP/1.1\r\nX: " + b"x" * 40_000,
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 8000,
    ):
        with connect(port) as client:
            client.sendall(head)
            assert problem_in(read_all(client), 431) == "the request's head is longer than 32768 bytes: send less"
        with connect(port) as client:
            client.sendall(head + (b" HTTP/1.1\r\n\r\n" if b"HTTP" not in head else b"\r\n\r\n"))
            assert problem_in(read_all(client), 431)
    assert is_served(port)


def test_a_long_body_after_a_short_head_is_no_long_head(port: int) -> None:
    body = json.dumps({"users": ["x" * 200] * 100, "n": 1}).encode() + b" " * 200_000
    with connect(port) as client:
        head = b"POST /v1/recommendations HTTP/1.1\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        client.sendall(head + body)
        assert read_all(client).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01", b"HELLO\r\n\r\n", b"GET / HTTP/9\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n"]
)
def test_what_is_no_http_is_told_so(port: int, sent: bytes) -> None:
    with connect(port) as client:
        client.sendall(sent)
        assert problem_in(read_all(client), 400)
    assert is_served(port)


def test_a_body_announced_as_too_long_is_not_waited_for(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"POST /v1/recommendations HTTP/1.1\r\nHost: scall\r\nContent-Length: 99999999\r\n\r\n")
        assert "the body is longer than" in problem_in(read_all(client), 413)


# Many clients


def test_connections_over_the_limit_are_told_so_and_health_is_not_refused(port: int) -> None:
    clients = [connect(port) for _ in range(HTTP.max_connections)]
    try:
        with connect(port) as client:
            client.sendall(b"GET /v1/state HTTP/1.1\r\nHost: scall\r\n\r\n")
            assert "http.max_connections" in problem_in(read_all(client), 503)
        with urlopen(f"http://127.0.0.1:{port}/live", timeout=PATIENCE_S) as answer:
            assert answer.status == 200
    finally:
        for client in clients:
            client.close()


def test_far_more_connections_than_the_limit_are_dropped_and_service_goes_on(port: int) -> None:
    clients = [connect(port) for _ in range(10 * HTTP.max_connections)]
    dropped = 0
    for client in clients[2 * HTTP.max_connections :]:
        assert read_all(client) == b""
        dropped += 1
    assert dropped == 8 * HTTP.max_connections
    for client in clients:
        client.close()
    while True:
        with connect(port) as client:
            client.sendall(b"GET /v1/state HTTP/1.1\r\nHost: scall\r\nConnection: close\r\n\r\n")
            # The server hears one by one that the others are gone.
            if read_all(client).startswith(b"HTTP/1.1 200 "):
                break


def test_a_flood_of_requests_is_refused_and_another_path_is_served() -> None:
    http = msgspec.structs.replace(HTTP, max_requests_per_second=5)
    with serving(http) as port, connect(port) as client:
        client.sendall(b"GET /v1/users/u/recommendations?n=1 HTTP/1.1\r\nHost: scall\r\n\r\n" * 40)
        client.sendall(b"GET /live HTTP/1.1\r\nHost: scall\r\nConnection: close\r\n\r\n")
        answers = read_all(client)
    assert answers.count(b"HTTP/1.1 429 ") > 20
    assert answers.count(b"HTTP/1.1 ") == 41
    assert b'"ok":true' in answers


# Beginning and end


def test_a_port_that_is_taken_is_told(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_TAKEN_S", SHORT_S)
    with pytest.raises(
        UsageError, match=rf"^http\.port {port} on http\.host 127\.0\.0\.1: address already in use; give a"
    ):
        serve(None, msgspec.structs.replace(HTTP, port=port), print, Event())  # type: ignore[arg-type]


def test_a_port_that_is_given_up_in_time_is_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        waiting: list[socket.socket] = []
        thread = Thread(target=lambda: waiting.append(server._listen(msgspec.structs.replace(HTTP, port=port))))
        thread.start()
        thread.join(SHORT_S)
        assert not waiting
    thread.join(PATIENCE_S)
    assert waiting[0].getsockname()[1] == port
    waiting[0].close()


def test_a_host_that_is_not_of_this_machine_is_told() -> None:
    with pytest.raises(UsageError, match=r"^http\.port 0 on http\.host 192\.0\.2\.1: .*; give a port that is free"):
        serve(None, msgspec.structs.replace(HTTP, host="192.0.2.1"), print, Event())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("host", "token", "warns"),
    [("127.0.0.1", None, False), ("localhost", None, False), ("0.0.0.0", HTTP.token, False), ("0.0.0.0", None, True)],
)
def test_a_service_open_to_all_is_warned_of(
    caplog: pytest.LogCaptureFixture, host: str, token: str | None, warns: bool
) -> None:
    with caplog.at_level(logging.INFO), serving(msgspec.structs.replace(HTTP, host=host, token=token)) as port:
        assert is_served(port)
    assert [record.name for record in caplog.records if "may be reached" in record.getMessage()] == ["scall"] * warns
    assert all(record.name == "scall" for record in caplog.records)


def test_an_answer_under_way_is_given_before_the_end() -> None:
    begun = Event()

    async def app(_: Any, receive: Any, send: Any) -> None:
        begun.set()
        message = await receive()
        while message["more_body"]:
            message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})

    with serving(app=app) as port:
        client = connect(port)
        client.sendall(b"POST / HTTP/1.1\r\nHost: scall\r\nContent-Length: 2\r\n\r\nx")
        assert begun.wait(PATIENCE_S)
        finishing = Thread(target=lambda: client.sendall(b"y"))
        finishing.start()
    finishing.join()
    assert read_all(client).endswith(b"done")
    client.close()
