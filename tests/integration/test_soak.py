"""The quick form of the soak, and what shows that it would notice; the long form: ``make soak``."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.integration.broker import Broker
from tests.soak.soak import NO_DISK, Plan, Soak
from tests.soak.visitors import Account, Flooder, Reader, Visitor
from tests.soak.watch import Watch


def test_the_service_answers_learns_and_keeps_its_budget_through_trouble(broker: Broker, tmp_path: Path) -> None:
    outcome = Soak(broker, tmp_path, Plan(0.4, seed=3, rate=500, calm_share=0, faults=5), print).run()
    assert set(outcome.complaints) <= {NO_DISK}
    assert outcome.learnt == outcome.fed == 12_000
    assert outcome.looks > 0
    assert outcome.faults.keys() == {"kill", "kill answering", "change budget", "fill disk", "poison"}
    assert {("reader", "200"), ("flooder", "422"), ("flooder", "401")} <= outcome.account.outcomes.keys()


@contextmanager
def serving(status: int, body: bytes, kind: str = "application/json") -> Iterator[int]:
    """Answer everything alike; yields the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the library's name

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def complaints(kind: type[Visitor], port: int) -> list[str]:
    account = Account()
    visitor = kind(port, account, seed=1, is_away=lambda _: False)
    thread = threading.Thread(target=visitor.run)
    thread.start()
    while not (account.complaints or account.outcomes):
        thread.join(0.05)
    visitor.is_over.set()
    thread.join()
    return account.complaints


def test_a_reader_complains_of_errors_wrong_order_and_silence() -> None:
    with serving(500, b"{}") as port:
        assert "was answered 500" in complaints(Reader, port)[0]
    with serving(200, json.dumps({"items": [{"item": "a", "score": 1}, {"item": "b", "score": 2}]}).encode()) as port:
        assert "not the best ten" in complaints(Reader, port)[0]
    assert "neither answered nor refused" in complaints(Reader, port)[0]


def test_a_flooder_complains_of_a_server_that_breaks() -> None:
    with serving(500, b"{}") as port:
        assert "was answered" in complaints(Flooder, port)[0]


def test_the_watch_complains_of_a_ledger_over_the_budget() -> None:
    status = {"ledger": [{"bytes": 2}], "budget_bytes": 1, "counts": {"violations": 0}}
    with serving(200, json.dumps({"status": status}).encode()) as port:
        watch = Watch(port)
        watch.begin_life(0)
        watch.start()
        while not watch.complaints:
            watch.join(0.05)
        watch.is_over.set()
        watch.join()
    assert watch.complaints[0] == "ledger 2 of 1, 0 violations"
