"""What a report shows of a run's digits and layers, as plain facts and pictures. Knows nothing about pages.

A digit on a page is a dict: its `place` among the test digits, `truth`, `answer`, `confidence`, `share` (the truth's
probability), `uri` (its picture) and whether its label is `disputed`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from numerals import seeds
from numerals.article import augment
from numerals.article.data import Images, LabelledImages
from numerals.article.metrics import disputed_indices
from numerals.article.model import as_input, describe
from numerals.article.recipe import AugmentSettings
from numerals.plots import digit_images, figures
from numerals.report.corruptions import CORRUPTIONS
from numerals.report.prose import percent
from numerals.report.robustness import CorruptionScore, Robustness
from numerals.runs.load import KeptRun
from numerals.spec import CLASSES, WHITE

SAMPLES = 12  # of each class
ORIGINALS, EPOCHS = 8, 5  # digits shown as they are and as so many epochs saw them
CPU = torch.device("cpu")


def one_digit(run: KeptRun, place: int) -> dict[str, Any]:
    """A test digit, what it is and what it was taken for."""
    images, labels = run.dataset.test
    shares, truth = run.probabilities[place], int(labels[place])
    return {
        "place": int(place),
        "truth": truth,
        "answer": int(shares.argmax()),
        "confidence": float(shares.max()),
        "share": float(shares[truth]),
        "uri": digit_images.data_uri(images[place]),
        "disputed": place in disputed_indices(labels),
    }


def mistakes(run: KeptRun, places: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Those test digits, the surest answers first."""
    surest = places[np.argsort(-run.probabilities[places].max(axis=1), kind="stable")]
    return [one_digit(run, int(place)) for place in surest]


def samples(run: KeptRun) -> list[dict[str, Any]]:
    """A row of training digits for each class, and how many of it there are."""
    (images, labels), (_, tested) = run.dataset.train, run.dataset.test
    return [
        {
            "digit": digit,
            "uri": digit_images.data_uri(digit_images.mosaic(images[labels == digit][:SAMPLES], SAMPLES)),
            "train": int((labels == digit).sum()),
            "test": int((tested == digit).sum()),
        }
        for digit in range(len(CLASSES))
        if (labels == digit).any()
    ]


def augmented(run: KeptRun, training: LabelledImages) -> list[dict[str, Any]]:
    """Training digits as they are, and as the first epochs saw them; empty where the recipe has no augmentation."""
    images, labels = training[0][:ORIGINALS], training[1][:ORIGINALS]
    if not augment.transform_limits(run.recipe.augment).any():
        return []
    seen = []
    for epoch in range(1, EPOCHS + 1):
        chance = seeds.generator(run.metrics["seed"], seeds.AUGMENTATION, epoch)
        transforms = augment.random_transforms(len(training[0]), run.recipe.augment, chance)[:ORIGINALS]
        seen.append(
            (augment.apply_transforms(as_input(images, CPU), transforms)[:, 0].numpy() * WHITE).round().astype(np.uint8)
        )
    return [
        {
            "digit": int(label),
            "uri": digit_images.data_uri(image),
            "seen": [digit_images.data_uri(epoch[at]) for epoch in seen],
        }
        for at, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def layers(run: KeptRun) -> list[dict[str, Any]]:
    """Each layer: what it is called, what comes out, its parameters, and how to draw that."""
    return [
        {
            "name": layer.name,
            "output": " × ".join(map(str, layer.output)),
            "parameters": layer.parameters,
            "maps": len(layer.output) == 3,
            "side": layer.output[0] if len(layer.output) == 3 else 0,
            "many": int(np.log2(layer.output[-1])) + 1,
        }
        for layer in describe(run.network)
    ]


def trials(run: KeptRun, tried: Robustness) -> list[dict[str, Any]]:
    """Each corruption: its curve, a digit at each severity, and what the recipe's augmentation does alike."""
    example = run.dataset.test[0][:1]
    return [_trial(run, each, tried.clean, example) for each in tried.corruptions]


def _trial(run: KeptRun, tried: CorruptionScore, clean: float, example: Images) -> dict[str, Any]:
    corruption = CORRUPTIONS[tried.name]
    falling = ", ".join(f"{accuracy:.3f}" for accuracy in tried.accuracies)
    alt = f"Accuracy under {tried.name}: {clean:.3f} untouched, then {falling}"
    return {
        "name": tried.name,
        "says": corruption.description,
        "alike": _alike(run.recipe.augment, corruption.similar_augmentation),
        "steps": [
            {
                "amount": corruption.amount_format.format(amount).replace("%", "\N{NO-BREAK SPACE}%"),
                "accuracy": accuracy,
                "uri": digit_images.data_uri(corruption.apply(example, severity)[0]),
            }
            for severity, (amount, accuracy) in enumerate(zip(tried.amounts, tried.accuracies, strict=True), 1)
        ],
        "curve": figures.corruption_curve(tried.name, tried.accuracies, clean, alt),
    }


def _alike(recipe: AugmentSettings, keys: tuple[str, ...]) -> str:
    """How much of a corruption training has already shown to the network; "" for none."""
    amount = max((getattr(recipe, key) for key in keys), default=0)
    if not amount:
        return ""
    return f"up to {amount:g}°" if keys == ("rotation",) else f"up to {percent(amount, 0)}"
