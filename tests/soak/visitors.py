"""Who asks the service for things: in good faith, in bad faith, and slowly. Each keeps account of what came of it."""

import http.client
import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, Final
from urllib.parse import quote

_TIMEOUT_S: Final = 20.0
_REFUSALS: Final = frozenset({400, 401, 403, 404, 405, 409, 413, 414, 415, 422, 429, 431, 503})
HOST: Final = "127.0.0.1"


class Account:
    """What came of all requests, by visitor and outcome; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.outcomes: Counter[tuple[str, str]] = Counter()
        self.complaints: list[str] = []
        self.latencies_s: list[float] = []

    def note(self, visitor: str, outcome: str) -> None:
        with self._lock:
            self.outcomes[visitor, outcome] += 1

    def time(self, seconds: float) -> None:
        with self._lock:
            self.latencies_s.append(seconds)

    def complain(self, text: str) -> None:
        with self._lock:
            self.complaints.append(text)


class Visitor(threading.Thread):
    """Asks until told to stop. ``is_away(since_s)`` says whether the service was killed or restarted since."""

    name_of: str = ""

    def __init__(self, port: int, account: Account, seed: int, is_away: Callable[[float], bool]) -> None:
        super().__init__(name=self.name_of, daemon=True)
        self.port = port
        self.account = account
        self.random = random.Random(seed)
        self.is_over = threading.Event()
        self._is_away = is_away

    def run(self) -> None:
        while not self.is_over.is_set():
            begin_s = time.monotonic()
            try:
                self.visit()
            except (OSError, http.client.HTTPException) as error:
                if self._is_away(begin_s):
                    self.account.note(self.name_of, "away: the service had been killed")
                else:
                    self.account.complain(f"{self.name_of}: neither answered nor refused: {error!r}")
            self.is_over.wait(self.pause_s())

    def visit(self) -> None:
        raise NotImplementedError

    def pause_s(self) -> float:
        return 0.05

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any]:
        """Return status and decoded answer; whatever is no JSON, or no answer in good form, is a complaint."""
        begin_s = time.monotonic()
        with closing(http.client.HTTPConnection(HOST, self.port, timeout=_TIMEOUT_S)) as connection:
            connection.request(method, path, body, {name.replace("_", "-"): text for name, text in headers.items()})
            answer = connection.getresponse()
            content, kind = answer.read(), answer.headers.get_content_type()
        self.account.time(time.monotonic() - begin_s)
        if answer.status in _REFUSALS and kind in ("application/problem+json", "application/json"):
            return answer.status, json.loads(content)
        if answer.status not in (200, 202):
            text = f"{self.name_of}: {method} {path[:80]} was answered {answer.status} {kind} {content[:200]!r}"
            self.account.complain(text)
        return answer.status, json.loads(content) if kind.endswith("json") else content


class Reader(Visitor):
    """Asks for recommendations, similar items, the state, metrics and the page, as applications do."""

    name_of = "reader"

    def visit(self) -> None:
        for status in self._answers():
            self.account.note(self.name_of, str(status))

    def _answers(self) -> Iterator[int]:
        user = quote(f"u{self.random.randrange(5000)}", safe="")
        status, answer = self.ask("GET", f"/v1/users/{user}/recommendations?n=10")
        yield status
        if status == 200:
            scores = [item["score"] for item in answer["items"]]
            if scores != sorted(scores, reverse=True) or len(scores) > 10:
                self.account.complain(f"reader: not the best ten: {scores}")
            if answer["items"]:
                yield self.ask("GET", f"/v1/items/{quote(answer['items'][0]['item'], safe='')}/similar?n=5")[0]
        turn = self.random.randrange(12)
        if turn < 3:
            yield self.ask("GET", ("/metrics", "/live", "/v1/state")[turn])[0]
        elif turn == 3:
            yield self.ask("GET", "/")[0]
        elif turn == 4:
            body = json.dumps({"users": [f"u{self.random.randrange(5000)}" for _ in range(20)], "n": 5}).encode()
            yield self.ask("POST", "/v1/recommendations", body, content_type="application/json")[0]


class Flooder(Visitor):
    """Sends what no honest client would, as fast as it can for a while, then rests."""

    name_of = "flooder"

    def visit(self) -> None:
        for _ in range(50):
            if self.is_over.is_set():
                return
            self._send(self.random.choice(self._kinds()))

    def pause_s(self) -> float:
        return 0.5

    def _kinds(self) -> list[bytes]:
        noise = self.random.randbytes(200)
        return [
            b"GET /v1/users/x/recommendations?n=-1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /v1/users/%ff%fe/recommendations?n=1e9 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"GET /nothing/here HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            b"POST /v1/budget HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer wrong\r\nContent-Length: 2\r\n"
            b"Connection: close\r\n\r\n{}",
            b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
            b"Connection: close\r\n\r\n{\"users\":",
            b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999\r\nConnection: close\r\n\r\n" + noise,
            b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
            b"BREW /pot HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            noise + b"\r\n\r\n",
        ]  # fmt: skip

    def _send(self, content: bytes) -> None:
        with closing(socket.create_connection((HOST, self.port), timeout=_TIMEOUT_S)) as connection:
            try:
                connection.sendall(content)
                connection.shutdown(socket.SHUT_WR)
            except OSError:
                # Refused before it was all sent: the answer says so, where the system still has it.
                pass
            try:
                answer = connection.recv(65536)
            except ConnectionResetError:
                answer = b""
        status = answer[9:12].decode(errors="replace")
        if answer.startswith(b"HTTP/1.1 ") and (status == "200" or int(status) in _REFUSALS):
            self.account.note(self.name_of, status)
        elif not answer:
            self.account.note(self.name_of, "connection closed")
        else:
            self.account.complain(f"flooder: {content[:60]!r} was answered {answer[:200]!r}")


class Dripper(Visitor):
    """Opens connections and sends or reads a byte now and then; the service has to cut them off."""

    name_of = "dripper"
    patience_s = 120.0

    def visit(self) -> None:
        with closing(socket.create_connection((HOST, self.port), timeout=_TIMEOUT_S)) as connection:
            request = b"GET /v1/state HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 10_000
            begin_s, sent = time.monotonic(), 0
            connection.settimeout(0.5)
            while not self.is_over.is_set():
                try:
                    connection.send(request[sent : sent + 1])
                    sent += 1
                    if not connection.recv(4096):
                        break
                except TimeoutError:
                    pass
                except OSError:
                    break
                if time.monotonic() - begin_s > self.patience_s:
                    self.account.complain(f"dripper: a connection that drips is kept for {self.patience_s:.0f} s")
                    return
        self.account.note(self.name_of, "cut off")
