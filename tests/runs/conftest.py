"""What the tests of runs share."""

import pytest

from numerals.runs.train import FinishedRun, train
from tests.helpers.keras_peer import small
from tests.helpers.trainings import DATA, EPOCHS


@pytest.fixture(scope="module")
def uninterrupted(one_thread: None, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    """A training of EPOCHS epochs that nothing interrupted."""
    out = tmp_path_factory.mktemp("uninterrupted") / "run"
    return train(small(epochs=EPOCHS, curves=False), DATA, out=out, device="cpu")
