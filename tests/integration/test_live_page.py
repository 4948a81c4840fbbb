"""The live page in a real Chromium, against the service's own API over a model that has learnt a small world."""

import time

import pytest
from playwright.sync_api import Browser, Error, expect

from stream.adapters import units
from stream.core.status import PartitionStatus
from tests.integration.browser import browser as browser
from tests.integration.visits import Open, Service, Visit
from tests.integration.visits import service as service
from tests.integration.visits import visit as visit

HOSTILE = "<img src=x onerror=\"document.title='hacked'\"><script>document.title='hacked'</script>" + "x" * 150
PHONE = {"width": 390, "height": 844}


def test_it_loads_without_a_complaint_and_asks_only_its_own_origin(visit: Open, service: Service) -> None:
    opened = visit()
    opened.unfold()
    assert opened.said == []
    assert {"", "page/page.js", "page/page.css", "v1/state", "live", "ready"} <= {
        url.removeprefix(service.url) for url in opened.asked
    }
    assert all(url.startswith(service.url) for url in opened.asked)


def test_every_figure_is_drawn_and_told_in_words(visit: Open) -> None:
    opened = visit()
    figures = opened.page.locator("figure")
    assert figures.count() == 15
    for figure in figures.all():
        assert figure.locator("svg path, svg rect").count() > 0, figure.inner_text()
        assert len(figure.locator("svg").get_attribute("aria-label") or "") > 30
        assert len(figure.locator("figcaption").inner_text()) > 20


def test_tiles_show_what_the_api_says(visit: Open, service: Service) -> None:
    opened = visit()
    status, window = service.ask("v1/state")["status"], service.ask("v1/windows")[-1]
    quality, counts = window["quality"], status["counts"]
    ratio = units.ratio_text(quality["recall"], quality["popularity_recall"])
    seen = {
        "Health": ["Ready", "live"],
        "Memory under the budget": [
            units.bytes_text(sum(line["bytes"] for line in status["ledger"])),
            f"of {units.bytes_text(status['budget_bytes'])}",
            "0 violations",
            units.bytes_text(status["resident_bytes"]),
        ],
        "Recall@20": [
            units.quality_text(quality["recall"]),
            f"{ratio} popularity",
            units.quality_text(quality["ndcg"]),
        ],
        "Events learnt": [units.count_text(status["events_per_second"]), units.count_text(counts["learnt"])],
        "Records waiting": ["0", "in 2 partitions"],
        "Users and items held": [
            *(units.count_text(status[name]) for name in ("num_users", "num_items")),
            units.plural(counts["evictions"], "eviction"),
            units.plural(counts["drift_alarms"], "drift alarm"),
        ],
        "Dead letters": [units.count_text(counts["dead_letters"]), "malformed row"],
        "Last checkpoint": [units.bytes_text(status["checkpoint"]["bytes"]), "s ago"],
    }
    for heading, texts in seen.items():
        shown = opened.tile(heading).inner_text().replace("\n", " ")
        assert [text for text in texts if text not in shown] == [], f"{heading}: {shown}"
    assert opened.page.locator("h1").inner_text() == status["source"]


def exact(count: float) -> str:
    return f"{count:,}"


def test_tables_beside_the_drawings_hold_what_the_api_says(visit: Open, service: Service) -> None:
    opened = visit()
    state, windows = service.ask("v1/state"), service.ask("v1/windows")
    status, sides = state["status"], state["sides"]
    ledger = [[line["name"], exact(line["bytes"])] for line in status["ledger"]]
    assert [row[:2] for row in opened.table("The budget, array by array")[: len(ledger)]] == ledger
    assert [row[:2] for row in opened.table("Records that could not be used")] == [
        [reason, exact(count)] for reason, count in status["dead_letter_reasons"].items()
    ]
    assert opened.table("Records waiting, by partition") == [
        [f"{p['topic']}/{p['partition']}", exact(p["lag"]), exact(p["offset"])] for p in status["partitions"]
    ]
    for title, side in (("Users' sizes", sides["users"]), ("Items' sizes", sides["items"])):
        # Of two roundings that are as near, scripts take the greater one and Python the even one.
        shown = [units.count_text(size * (1 + 1e-12)) for size in side["size_by_rank"]]
        frequencies = [units.count_text(frequency * (1 + 1e-12)) for frequency in side["frequency_by_rank"]]
        assert [row[1:] for row in opened.table(title)] == [list(pair) for pair in zip(shown, frequencies, strict=True)]
    for title, name in (("Recall@20", "recall"), ("NDCG@20", "ndcg")):
        assert [row[:3] for row in opened.table(title)] == [
            [str(w["index"]), *(units.quality_text(w["quality"][prefix + name]) for prefix in ("", "popularity_"))]
            for w in reversed(windows)
        ]
    assert [row[1:] for row in opened.table("Users and items held")] == [
        [exact(w["num_users"]), exact(w["num_items"]), exact(w["counts"]["evictions"])] for w in reversed(windows)
    ]
    assert [row[1] for row in opened.table("Action: the users' share")] == [
        units.share_text(w["decision"]["users_share"]) for w in reversed(windows)
    ]


