"""Every contract is held against every implementation."""

from collections.abc import Iterator

import pytest

from tests.contracts.clusters import IMPLEMENTATIONS, Cluster, open_cluster


@pytest.fixture(scope="session", params=IMPLEMENTATIONS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with open_cluster(request.param, request) as opened:
        yield opened
