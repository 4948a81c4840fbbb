"""The whole service on a real broker, asked over HTTP: state, recommendations, a budget; killed and back."""

import json
import re
import urllib.request
from contextlib import suppress
from typing import Any
from urllib.error import HTTPError

from tests.integration.scenes import PATIENCE_S, Scene, kill, stop, wait_until
from tests.kill_matrix.service import Service

TOKEN = "known-to-operators-alone"


def url_of(service: Service, num_starts: int) -> str:
    """Return where a service answers once it has started so often."""

    def told() -> list[str]:
        return re.findall(r"answers on (http://\S+)", service.told())

    wait_until(lambda: len(told()) == num_starts, service)
    return told()[-1]


def ask(url: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


def has_caught_up(url: str, end: int) -> bool:
    with suppress(HTTPError):
        state = ask(f"{url}/v1/state")
        status = state["status"]
        return bool(
            [(p["offset"], p["lag"]) for p in status["partitions"]] == [(end, 0)]
            and state["sides"] is not None
            and ask(f"{url}/v1/users/nobody/recommendations?n=1")["events_learnt"] == status["counts"]["learnt"]
        )
    return False


def test_a_service_is_asked_for_items_state_and_budget_and_is_back_after_its_death(scene: Scene) -> None:
    service = scene.service(http={"port": 0, "token": TOKEN})
    living = scene.start(service)
    url = url_of(service, 1)
    [total] = scene.feeder.ends().values()
    wait_until(lambda: has_caught_up(url, total), service)
    state = ask(f"{url}/v1/state")["status"]
    assert [(p["topic"], p["partition"]) for p in state["partitions"]] == [(scene.feeder.topic, 0)]
    assert total - 10 < state["counts"]["learnt"] + state["counts"]["dead_letters"] <= total
    assert state["checkpoint"]["bytes"] > 0
    assert sum(state["durations"]["batch"]["counts"]) > 0
    assert [line["name"] for line in state["fixed"]][-1] == "two copies of the model for answering requests"
    answer = ask(f"{url}/v1/users/nobody/recommendations?n=4")
    assert (answer["reason"], len(answer["items"])) == ("cold", 4)
    assert ask(f"{url}/v1/budget", {"budget": "300KiB"}, Authorization=f"Bearer {TOKEN}")
    wait_until(lambda: ask(f"{url}/v1/state")["status"]["budget_bytes"] == 300 * 1024, service)
    windows = [window["index"] for window in ask(f"{url}/v1/windows")]
    assert windows == list(range(len(windows)))
    kill(living)
    again = scene.start(service)
    url = url_of(service, 2)
    wait_until(lambda: has_caught_up(url, total), service)
    assert [window["index"] for window in ask(f"{url}/v1/windows")][: len(windows)] == windows
    state = ask(f"{url}/v1/state")["status"]
    assert state["resumed"]["counts"]["learnt"] > 0
    assert state["budget_bytes"] == 300 * 1024
    stop(again)
    assert scene.ends_well(service)