def test_details_hold_what_the_api_says(visit: Open, service: Service) -> None:
    opened = visit()
    status = service.ask("v1/state")["status"]
    assert opened.details("Counts") == [
        [name.replace("_", " "), exact(count)] for name, count in status["counts"].items()
    ]
    assert opened.details("Guard trips") == [[name, exact(count)] for name, count in status["guard_trips"].items()]
    versions = dict(row for row in opened.details("Service and versions") if row[0].startswith("version of"))
    assert versions == {f"version of {name}": version for name, version in status["versions"].items()}
    assert {row[0]: row[1] for row in opened.details("Durations")} == {
        name: exact(sum(spent["counts"])) for name, spent in status["durations"].items()
    }
    assert len(opened.details("Health checks")) >= 2


def test_it_writes_figures_as_the_report_does(visit: Open) -> None:
    values = [0.0, 0.0412, 0.31, 0.9934, 3.21, 9.99, 9.996, 61.2, 99.96, 250.4, 999.4, 999.6, 7_500, 61_234, 1_000_209]
    values += [1023, 2**20, 8_321_499, 3.7e9, 5e12, 7.7e15]
    pairs = {
        "bytesText": units.bytes_text,
        "countText": units.count_text,
        "numberText": units.number_text,
        "qualityText": units.quality_text,
        "secondsText": units.seconds_text,
        "shareText": units.share_text,
    }
    page = visit().page
    for name, of in pairs.items():
        script = "async ([name, values]) => values.map((await import('/page/units.js'))[name])"
        plain = [value for value in values if name != "numberText" or value < 1e6]
        assert page.evaluate(script, [name, plain]) == [of(value) for value in plain]


def test_it_follows_what_changes(visit: Open, service: Service) -> None:
    opened = visit(is_hurried=False)
    table = opened.figure("Recall@20")
    before = len(opened.rows_of(table))
    service.view.change(
        events_per_second=98_765.0, partitions=[PartitionStatus("clicks", 0, 5, 4321)], counts={"violations": 2}
    )
    expect(opened.tile("Events learnt")).to_contain_text("98.8k")
    expect(opened.tile("Records waiting")).to_contain_text("4.32k")
    expect(opened.page.locator("#chips")).to_contain_text("2 budget violations")
    window = service.view.close_window()
    expect(table.locator("tbody tr")).to_have_count(before + 1)
    assert opened.rows_of(table)[0][0] == str(window.index)


def test_windows_of_a_service_that_started_again_are_asked_for_anew(visit: Open, service: Service) -> None:
    opened = visit()
    table = opened.figure("Recall@20")
    assert len(opened.rows_of(table)) == len(service.view.closed) > 1
    service.view.closed = service.view.closed[:1]
    service.view.change(started_s=time.time(), num_windows=1)
    expect(table.locator("tbody tr")).to_have_count(1)


def test_it_fits_a_phone(visit: Open, service: Service) -> None:
    service.view.change(source=HOSTILE, dead_letter_reasons={HOSTILE: 3}, policy=HOSTILE)
    for width in (PHONE, {"width": 320, "height": 640}):
        opened = visit(size=width)
        opened.unfold()
        widths = opened.page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
        assert widths == [width["width"], width["width"]]


