"""The page's files as they are sent: types, caching, and a policy under which nothing foreign runs."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from stream.adapters.http import page
from stream.adapters.page_style import STYLE

FOLDER = Path(page.__file__).parent / "live"
SCRIPTS = sorted(FOLDER.glob("*.js"))
TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


def ask(path: str, method: str = "GET", **headers: str) -> httpx.Response:
    async def answer() -> httpx.Response:
        app = FastAPI()
        app.include_router(page.router())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(answer())


def test_the_page_is_answered_at_the_root() -> None:
    answer = ask("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.content == (FOLDER / "page.html").read_bytes()


def test_each_file_comes_with_its_type() -> None:
    for file in FOLDER.iterdir():
        if file.suffix != ".html":
            answer = ask(f"/page/{file.name}")
            assert (answer.status_code, answer.headers["content-type"]) == (200, TYPES[file.suffix[1:]])
            assert answer.content.endswith(file.read_bytes())


def test_the_style_begins_with_the_reports() -> None:
    assert ask("/page/page.css").text.startswith(STYLE)


def test_nothing_else_is_answered() -> None:
    for path in ("/page/", "/page/missing.js", "/page/..%2Fpage.py", "/page/__init__.py"):
        assert ask(path).status_code == 404


def test_only_its_own_scripts_and_styles_may_run() -> None:
    policy = dict(part.split(" ", 1) for part in ask("/").headers["content-security-policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert ask("/").headers["x-content-type-options"] == "nosniff"


def test_what_the_browser_has_already_is_not_sent_again() -> None:
    for path in ("/", "/page/page.js"):
        tag = ask(path).headers["etag"]
        again = ask(path, **{"If-None-Match": f'"other", W/{tag}'})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert ask(path, **{"If-None-Match": '"other"'}).status_code == 200
    assert ask("/").headers["cache-control"] == "no-cache"


def test_each_content_has_a_tag_of_its_own() -> None:
    tags = [asset.headers["ETag"] for asset in page.assets().values()]
    assert len(tags) == len(set(tags)) == len(list(FOLDER.iterdir()))


def test_the_page_refers_to_nothing_outside_itself() -> None:
    for file in FOLDER.iterdir():
        foreign = re.findall(r"(?:https?:)?//[\w.]+\.\w+[^\s\"']*", file.read_text())
        assert set(foreign) <= {"http://www.w3.org/2000/svg"}, file.name
    markup = (FOLDER / "page.html").read_text()
    assert set(re.findall(r'(?:src|href)="([^#"][^"]*)"', markup)) == {
        "page/page.js",
        "page/page.css",
        "page/icon.svg",
    }


def test_text_never_becomes_markup() -> None:
    sinks = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function")
    assert [file.name for file in SCRIPTS if sinks.search(file.read_text())] == []


def test_scripts_import_only_what_is_there_and_use_it() -> None:
    for file in SCRIPTS:
        text = file.read_text()
        for names, origin in re.findall(r'import \{([^}]*)\} from "\./([\w.]+)";', text):
            exported = set(
                re.findall(r"export (?:async )?(?:function|const|class) (\w+)", (FOLDER / origin).read_text())
            )
            imported = {name.strip() for name in names.split(",") if name.strip()}
            assert imported <= exported, f"{file.name} imports {imported - exported} from {origin}"
            unused = {name for name in imported if len(re.findall(rf"\b{name}\b", text)) < 2}
            assert not unused, f"{file.name} does not use {unused}"


def test_scripts_stay_short() -> None:
    for file in FOLDER.iterdir():
        lines = file.read_text().splitlines()
        assert len(lines) <= 400, file.name
        assert max(map(len, lines)) <= 120 or file.suffix == ".svg", file.name


@pytest.mark.skipif(shutil.which("node") is None, reason="needs Node.js: apt-get install nodejs")
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_parses(script: Path) -> None:
    command = ["node", "--input-type=module", "--check"]
    outcome = subprocess.run(command, input=script.read_bytes(), capture_output=True, timeout=30, check=False)
    assert outcome.returncode == 0, outcome.stderr.decode()
