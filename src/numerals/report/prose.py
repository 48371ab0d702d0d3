"""Describe a recipe, the course of a training and a comparison in sentences, as plain text."""

from collections.abc import Sequence
from typing import Any

from numerals.article.callbacks import Epoch
from numerals.article.recipe import AugmentSettings, Recipe
from numerals.report.significance import Difference

ENDINGS = {  # by metrics.json's "ended"
    "early": "Training stopped early, after epoch {last} of at most {maximum}: the validation loss no longer improved.",
    "all epochs": "Training ran for all {maximum} epochs.",
}


def percent(fraction: float, decimals: int = 2) -> str:
    """0.9941 -> 99.41 %, with a no-break space."""
    return f"{100 * fraction:.{decimals}f}\N{NO-BREAK SPACE}%"


def recipe_in_words(recipe: Recipe, training_count: int, validation_count: int, parameters: int) -> list[str]:
    """Describe the data, the network and the optimizer, a paragraph each.

    Args:
        training_count, validation_count: digits that the network was trained and validated on.
        parameters: of the network.
    """
    return [
        f"The network was trained on {training_count:,} digits. Another {validation_count:,} were held out for "
        f"validation, to measure progress after each epoch. {augmentation_in_words(recipe.augment)}",
        _network(recipe, parameters),
        _optimization(recipe),
    ]


def augmentation_in_words(augment: AugmentSettings) -> str:
    """Describe how training digits are changed at random."""
    changes = [
        text
        for amount, text in (
            (augment.rotation, f"rotated by up to {augment.rotation:g}° either way"),
            (augment.zoom, f"zoomed by up to {percent(augment.zoom, 0)}"),
            (augment.width_shift, f"moved left or right by up to {percent(augment.width_shift, 0)} of its width"),
            (augment.height_shift, f"moved up or down by up to {percent(augment.height_shift, 0)} of its height"),
            (augment.flip_horizontal, "mirrored left to right half of the time"),
            (augment.flip_vertical, "mirrored top to bottom half of the time"),
        )
        if amount
    ]
    if not changes:
        return "Training digits were not changed: this recipe has no augmentation."
    return (
        f"In each epoch every training digit was {_listed(changes)}, by new random amounts, so that the network never "
        "saw the same picture twice."
    )


def ending_in_words(ended: str, history: Sequence[Epoch], best_epoch: int, recipe: Recipe) -> str:
    """Say when and why training ended, and which epoch's weights were saved."""
    ending = ENDINGS.get(ended, ENDINGS["all epochs"]).format(last=len(history), maximum=recipe.epochs)
    if recipe.epochs == 1:
        ending = "Training ran for one epoch."
    return f"{ending} The saved weights are those of epoch {best_epoch}."


def _network(recipe: Recipe, parameters: int) -> str:
    model = recipe.model
    several = len(model.convolutions) > 1
    filters = _listed([str(filters) for filters in model.convolutions])
    kernels = _listed([f"{side}×{side}" for side in dict.fromkeys(model.kernel)])
    text = (
        f"{'Convolutions' if several else 'A convolution'} with {filters} filters of {kernels} pixels "
        f"{'look' if several else 'looks'} for shapes; {_pooling([pool for _, _, pool in model.blocks()])}"
        f"{', and batch normalisation keeps the values in a stable range' if model.batch_norm else ''}. "
        f"A dense layer of {model.dense} units combines them, and the output layer names the digit. "
    )
    if model.dropout:
        text += (
            f"In each training step dropout silences {percent(model.dropout, 0)} of these units, so that the network "
            "relies on none of them. "
        )
    return f"{text}The network has {parameters:,} parameters."


def _pooling(pools: Sequence[int]) -> str:
    """Which convolutions are followed by max pooling, given the side of the pool after each; 1 is no pooling."""
    sides = [f"{side}×{side}" for side in dict.fromkeys(pools) if side > 1]
    if not sides:
        return "there is no pooling"
    pooled = [str(number) for number, pool in enumerate(pools, 1) if pool > 1]
    if len(pooled) < len(pools):
        where = f"after convolution{'s' if len(pooled) > 1 else ''} {_listed(pooled)}"
    else:
        where = "after each of them" if len(pools) > 1 else "after it"
    return f"{where} max pooling keeps the largest of {_listed(sides)} neighbours"


def _optimization(recipe: Recipe) -> str:
    optimizer, plateau = recipe.optimizer, recipe.plateau
    epochs = "one epoch" if recipe.epochs == 1 else f"at most {recipe.epochs} epochs"
    sentences = [f"Adam updated the weights after every batch of {recipe.batch_size} digits, for {epochs}."]
    if recipe.schedule.kind == "one-cycle":
        sentences.append(
            f"The learning rate rose to {optimizer.learning_rate:g} over the first "
            f"{percent(recipe.schedule.warmup, 0)} of the steps and fell to zero by the last one."
        )
    else:
        sentences.append(
            f"The learning rate started at {optimizer.learning_rate:g} and was multiplied by {plateau.factor:g} "
            f"whenever the validation loss had not improved for {_count(plateau.patience, 'epoch')}. Training was set "
            f"to stop after {_count(recipe.early_stopping.patience, 'epoch')} without improvement."
        )
    if recipe.label_smoothing:
        sentences.append(f"Labels were smoothed by {percent(recipe.label_smoothing, 0)}.")
    if optimizer.weight_decay:
        sentences.append(f"Weight decay was {optimizer.weight_decay:g}.")
    return " ".join(sentences)


def recipe_differences(recipes: Sequence[Recipe]) -> list[tuple[str, list[Any]]]:
    """The keys in which recipes differ, as "optimizer.learning_rate", and the value of each recipe.

    In the order of a recipe file; the name is left out.
    """
    flat = [_flat(recipe.model_dump(mode="json"), "") for recipe in recipes]
    rows = [(key, [each[key] for each in flat]) for key in flat[0] if key != "name"]
    return [(key, values) for key, values in rows if any(value != values[0] for value in values)]


def _flat(table: dict[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat


def difference_in_words(first: str, other: str, difference: Difference) -> str:
    """Say whether one of two runs is better than the other.

    Args:
        first, other: names of the runs.
    """
    only_first, only_other = len(difference.only_first), len(difference.only_other)
    if not only_first + only_other:
        return f"Both runs get the same {_count(difference.both, 'digit')} wrong: there is no difference."
    counts = (
        f"Both runs get {_count(difference.both, 'digit')} wrong; {first} alone gets {only_first:,} more wrong, and "
        f"{other} alone {only_other:,}. If both runs were equally good, a split at least as uneven as {only_first:,} "
        f"to {only_other:,} would occur {_frequency(difference.p_value)}."
    )
    if difference.is_noise:
        return f"{counts} The difference is within noise: neither run is shown to be better."
    better = first if only_first < only_other else other
    return f"{counts} The difference is more than noise: {better} is better on these digits."


def _frequency(p_value: float) -> str:
    """A probability in everyday words, such as "12 times in 100"."""
    if p_value >= 0.995:
        return "nearly always"
    if p_value >= 0.01:
        percentage = round(100 * p_value)
        return "once in 100 times" if percentage == 1 else f"{percentage} times in 100"
    return f"{round(1000 * p_value)} times in 1,000" if p_value >= 0.0015 else "at most once in 1,000 times"


def _count(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number:,} {noun}s"


def _listed(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