def test_text_from_outside_stays_text(visit: Open, service: Service) -> None:
    service.view.change(
        source=HOSTILE,
        policy=HOSTILE,
        versions={HOSTILE: HOSTILE},
        dead_letter_reasons={HOSTILE: 5},
        guard_trips={HOSTILE: 1},
        partitions=[PartitionStatus(HOSTILE, 0, 7, 9)],
    )
    opened = visit()
    opened.unfold()
    assert opened.page.locator("h1").inner_text() == HOSTILE
    assert opened.table("Records that could not be used")[0][:2] == [HOSTILE, "5"]
    assert opened.details("Service and versions")[-1] == [f"version of {HOSTILE}", HOSTILE]
    assert opened.page.locator("body img, body script").count() == 0
    assert opened.page.title() == f"{HOSTILE} · scall-stream"
    assert opened.said == []


def test_markup_from_outside_could_not_be_put_in_even_by_mistake(visit: Open) -> None:
    page = visit().page
    for script, refusal in (
        ("document.body.insertAdjacentHTML('beforeend', '<b>bold</b>')", "TrustedHTML"),
        ("document.body.setAttribute('onclick', 'document.title = `hacked`')", "TrustedScript"),
        ("document.createElement('script').src = 'page/page.js'", "TrustedScriptURL"),
    ):
        with pytest.raises(Error, match=refusal):
            page.evaluate(script)


