"""recipe.py: every number of a training, read from TOML; errors name the key that is wrong."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from numerals.article.recipe import Recipe, parse_settings
from numerals.errors import RecipeError
from numerals.readers import recipes

ARTICLE = Path(recipes.__file__).parents[1] / "recipes" / "article.toml"
ARTICLE_VALUES: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 32,
    "training_share": 1.0,
    "precision": "auto",
    "label_smoothing": 0.0,
    "curves": True,
    "split": {"validation": 0.2, "random_state": 42},
    "augment": {
        "rotation": 10.0,
        "zoom": 0.1,
        "width_shift": 0.1,
        "height_shift": 0.1,
        "flip_horizontal": False,
        "flip_vertical": False,
    },
    "model": {
        "convolutions": [32, 64],
        "kernel": 3,
        "pool": 2,
        "dense": 128,
        "dropout": 0.2,
        "dropout_before": 0.0,
        "pool_first": False,
        "batch_norm": True,
        "batch_norm_momentum": 0.99,
        "batch_norm_epsilon": 1e-3,
    },
    "optimizer": {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "weight_decay": 0.0},
    "schedule": {"kind": "plateau", "warmup": 0.2},
    "early_stopping": {"patience": 3},
    "plateau": {"patience": 2, "factor": 0.1, "minimum": 1e-6, "min_delta": 1e-4},
    "tensorboard": {"enabled": True},
}


def load(folder: Path, text: str | bytes, name: str = "custom.toml") -> Recipe:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return Recipe.load(path)


def refused(recipe: str | Path) -> str:
    """Load a recipe that is wrong; return the error message, which is one line and names the recipe."""
    with pytest.raises(RecipeError) as caught:
        Recipe.load(recipe)
    message = str(caught.value)
    assert message.startswith(f"recipe {recipe}: ")
    assert "\n" not in message
    return message


def refused_text(folder: Path, text: str | bytes) -> str:
    path = folder / "custom.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return refused(path)


# The article's recipe


def test_the_file_has_every_number_of_the_article_and_no_other() -> None:
    assert tomllib.loads(ARTICLE.read_text(encoding="utf-8")) == ARTICLE_VALUES


def test_the_recipe_is_what_the_file_says() -> None:
    loaded = Recipe.load("article").model_dump()
    loaded["model"]["convolutions"] = list(loaded["model"]["convolutions"])
    assert loaded == {"name": "article", **ARTICLE_VALUES}


def test_every_line_of_the_file_has_a_comment() -> None:
    for line in ARTICLE.read_text(encoding="utf-8").splitlines():
        if re.match(r"\s*[\w\[]", line):
            assert re.search(r"\S\s+# .*\w", line), f"no comment: {line}"


def test_the_file_has_every_key_of_the_schema() -> None:
    def keys(model: Any) -> dict[str, Any]:
        return {
            name: keys(field.annotation) if hasattr(field.annotation, "model_fields") else None
            for name, field in model.model_fields.items()
            if name != "name"  # comes from the name of the file
        }

    def names(table: dict[str, Any]) -> dict[str, Any]:
        return {name: names(value) if isinstance(value, dict) else None for name, value in table.items()}

    assert keys(Recipe) == names(ARTICLE_VALUES)


# Custom files


def test_keys_that_a_file_leaves_out_keep_the_articles_values(tmp_path: Path) -> None:
    recipe = load(tmp_path, "epochs = 3\n[augment]\nzoom = 0\n")
    expected = Recipe.load("article").model_dump() | {"name": "custom", "epochs": 3}
    expected["augment"]["zoom"] = 0.0
    assert recipe.model_dump() == expected


def test_an_empty_file_is_the_article_by_another_name(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Recipe.load("article").model_copy(update={"name": "custom"})


def test_a_whole_number_is_accepted_for_a_float(tmp_path: Path) -> None:
    recipe = load(tmp_path, "[augment]\nrotation = 10\n[optimizer]\nlearning_rate = 1\n")
    assert (recipe.augment.rotation, recipe.optimizer.learning_rate) == (10.0, 1.0)


def test_the_name_comes_from_the_file_name_unless_it_is_set(tmp_path: Path) -> None:
    assert load(tmp_path, "", "quick-2.toml").name == "quick-2"
    assert load(tmp_path, 'name = "other"').name == "other"
    assert load(tmp_path, "", "my own recipe (2).toml").name == "my-own-recipe-2-"


def test_recipes_are_immutable() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Recipe.load("article").epochs = 3


def test_a_recipe_saved_without_flips_has_none() -> None:
    """As in the checkpoints of earlier versions."""
    values = Recipe.load("article").model_dump()
    del values["augment"]["flip_horizontal"], values["augment"]["flip_vertical"]
    assert Recipe.model_validate(values) == Recipe.load("article")


# Settings by dotted key


def test_settings_change_single_keys() -> None:
    settings = ["epochs=3", "optimizer.learning_rate=3e-4", "augment.flip_horizontal=true", "schedule.kind=one-cycle"]
    settings += ['precision="float32"', "model.convolutions=[8, 16, 32]", "model.kernel=[5,3,3]", "epochs=4"]
    assert Recipe.load("article").override(parse_settings(settings)) == Recipe.load("article").change(
        epochs=4,
        optimizer={"learning_rate": 3e-4},
        augment={"flip_horizontal": True},
        schedule={"kind": "one-cycle"},
        precision="float32",
        model={"convolutions": [8, 16, 32], "kernel": [5, 3, 3]},
    )


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("epochs", "--set epochs: must be KEY=VALUE"),
        ("=3", "--set =3: must be KEY=VALUE"),
        ("epochs=", "epochs = '': input should be a valid integer"),
        ("epochs=many", "epochs = 'many': input should be a valid integer"),
        ("epochs=1\nbatch_size=2", "epochs = '1\\nbatch_size=2': input should be a valid integer"),
        ("optimizer.lr=1", "unknown key optimizer.lr; known keys: learning_rate"),
        ("optimiser.epsilon=1", "unknown key optimiser; did you mean optimizer?"),
        ("augment.zoom.x=1", "augment.zoom = {'x': 1}"),
        ("augment=1", "augment = 1: input should be"),
        ("self=1", "unknown key self"),
        ("..=1", "unknown key ;"),
        ("optimizer.learning_rate=nan", "optimizer.learning_rate = nan: input should be"),
    ],
)
def test_a_wrong_setting_is_one_line(setting: str, words: str) -> None:
    with pytest.raises(RecipeError) as refused:
        Recipe.load("article").override(parse_settings([setting]))
    assert words in str(refused.value) and "\n" not in str(refused.value)


# Errors


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch = 3", "unknown key epoch; did you mean epochs?"),
        ("batchsize = 3", "unknown key batchsize; did you mean batch_size?"),
        ("colour = 3", "unknown key colour; known keys: "),
        ("[augment]\nrotatoin = 3", "unknown key augment.rotatoin; did you mean rotation?"),
        ("[augment]\nshear = 1", "unknown key augment.shear; known keys: rotation, zoom, width_shift, height_shift"),
        ("[augmentation]\nzoom = 0", "unknown key augmentation; did you mean augment?"),
        ("[augment.zoom]\nx = 1", "augment.zoom"),
        ("[name]\nx = 1", "name"),
    ],
)
def test_an_unknown_key_is_named_with_a_suggestion(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused_text(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epochs = true", "epochs = True"),
        ('epochs = "3"', "epochs = '3'"),
        ("epochs = 3.0", "epochs = 3.0"),
        ("epochs = []", "epochs = []"),
        ("epochs = 2026-01-01", "epochs = "),
        ("split = 3", "split = 3"),
        ("augment = []", "augment = []"),
        ("[augment]\nzoom = true", "augment.zoom = True"),
        ('[augment]\nzoom = "0.1"', "augment.zoom = '0.1'"),
        ("[model]\nconvolutions = 32", "model.convolutions = 32"),
        ("[model]\nconvolutions = [32, true]", "model.convolutions.1 = True"),
        ('[model]\nconvolutions = [32, "64"]', "model.convolutions.1 = '64'"),
        ("[model]\nconvolutions = [32.0]", "model.convolutions.0 = 32.0"),
        ("[model]\nconvolutions = []", "model.convolutions = []"),
        ("[tensorboard]\nenabled = 1", "tensorboard.enabled = 1"),
        ('precision = "bf16"', "precision = 'bf16'"),
        ("precision = 32", "precision = 32"),
        ("name = 3", "name = 3"),
        ('name = ""', "name = ''"),
        ('name = "../elsewhere"', "name = '../elsewhere'"),
        ('name = "two\\nlines"', "name = 'two"),
    ],
)
def test_a_wrong_type_is_named(tmp_path: Path, text: str, words: str) -> None:
    assert words in refused_text(tmp_path, text)


@pytest.mark.parametrize(
    ("key", "values"),
    [
        ("epochs", ["0", "-1", "1000001"]),
        ("batch_size", ["0", "-32"]),
        ("training_share", ["0", "-0.1", "1.1"]),
        ("split.validation", ["0", "1", "-0.2", "1.2"]),
        ("split.random_state", ["-1", "4294967296"]),
        ("augment.rotation", ["-10", "181"]),
        ("augment.zoom", ["-0.1", "1"]),
        ("augment.width_shift", ["-0.1", "1.5"]),
        ("augment.height_shift", ["-0.1", "1"]),
        ("model.convolutions", ["[0]", "[32, -1]", "[5000]"]),
        ("model.kernel", ["0", "29", "[3, 0]", "[]", "[3, 3, 3]"]),
        ("model.pool", ["0", "29", "[2, 29]", "[2, 2, 2]"]),
        ("model.dense", ["0", "-1"]),
        ("model.dropout", ["-0.1", "1"]),
        ("model.dropout_before", ["-0.1", "1"]),
        ("model.batch_norm_momentum", ["-0.1", "1"]),
        ("model.batch_norm_epsilon", ["0", "-1"]),
        ("optimizer.learning_rate", ["0", "-0.001", "11"]),
        ("optimizer.beta_1", ["-0.1", "1"]),
        ("optimizer.beta_2", ["-0.1", "1"]),
        ("optimizer.epsilon", ["0", "-1e-7"]),
        ("optimizer.weight_decay", ["-0.1", "1"]),
        ("label_smoothing", ["-0.1", "1"]),
        ("schedule.warmup", ["0", "1"]),
        ("early_stopping.patience", ["0", "-1"]),
        ("plateau.patience", ["0", "-1"]),
        ("plateau.factor", ["0", "1", "-0.1"]),
        ("plateau.minimum", ["-1e-6", "11"]),
        ("plateau.min_delta", ["-1e-4"]),
    ],
)
def test_values_out_of_bounds_are_named(tmp_path: Path, key: str, values: list[str]) -> None:
    floats = "." in key and key.split(".")[1] not in (
        "convolutions",
        "random_state",
        "kernel",
        "pool",
        "dense",
        "patience",
    )
    for value in [*values, *(["nan", "inf", "-inf"] if floats else ["1e999"])]:
        assert key in refused_text(tmp_path, f"{key} = {value}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"epochs: 3", "not TOML"),
        (b"epochs = ", "not TOML"),
        (b"epochs = 3\nepochs = 4", "not TOML"),
        (b'name = "caf\xe9"', "not TOML"),
        (b"\xff\xfe", "not TOML"),
        (b"\0", "not TOML"),
        (b"PK\x03\x04", "not TOML"),
        (b"epochs = " + b"9" * 5000, "not TOML"),
        (b"epochs = " + b"[" * 5000, ""),
    ],
)
def test_files_that_are_not_toml_are_errors(tmp_path: Path, content: bytes, words: str) -> None:
    assert words in refused_text(tmp_path, content)


@pytest.mark.parametrize("name", ["artcle", "absent.toml", ".", "", "x" * 300])
def test_a_missing_recipe_is_named_with_the_built_in_ones(name: str, tmp_path: Path) -> None:
    for recipe in (name, tmp_path / name):
        with pytest.raises(RecipeError) as caught:
            Recipe.load(recipe)
        expected = f"no built-in recipe or file named {recipe}; built in: article, best, instant, quick"
        assert str(caught.value) == expected


@pytest.mark.parametrize(
    ("recipe", "command"), [("digits", "train-reader"), ("rows", "train-reader"), ("adapt", "adapt")]
)
def test_a_recipe_for_another_network_names_its_command(recipe: str, command: str) -> None:
    assert f"another network than article.toml; use numerals {command}" in refused(recipe)


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_recipe_or_a_recipe_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    try:
        Recipe.load(path)
    except RecipeError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)


# Round trip


def fraction(low: float = 0.0, high: float = 1.0) -> st.SearchStrategy[float]:
    return st.floats(low, high, exclude_min=True, exclude_max=True)


tables = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True),
        "epochs": st.integers(1, 10**6),
        "batch_size": st.integers(1, 10**6),
        "training_share": fraction(),
        "precision": st.sampled_from(["float32", "auto"]),
        "label_smoothing": fraction(),
        "curves": st.booleans(),
        "split": st.fixed_dictionaries({"validation": fraction(), "random_state": st.integers(0, 2**32 - 1)}),
        "augment": st.fixed_dictionaries({"rotation": st.floats(0, 180), "zoom": fraction() | st.just(0)}),
        "model": st.fixed_dictionaries(
            {"convolutions": st.lists(st.integers(1, 4096), min_size=1, max_size=5), "dropout": fraction()}
        ),
        "optimizer": st.fixed_dictionaries({"learning_rate": fraction(high=10), "epsilon": fraction()}),
        "schedule": st.fixed_dictionaries({"kind": st.sampled_from(["plateau", "one-cycle"]), "warmup": fraction()}),
        "plateau": st.fixed_dictionaries({"minimum": st.floats(0, 10), "min_delta": st.floats(0, 1e300)}),
        "tensorboard": st.fixed_dictionaries({"enabled": st.booleans()}),
    }
)


@given(tables)
def test_to_toml_round_trips(tmp_path_factory: pytest.TempPathFactory, table: dict[str, Any]) -> None:
    article = Recipe.load("article").model_dump()
    complete = {
        key: article[key] | table.get(key, {}) if isinstance(article[key], dict) else table.get(key) for key in article
    }
    recipe = Recipe.model_validate(complete)
    path = tmp_path_factory.getbasetemp() / "round-trip.toml"
    path.write_text(recipe.to_toml(), encoding="utf-8")
    assert Recipe.load(path) == recipe
