"""A real Chromium for tests, without a window."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.integration.debian import program_or_skip

PATIENCE_MS = 20_000
"""How long to wait for what a page is expected to show, on a machine that is busy."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = program_or_skip("chromium", "chromium")
    expect.set_options(timeout=PATIENCE_MS)
    # Its sandbox needs rights that a container seldom has, and only pages of our own are opened.
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()