CONTRASTS = """() => {
  const channels = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const over = (top, below) => top.rgb.map((value, i) => value * top.a + below[i] * (1 - top.a));
  const ground = (node) => {
    const layers = [];
    for (let at = node; at; at = at.parentElement) layers.push(channels(getComputedStyle(at).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const light = (rgb) => {
    const [r, g, b] = rgb.map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  const note = (node, color, needed, what) => {
    const [back, front] = [ground(node), color];
    const [hi, lo] = [light(over(channels(front), back)), light(back)].sort((a, b) => b - a);
    found.push({ ratio: (hi + 0.05) / (lo + 0.05), needed, what });
  };
  for (const node of document.querySelectorAll('body *')) {
    const style = getComputedStyle(node);
    if (!node.checkVisibility()) continue;
    const words = [...node.childNodes].filter((c) => c.nodeType === 3).map((c) => c.textContent.trim()).join('');
    const paint = node instanceof SVGElement;
    if (words) note(node, paint ? style.fill : style.color, 4.5, words);
    const drawn = ['path', 'circle', 'rect'].includes(node.localName);
    if (drawn && !node.matches('[fill-opacity], .c-grid, .c-track')) note(node, style.color, 3, node.outerHTML);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_stands_out_from_its_ground(scheme: str, visit: Open, service: Service) -> None:
    service.view.change(counts={"violations": 1, "failed_checkpoints": 2}, partitions=[])
    service.view.silent_s = 20.0
    opened = visit(color_scheme=scheme)
    opened.unfold()
    expect(opened.page.locator("#notice")).to_be_visible()
    found = opened.page.evaluate(CONTRASTS)
    assert len(found) > 300
    assert [spot for spot in found if spot["ratio"] < spot["needed"]] == []
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(14, 17, 22)") == (scheme == "dark")


def test_the_keyboard_reaches_everything_and_shows_where_it_is(visit: Open) -> None:
    page = visit().page
    operable = page.locator("a:visible, summary:visible, [tabindex]:visible, button:visible, input:visible")
    wanted, reached = operable.count(), []
    assert wanted > 20
    for _ in range(wanted):
        page.keyboard.press("Tab")
        reached.append(
            page.evaluate(
                "() => { const at = document.activeElement; const style = getComputedStyle(at);"
                "  const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;"
                "  at.dataset.reached = 'yes'; return [at.localName, seen]; }"
            )
        )
    assert {name for name, _ in reached} == {"a", "summary"}
    assert all(seen for _, seen in reached)
    assert page.locator("[data-reached]").count() == wanted


def test_a_table_is_unfolded_and_scrolled_by_keyboard(visit: Open) -> None:
    opened = visit()
    figure = opened.figure("Users' sizes")
    figure.locator("summary").focus()
    opened.page.keyboard.press("Enter")
    expect(figure.locator("table")).to_be_visible()
    opened.page.keyboard.press("Tab")
    region = figure.get_by_role("region", name="Users' sizes")
    expect(region).to_be_focused()
    opened.page.keyboard.press("End")
    opened.page.wait_for_function("node => node.scrollTop > 0", arg=region.element_handle())


def test_nothing_moves(visit: Open, service: Service) -> None:
    page = visit(reduced_motion="no-preference").page
    service.view.change(events_per_second=1.0)
    expect(page.locator(".tile").nth(3)).to_contain_text("1 a second")
    assert page.evaluate("document.getAnimations().length") == 0
    moving = (
        "node => ['transitionDuration', 'animationDuration'].some(name => parseFloat(getComputedStyle(node)[name]))"
    )
    assert page.evaluate(f"[...document.querySelectorAll('*')].filter({moving}).length") == 0


def test_it_says_aloud_what_matters_and_only_once(visit: Open, service: Service) -> None:
    opened = visit()
    region = opened.page.get_by_role("status")
    expect(region).to_contain_text("It is ready.")
    expect(region).to_contain_text("The budget is kept.")
    service.view.change(counts={"violations": 1})
    expect(region).to_have_text("The budget was violated: 1 violation.")
    service.view.change(events_per_second=77.0)
    expect(opened.tile("Events learnt")).to_contain_text("77")
    expect(region).to_have_text("The budget was violated: 1 violation.")


def test_a_service_that_is_not_ready_says_why(visit: Open, service: Service) -> None:
    opened = visit()
    service.view.change(partitions=[])
    expect(opened.tile("Health")).to_contain_text("Not ready")
    expect(opened.tile("Health").locator(".reasons li").first).not_to_be_empty()
    expect(opened.page.get_by_role("status")).to_contain_text("It is not ready: ")
    expect(opened.page.locator("#chips")).to_contain_text("not ready")
    assert opened.page.title().startswith("(!)")


def test_a_silent_learner_is_told_of(visit: Open, service: Service) -> None:
    opened = visit()
    expect(opened.page.locator("#notice")).to_be_hidden()
    service.view.silent_s = 42.0
    expect(opened.page.locator("#notice")).to_contain_text("has told nothing for 42 s")


def test_it_waits_for_a_service_that_has_nothing_to_tell_yet(browser: Browser, service: Service) -> None:
    current, service.view.current = service.view.current, None
    opened = Visit(browser, service)
    try:
        expect(opened.page.locator("#notice")).to_contain_text("nothing to tell yet")
        assert opened.page.locator(".tile").count() == 0
        service.view.current = current
        expect(opened.page.locator(".tile")).to_have_count(8)
        expect(opened.page.locator("#notice")).to_be_hidden()
    finally:
        opened.context.close()


def test_it_says_since_when_a_service_is_gone_and_comes_back_by_itself(visit: Open, service: Service) -> None:
    opened = visit()
    notice = opened.page.locator("#notice")
    expect(notice).to_be_hidden()
    service.stop()
    expect(notice).to_contain_text("Nothing heard from the service since")
    expect(opened.page.get_by_role("status")).to_have_text("Contact to the service is lost.")
    expect(opened.page.locator("#chips")).to_contain_text("no contact")
    expect(opened.tile("Memory under the budget")).to_contain_text("96 KiB")
    service.view.change(events_per_second=55.0)
    service.start()
    expect(notice).to_be_hidden()
    expect(opened.tile("Events learnt")).to_contain_text("55")
    expect(opened.page.get_by_role("status")).to_contain_text("In contact with the service.")


def test_an_answer_that_it_does_not_understand_does_not_end_it(visit: Open, service: Service) -> None:
    opened, windows = visit(), service.view.closed
    service.view.close_window(decision={})
    expect(opened.page.locator("#notice")).to_contain_text("does not understand what the service says")
    service.view.closed = windows
    service.view.change(started_s=time.time(), events_per_second=66.0)
    expect(opened.tile("Events learnt")).to_contain_text("66")
    expect(opened.page.locator("#notice")).to_be_hidden()


def test_a_stranger_that_answers_in_place_of_the_service_does_not_end_it(visit: Open) -> None:
    page = visit().page
    page.route("**/v1/state", lambda route: route.fulfill(body="<html>Log in</html>", content_type="text/html"))
    expect(page.locator("#notice")).to_contain_text("does not understand what the service says")
    page.unroute("**/v1/state")
    expect(page.locator("#notice")).to_be_hidden()


def test_it_loads_anew_after_an_upgrade(visit: Open, service: Service) -> None:
    page = visit().page
    page.evaluate("window.isOld = true")
    service.view.change(started_s=time.time(), versions={"scall-stream": "99.0.0"})
    page.wait_for_function("() => window.isOld === undefined")
    expect(page.locator("#details")).to_contain_text("99.0.0")
