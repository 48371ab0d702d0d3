"""A recipe, and how a training with it went, in sentences. Knows nothing about pages.

Each function gives paragraphs of plain text.
"""

from collections.abc import Sequence
from typing import Any

from numerals.article.callbacks import Epoch
from numerals.article.recipe import AugmentSettings, Recipe

ENDS = {
    "early": "It stopped early, after epoch {last} of at most {most}, since the validation loss had ceased to fall.",
    "all epochs": "It went through all of its {most} epochs.",
    "interrupted": "It was interrupted after epoch {last} of at most {most}.",
}


def percent(share: float, places: int = 2) -> str:
    """0.9941 -> 99.41 %, with a space that does not break."""
    return f"{100 * share:.{places}f}\N{NO-BREAK SPACE}%"


def recipe_in_words(recipe: Recipe, learnt: int, held_out: int, parameters: int) -> list[str]:
    """What is learnt from, what is done to it, the network, and how it learns."""
    return [
        f"The network learnt from {learnt:,} digits. {held_out:,} more were held out: nothing was learnt from "
        f"them, they show how it went. {augmentation_in_words(recipe.augment)}",
        _network(recipe, parameters),
        _learning(recipe),
    ]


def augmentation_in_words(augment: AugmentSettings) -> str:
    """What happens to each training digit, anew in each epoch."""
    changes = [
        text
        for amount, text in (
            (augment.rotation, f"turned by up to {augment.rotation:g}° either way"),
            (augment.zoom, f"zoomed by up to {percent(augment.zoom, 0)}"),
            (augment.width_shift, f"moved across by up to {percent(augment.width_shift, 0)} of its width"),
            (augment.height_shift, f"moved up or down by up to {percent(augment.height_shift, 0)} of its height"),
        )
        if amount
    ]
    if not changes:
        return "They were learnt as they are: this recipe has no augmentation."
    return f"In each epoch every one of them was {_listed(changes)}, drawn anew, so that none was seen twice alike."


def ending_in_words(ended: str, history: Sequence[Epoch], best_epoch: int, recipe: Recipe) -> str:
    """When it ended, why, and which weights are kept."""
    how = ENDS.get(ended, ENDS["all epochs"]).format(last=len(history), most=recipe.epochs)
    if recipe.epochs == 1:
        how = "There was one epoch."
    return f"{how} The weights of epoch {best_epoch} are kept."


def _network(recipe: Recipe, parameters: int) -> str:
    model = recipe.model
    many = len(model.convolutions) > 1
    filters = _listed([str(filters) for filters in model.convolutions])
    layers = "Convolutions of" if many else "A convolution of"
    look = "look" if many else "looks"
    kernels = _listed([f"{side}×{side}" for side in dict.fromkeys(model.kernel)])
    pools = [pool for _, _, pool in model.blocks()]
    numbers = [str(number) for number, pool in enumerate(pools, 1) if pool > 1]
    if len(numbers) == len(pools):
        after = "each of them" if many else "it"
    else:
        after = f"number {_listed(numbers)}" if numbers else ""
    sides = [f"{side}×{side}" for side in dict.fromkeys(pools) if side > 1]
    pooled = f"after {after} the strongest of {_listed(sides)} neighbours is kept" if sides else "all of it is kept"
    norm = " and batch normalisation keeps numbers in bounds" if model.batch_norm else ""
    dropped = (
        f"In training {percent(model.dropout, 0)} of those units are silenced in each step, so that none is relied on. "
    )
    return (
        f"{layers} {filters} filters, {kernels} pixels large, {look} for shapes; {pooled}{norm}. "
        f"A layer of {model.dense} units weighs what was found, and the last one names the digit. "
        f"{dropped if model.dropout else ''}{parameters:,} parameters in all."
    )


def _learning(recipe: Recipe) -> str:
    optimizer, plateau = recipe.optimizer, recipe.plateau
    most = _count(recipe.epochs, "epoch")
    text = f"Adam changed the weights after every {recipe.batch_size} digits, for at most {most}, "
    if recipe.schedule.kind == "one-cycle":
        text += (
            f"with a learning rate that rose to {optimizer.learning_rate:g} over the first "
            f"{percent(recipe.schedule.warmup, 0)} of the steps and fell to nothing by the last. "
        )
    else:
        text += (
            f"with a learning rate of {optimizer.learning_rate:g}. After {_count(plateau.patience, 'epoch')} without "
            f"gain in validation loss the rate was multiplied by {plateau.factor:g}; after "
            f"{recipe.early_stopping.patience} training was to stop. "
        )
    text += f"Labels were smoothed by {percent(recipe.label_smoothing, 0)}. " if recipe.label_smoothing else ""
    text += f"Weight decay was {optimizer.weight_decay:g}. " if optimizer.weight_decay else ""
    return text.strip()


def differences(recipes: Sequence[Recipe]) -> list[tuple[str, list[Any]]]:
    """The keys in which recipes differ, and each one's value, in the order of a recipe file."""
    flat = [_flat(recipe.model_dump(mode="json"), "") for recipe in recipes]
    rows = [(key, [each[key] for each in flat]) for key in flat[0] if key != "name"]
    return [(key, values) for key, values in rows if any(value != values[0] for value in values)]


def _flat(table: dict[str, Any], prefix: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return found


def _count(number: int, noun: str) -> str:
    return f"one {noun}" if number == 1 else f"{number} {noun}s"


def _listed(items: Sequence[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1]]))
