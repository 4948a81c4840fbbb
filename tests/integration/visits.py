"""Visits to the live page of a service that is played: its view is a test's to change, all the rest is real."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.request import urlopen

import msgspec
import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Locator, expect

from stream.adapters.http.app import build_app
from stream.core.stats import WindowReport
from stream.service_settings import Http
from tests.adapters.http.views import ReplayedView
from tests.integration.browser import PATIENCE_MS

HURRY = "const later = setTimeout; window.setTimeout = (act, ms) => later(act, ms / 4)"
"""Lets a page ask four times as often."""
DESK = {"width": 1280, "height": 900}


class StagedView(ReplayedView):
    """A view whose status a test changes."""

    def change(self, **fields: Any) -> None:
        assert self.current is not None
        counts = msgspec.structs.replace(self.current.counts, **fields.pop("counts", {}))
        self.current = msgspec.structs.replace(self.current, counts=counts, written_s=time.time(), **fields)

    def close_window(self, **fields: Any) -> WindowReport:
        """Close one more window, like the last but for some fields."""
        assert self.current is not None
        last = self.closed[-1]
        window = msgspec.structs.replace(last, index=last.index + 1, **fields)
        self.closed = [*self.closed, window]
        self.change(num_windows=self.current.num_windows + 1)
        return window


class Service:
    """The service's HTTP side in a thread, to be stopped and started again at the same place."""

    def __init__(self, view: StagedView) -> None:
        self.view, self.port = view, 0
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(
            build_app(self.view, Http(), lambda _: None), log_config=None, timeout_graceful_shutdown=1
        )
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [listener]})
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def ask(self, path: str) -> Any:
        with urlopen(self.url + path, timeout=5) as answer:
            return json.load(answer)


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service(StagedView())
    try:
        yield service
    finally:
        service.stop()


class Visit:
    """A page that was opened, and what the browser said and asked for meanwhile."""

    def __init__(
        self, browser: Browser, service: Service, size: Any = None, is_hurried: bool = True, **options: Any
    ) -> None:
        self.context = browser.new_context(viewport=size or DESK, **options)
        if is_hurried:
            self.context.add_init_script(HURRY)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.set_default_timeout(PATIENCE_MS)
        self.page.goto(service.url)

    def _note(self, message: ConsoleMessage) -> None:
        self.said.append(message.text)

    def tile(self, heading: str) -> Locator:
        return self.page.locator(".tile").filter(has=self.page.get_by_role("heading", name=heading))

    def figure(self, title: str) -> Locator:
        return self.page.locator("figure").filter(has=self.page.get_by_role("heading", name=title, exact=True))

    def rows_of(self, fold: Locator) -> list[list[str]]:
        """Return the texts of the table in an element, unfolded if it was not."""
        if fold.locator("details[open], :scope[open]").count() == 0:
            fold.locator("summary").click()
        fold.locator("table").wait_for()
        rows: list[list[str]] = fold.locator("tbody").evaluate(
            "body => [...body.rows].map(row => [...row.cells].map(cell => cell.textContent))"
        )
        return rows

    def table(self, title: str) -> list[list[str]]:
        return self.rows_of(self.figure(title))

    def details(self, heading: str) -> list[list[str]]:
        summary = self.page.locator("summary").filter(has_text=heading)
        return self.rows_of(self.page.locator("#details details").filter(has=summary))

    def unfold(self) -> None:
        self.page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
        expect(self.page.locator("details[open] table")).to_have_count(self.page.locator("details:visible").count())


Open = Callable[..., Visit]


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Open]:
    visits: list[Visit] = []

    def visit(**options: Any) -> Visit:
        visits.append(Visit(browser, service, **options))
        visits[-1].page.locator(".tile").first.wait_for()
        return visits[-1]

    yield visit
    for opened in visits:
        opened.context.close()
