"""A server that the tests of one module share."""

from collections.abc import Iterator

import pytest

from tests.helpers.serving import RunningServer, running_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("server")) as server:
        yield server
        assert server.stop() == 0
