"""Runs exported for Keras: the same layers, probabilities and compile settings, opened by Keras itself."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numerals
from numerals.errors import FailureError, InputError
from numerals.export import keras_model
from tests.conftest import NUMERALS, run_quietly
from tests.helpers.installations import installed_with
from tests.helpers.keras_peer import ARTICLE, KERAS_WARNS, article_network, digits, keras, mnist

pytestmark = [pytest.mark.filterwarnings(KERAS_WARNS), pytest.mark.usefixtures("one_thread")]

QUICK = numerals.Recipe.load("quick")
DATA = digits(400)

OPEN = """
import json, sys
import keras, numpy as np
model = keras.models.load_model(sys.argv[1])
import numerals
x, y = numerals.prepare(*numerals.load_mnist()[1])
np.save(sys.argv[2], model.predict(x, batch_size=500, verbose=0))
facts = {"optimizer": model.optimizer.get_config(), "layers": [type(layer).__name__ for layer in model.layers]}
facts["parameters"] = model.count_params()
facts["evaluate"] = model.evaluate(x[:500], y[:500], verbose=0)
facts["trains"] = model.fit(x[:200], y[:200], epochs=1, verbose=0).history["loss"][0]
print(json.dumps(facts))
"""


def exported(folder: Path, recipe: numerals.Recipe) -> numerals.Run:
    """A short training, exported."""
    recipe = recipe.change(epochs=1, training_share=1.0, tensorboard={"enabled": False})
    run = numerals.train(recipe, (DATA.train, DATA.test), out=folder / "run", device="cpu")
    assert run.export("keras") == run.folder / "model.keras"
    return run


@pytest.mark.parametrize("recipe", [ARTICLE, QUICK], ids=["article", "quick"])
def test_keras_opens_it_and_gives_the_same_probabilities(tmp_path: Path, recipe: numerals.Recipe) -> None:
    run = exported(tmp_path, recipe)
    done = run_quietly(
        (sys.executable, "-c", OPEN, run.folder / "model.keras", tmp_path / "probabilities.npy"), KERAS_BACKEND="torch"
    )
    assert done.returncode == 0, done.stderr
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert np.abs(np.load(tmp_path / "probabilities.npy") - run.predict(mnist().test[0])).max() <= 1e-5
    optimizer = facts["optimizer"]
    assert optimizer["learning_rate"] == pytest.approx(recipe.optimizer.learning_rate)
    assert optimizer["name"].startswith("adam") and optimizer["beta_2"] == recipe.optimizer.beta_2
    assert facts["parameters"] == run.metrics["parameters"] and facts["trains"] > 0
    expected = run.evaluate(mnist().test[0][:500], mnist().test[1][:500])
    assert facts["evaluate"][1] == pytest.approx(expected.accuracy)
    if recipe is ARTICLE:
        assert facts["layers"] == [type(layer).__name__ for layer in article_network().layers]


def test_the_command_writes_it(tmp_path: Path) -> None:
    run = exported(tmp_path, QUICK)
    np.savez(tmp_path / "few.npz", x_train=DATA.train[0], y_train=DATA.train[1])
    done = run_quietly((*NUMERALS, "export", run.folder, "--format", "keras"))
    assert done.returncode == 2 and "data=..." in done.stderr and done.stderr.count("\n") == 1
    trained = run_quietly(
        (*NUMERALS, "train", "--recipe", "instant", "--data", tmp_path / "few.npz", "--out", tmp_path / "b")
    )
    assert trained.returncode == 0
    done = run_quietly(
        (*NUMERALS, "export", tmp_path / "b", "--format", "keras", "--out", tmp_path / "new" / "m.keras")
    )
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'new' / 'm.keras'}\n"), done.stderr
    assert keras().models.load_model(tmp_path / "new" / "m.keras").output_shape == (None, 10)
    for options in (("--format", "h5"), ("--format", "keras", "--out", tmp_path / "m.h5")):
        done = run_quietly((*NUMERALS, "export", tmp_path / "b", *options))
        assert done.returncode == 2 and done.stderr.count("\n") == 1
    hidden = installed_with(tmp_path, "train")
    done = run_quietly((*NUMERALS, "export", tmp_path / "b", "--format", "keras"), PYTHONPATH=hidden)
    assert done.returncode == 1 and "pip install 'numerals[keras]'" in done.stderr and done.stderr.count("\n") == 1


def test_a_model_that_disagrees_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = exported(tmp_path, QUICK)
    monkeypatch.setattr(keras_model, "MAX_DIFFERENCE", -1.0)
    with pytest.raises(FailureError, match="Keras and PyTorch disagree"):
        run.export("keras", tmp_path / "other.keras")
    assert not (tmp_path / "other.keras").exists()
    with pytest.raises(InputError, match="must be onnx or keras"):
        run.export("h5")
