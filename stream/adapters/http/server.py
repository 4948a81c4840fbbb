"""The server: uvicorn, with patience that ends. Slow clients are cut off, so that they cannot use up connections."""

import asyncio
import errno
import logging
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from ipaddress import ip_address
from threading import Event
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from stream.adapters.http.limits import FREE_PATHS
from stream.adapters.http.problems import MEDIA_TYPE, ProblemError, encode_problem
from stream.errors import UsageError
from stream.service_settings import Http

_REQUEST_S: Final = 10.0
"""From a connection, or a request's first byte, to the last byte of the request."""
_READ_S: Final = 20.0
"""How long a client may take to read what is waiting for it."""
_IDLE_S: Final = 5.0
"""Between two requests on a connection."""
_END_S: Final = 2.0
"""How long requests under way may take at the end."""
_TAKEN_S: Final = 3.0
"""How long a port that is taken is waited for."""
_WAIT_S: Final = 0.1
_MAX_HEAD_BYTES: Final = 32 * 2**10
_SPARE: Final = 2
"""Connections over the limit are told so, up to this many times the limit; more are dropped."""
_SWITCH_S: Final = 0.0005
"""How long a thread may keep the interpreter from the others: requests are short."""
_LOG: Final = logging.getLogger("scall")


def serve(app: ASGIApp, http: Http, on_ready: Callable[[int], object], is_over: Event) -> None:
    """Answer requests until ``is_over``; ``on_ready`` is called with the port once it listens.

    Signals are left to whoever else handles them.

    Raises:
        UsageError: nobody can listen there.

    """
    if http.token is None and not _is_loopback(http.host):
        _LOG.warning(
            "http.host %s may be reached from other machines, and there is no http.token: whoever reaches it may read "
            "everything; bind to 127.0.0.1, or have a proxy before it that asks who is there",
            http.host,
        )
    config = uvicorn.Config(
        app,
        http=_connection_type(http.max_connections),
        loop="uvloop",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.ERROR,
        access_log=False,
        server_header=False,
        # Whoever asks may say anything of where it comes from.
        proxy_headers=False,
        limit_concurrency=http.max_connections,
        timeout_keep_alive=_IDLE_S,  # type: ignore[arg-type]
        timeout_graceful_shutdown=_END_S,  # type: ignore[arg-type]
    )
    logging.getLogger("uvicorn").parent = _LOG
    sys.setswitchinterval(_SWITCH_S)
    with _listen(http) as listener:
        _Server(config, lambda: on_ready(listener.getsockname()[1]), is_over).run([listener])


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listen(http: Http) -> socket.socket:
    """Return a socket that listens; what a service that was killed has left may hold the port for a moment."""
    until_s = time.monotonic() + _TAKEN_S
    while True:
        try:
            return socket.create_server(
                (http.host, http.port or 0),
                family=socket.AF_INET6 if ":" in http.host else socket.AF_INET,
                dualstack_ipv6=http.host == "::" and socket.has_dualstack_ipv6(),
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < until_s:
                time.sleep(_WAIT_S)
                continue
            why = (error.strerror or str(error)).partition(" (")[0].lower()
            remedy = "give a port that is free, and an address of this machine"
            raise UsageError(f"http.port {http.port} on http.host {http.host}: {why}; {remedy}") from None


class _Server(uvicorn.Server):
    """Ends when it is told, not by signals."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], object], is_over: Event) -> None:
        super().__init__(config)
        self._on_ready = on_ready
        self._is_over = is_over

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def main_loop(self) -> None:
        self._on_ready()
        await super().main_loop()

    async def on_tick(self, counter: int) -> bool:
        return await super().on_tick(counter) or self._is_over.is_set()


def _connection_type(max_connections: int) -> type[HttpToolsProtocol]:
    """Return connections of which so many are served at a time."""

    class Limited(_Connection):
        most = _SPARE * max_connections

    return Limited


class _Connection(HttpToolsProtocol):
    """A connection that a client cannot hold on to by being slow, nor fill memory through."""

    most: int
    """More connections are dropped without a word."""
    _timer: asyncio.TimerHandle | None = None
    """Until when the request has to be here."""
    _reading: asyncio.TimerHandle | None = None
    """Until when what was sent has to be read."""
    _is_in_head = False
    _num_head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.most:
            transport.abort()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._timer, self._reading, self.timeout_keep_alive_task):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Say no to closing at once, while a request that came whole is being answered: the client may still read."""
        is_owed = self.cycle is not None and not self.cycle.response_complete and self._timer is None
        if is_owed:
            self.cycle.keep_alive = False
        return is_owed

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_in_head:
            self._num_head_bytes += len(data)
            if self._num_head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
                self._refuse(431, f"the request's head is longer than {_MAX_HEAD_BYTES} bytes: send less")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head, self._num_head_bytes = True, 0
        self._await_request()

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._num_head_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._await_reader()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._reading is not None and not self.transport.is_closing():
            self._reading.cancel()
            self._reading = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._await_reader()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the library's words
        self._refuse(400, "this is no HTTP request: check how the client writes it")

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._num_head_bytes > _MAX_HEAD_BYTES:
            app = ProblemError(
                431, f"the request's head is longer than {_MAX_HEAD_BYTES} bytes: send less", {"Connection": "close"}
            ).response()
        elif app is not self.app:
            app = _busy if cycle.scope["path"] not in FREE_PATHS else self.app
        super()._start_asgi_task(cycle, app)

    def _await_request(self) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(_REQUEST_S, self._give_up)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self._refuse(408, f"the request did not come within {_REQUEST_S:g} s: send it faster")

    def _refuse(self, status: int, detail: str) -> None:
        body = encode_problem(status, detail)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: {MEDIA_TYPE}\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self._stop_waiting()
        self.transport.write(head.encode() + body)
        self.transport.close()
        self._await_reader()

    def _await_reader(self) -> None:
        if self._reading is None:
            self._reading = self.loop.call_later(_READ_S, self.transport.abort)


async def _busy(scope: Scope, receive: Receive, send: Send) -> None:
    text = "there are too many connections (http.max_connections): ask again later"
    refusal = ProblemError(503, text, {"Retry-After": "1", "Connection": "close"})
    await refusal.response()(scope, receive, send)
