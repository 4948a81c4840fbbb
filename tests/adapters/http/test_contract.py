"""The API holds to its own OpenAPI document, whatever it is asked."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error

from stream.adapters.http.app import build_app
from stream.service_settings import Http
from tests.adapters.http.views import ReplayedView

HTTP = Http(port=0, token="0123456789abcdef", max_requests_per_second=10**6)
BEARER = {"Authorization": f"Bearer {HTTP.token}"}


def contract_of(view: ReplayedView, refusal: str | None = None) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", build_app(view, HTTP, lambda _: refusal))


in_service = contract_of(ReplayedView())
starting = contract_of(ReplayedView.before_the_first(), "the budget is too small")
few = settings(
    derandomize=True, deadline=None, phases=[Phase.explicit, Phase.generate], suppress_health_check=list(HealthCheck)
)


@in_service.parametrize()
@settings(few, max_examples=25)
def test_every_answer_is_as_the_document_says(case: Any) -> None:
    case.call_and_validate(headers=BEARER)


@starting.parametrize()
@settings(few, max_examples=5)
def test_so_are_those_of_a_service_that_is_starting(case: Any) -> None:
    # That it says so (503) is as it should be.
    case.call_and_validate(headers=BEARER, excluded_checks=[not_a_server_error])


def test_the_document_tells_of_all_that_is_for_programs() -> None:
    document = build_app(ReplayedView(), HTTP, lambda _: None).openapi()
    operations = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert operations == {
        ("get", "/v1/users/{user_id}/recommendations"),
        ("post", "/v1/recommendations"),
        ("get", "/v1/items/{item_id}/similar"),
        ("post", "/v1/budget"),
        ("get", "/v1/state"),
        ("get", "/v1/windows"),
        ("get", "/live"),
        ("get", "/ready"),
    }
    for methods in document["paths"].values():
        for operation in methods.values():
            refusals = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
            told = {kind for answer in refusals.values() for kind in answer["content"]}
            assert told <= {"application/problem+json", "application/json"}
            assert operation["description"]
