"""Collect what the report shows of a run: digits, augmentation, layers, corruptions, and how the network decides.

Each function returns what one section of the page needs, with pictures as data URIs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from numerals import seeds
from numerals.article import augment
from numerals.article.data import Images, LabelledImages
from numerals.article.metrics import disputed_indices
from numerals.article.model import as_input
from numerals.article.recipe import AugmentSettings
from numerals.plots import digit_images, figures
from numerals.report import attribution
from numerals.report.attribution import AdversarialExample, Floats
from numerals.report.corruptions import CORRUPTIONS
from numerals.report.prose import percent
from numerals.report.robustness import CorruptionScore, Robustness
from numerals.runs.load import SavedRun
from numerals.spec import CLASSES, WHITE

SAMPLES_PER_CLASS = 12
AUGMENTED_DIGITS, AUGMENTED_EPOCHS = 8, 5  # training digits shown, and in how many epochs
EXPLAINED_MISTAKES = 6
NEIGHBOURS = 5  # training digits shown for each explained mistake
MAX_NEIGHBOUR_CANDIDATES = 10_000  # training digits that are searched for them
LIKELIEST = 3  # digits shown with their probability for each explained mistake
MOSAIC_COLUMNS = 16  # filters or feature maps in a row
UNIT_COLUMNS = 64  # units of a dense layer in a row
CPU = torch.device("cpu")


@dataclass(frozen=True)
class GalleryDigit:
    """A test digit, its label and its prediction."""

    index: int  # in the test set
    label: int
    prediction: int
    confidence: float  # probability of the prediction
    label_probability: float
    uri: str
    is_disputed: bool  # whether people disagree with the label


@dataclass(frozen=True)
class ClassSamples:
    """Some training digits of one class, and how many digits of it there are."""

    digit: int
    uri: str
    training_count: int
    test_count: int


@dataclass(frozen=True)
class AugmentedDigit:
    """A training digit, and what augmentation made of it in the first epochs."""

    digit: int
    uri: str
    augmented_uris: list[str]


@dataclass(frozen=True)
class CorruptionStep:
    """One severity of a corruption."""

    amount: str
    accuracy: float
    uri: str  # a digit corrupted this much


@dataclass(frozen=True)
class CorruptionSection:
    """One corruption: an example and the accuracy at each severity."""

    name: str
    description: str
    similar_augmentation: str  # how much training changed digits in a similar way; "" for not at all
    steps: list[CorruptionStep]
    curve: str  # SVG


@dataclass(frozen=True)
class ExplainedMistake:
    """A mistake, and why the network makes it."""

    digit: GalleryDigit
    prediction_evidence_uri: str  # pixels that are evidence for and against the predicted digit
    label_evidence_uri: str
    likeliest: list[tuple[int, float]]  # digits and their probabilities
    flip: AdversarialExample | None  # the smallest change found that makes the network predict another digit
    flip_uri: str  # ink to add and to remove for it; "" without one
    neighbours: list[tuple[str, int]]  # training digits that look similar to the network: URI and label


@dataclass(frozen=True)
class FilterMosaic:
    """The filters of the first convolution in one picture."""

    uri: str
    count: int
    side: int  # of a filter, in weights


@dataclass(frozen=True)
class LayerOutput:
    """What a layer makes of a digit: its feature maps in one picture, or its units as rows of pixels."""

    name: str
    uri: str
    shape: str
    has_maps: bool


@dataclass(frozen=True)
class Explanation:
    """How the network decides: its most confident mistakes, its filters, and one digit layer by layer."""

    mistakes: list[ExplainedMistake]
    neighbour_candidates: int  # training digits among which neighbours were searched
    filters: FilterMosaic
    digit: GalleryDigit  # the digit of `outputs`
    outputs: list[LayerOutput]


def gallery(run: SavedRun, indices: Sequence[int] | npt.NDArray[np.int64]) -> list[GalleryDigit]:
    """These test digits, in this order."""
    images, labels = run.dataset.test
    disputed = disputed_indices(labels)
    digits = []
    for index in map(int, indices):
        probabilities, label = run.probabilities[index], int(labels[index])
        digits.append(
            GalleryDigit(
                index=index,
                label=label,
                prediction=int(probabilities.argmax()),
                confidence=float(probabilities.max()),
                label_probability=float(probabilities[label]),
                uri=digit_images.data_uri(images[index]),
                is_disputed=index in disputed,
            )
        )
    return digits


def most_confident(run: SavedRun, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """These indices of test digits, most confident predictions first."""
    return indices[np.argsort(-run.probabilities[indices].max(axis=1), kind="stable")]


def class_samples(run: SavedRun) -> list[ClassSamples]:
    """Samples of each class that has training digits."""
    (images, labels), (_, test_labels) = run.dataset.train, run.dataset.test
    return [
        ClassSamples(
            digit=digit,
            uri=digit_images.data_uri(
                digit_images.mosaic(images[labels == digit][:SAMPLES_PER_CLASS], SAMPLES_PER_CLASS)
            ),
            training_count=int((labels == digit).sum()),
            test_count=int((test_labels == digit).sum()),
        )
        for digit in range(len(CLASSES))
        if (labels == digit).any()
    ]


def augmented_digits(run: SavedRun, training: LabelledImages) -> list[AugmentedDigit]:
    """The first training digits as the first epochs augmented them; empty for a recipe without augmentation."""
    images, labels = training[0][:AUGMENTED_DIGITS], training[1][:AUGMENTED_DIGITS]
    if not run.recipe.augment.is_on:
        return []
    epochs = []
    for epoch in range(1, AUGMENTED_EPOCHS + 1):
        rng = seeds.generator(run.metrics["seed"], seeds.AUGMENTATION, epoch)
        transforms = augment.random_transforms(len(training[0]), run.recipe.augment, rng)[:AUGMENTED_DIGITS]
        transformed = augment.apply_transforms(as_input(images, CPU), transforms)[:, 0].numpy()
        epochs.append((transformed * WHITE).round().astype(np.uint8))
    return [
        AugmentedDigit(
            int(label), digit_images.data_uri(image), [digit_images.data_uri(epoch[index]) for epoch in epochs]
        )
        for index, (image, label) in enumerate(zip(images, labels, strict=True))
    ]


def corruption_sections(run: SavedRun, robustness: Robustness) -> list[CorruptionSection]:
    """Each corruption with its accuracies, and the first test digit corrupted by it."""
    example = run.dataset.test[0][:1]
    return [_corruption_section(run, score, robustness.clean, example) for score in robustness.corruptions]


def _corruption_section(
    run: SavedRun, score: CorruptionScore, clean_accuracy: float, example: Images
) -> CorruptionSection:
    corruption = CORRUPTIONS[score.name]
    accuracies = ", ".join(f"{accuracy:.3f}" for accuracy in score.accuracies)
    alt = f"Accuracy under {score.name}: {clean_accuracy:.3f} on clean digits, then {accuracies}"
    return CorruptionSection(
        name=score.name,
        description=corruption.description,
        similar_augmentation=_similar_augmentation(run.recipe.augment, corruption.similar_augmentation),
        steps=[
            CorruptionStep(
                amount=corruption.amount_format.format(amount).replace("%", "\N{NO-BREAK SPACE}%"),
                accuracy=accuracy,
                uri=digit_images.data_uri(corruption.apply(example, severity)[0]),
            )
            for severity, (amount, accuracy) in enumerate(zip(score.amounts, score.accuracies, strict=True), 1)
        ],
        curve=figures.corruption_curve(score.name, score.accuracies, clean_accuracy, alt),
    )


def _similar_augmentation(settings: AugmentSettings, keys: tuple[str, ...]) -> str:
    """The largest of these augmentations in words; "" if the recipe has none of them."""
    amount = max((getattr(settings, key) for key in keys), default=0)
    if not amount:
        return ""
    return f"up to {amount:g}°" if keys == ("rotation",) else f"up to {percent(amount, 0)}"


def explanation(run: SavedRun, training: LabelledImages) -> Explanation:
    """Explain the most confident mistakes with undisputed labels, and show a correctly read digit layer by layer."""
    images, labels = run.dataset.test
    disputed = disputed_indices(labels)
    mistakes = [index for index in most_confident(run, run.mistakes).tolist() if index not in disputed]
    correct = np.flatnonzero(run.predictions == labels)
    index = int(correct[0]) if len(correct) else 0
    return Explanation(
        mistakes=_explained_mistakes(run, gallery(run, mistakes[:EXPLAINED_MISTAKES]), training),
        neighbour_candidates=min(MAX_NEIGHBOUR_CANDIDATES, len(training[0])),
        filters=_filter_mosaic(attribution.first_layer_filters(run.network)),
        digit=gallery(run, [index])[0],
        outputs=[_layer_output(name, output) for name, output in attribution.feature_maps(run.network, images[index])],
    )


def _explained_mistakes(
    run: SavedRun, mistakes: list[GalleryDigit], training: LabelledImages
) -> list[ExplainedMistake]:
    if not mistakes:
        return []
    explained = []
    neighbours = _neighbours(run, [mistake.index for mistake in mistakes], training)
    for mistake, similar in zip(mistakes, neighbours, strict=True):
        image, probabilities = run.dataset.test[0][mistake.index], run.probabilities[mistake.index]
        flip = attribution.deepfool(run.network, image)
        explained.append(
            ExplainedMistake(
                digit=mistake,
                prediction_evidence_uri=_heatmap_uri(
                    attribution.integrated_gradients(run.network, image, mistake.prediction)
                ),
                label_evidence_uri=_heatmap_uri(attribution.integrated_gradients(run.network, image, mistake.label)),
                likeliest=[
                    (int(digit), float(probabilities[digit])) for digit in np.argsort(-probabilities)[:LIKELIEST]
                ],
                flip=flip,
                flip_uri=_heatmap_uri((flip.image.astype(np.float32) - image) / WHITE) if flip else "",
                neighbours=similar,
            )
        )
    return explained


def _heatmap_uri(values: Floats) -> str:
    return digit_images.data_uri(digit_images.heatmap(values))


def _neighbours(run: SavedRun, indices: list[int], training: LabelledImages) -> list[list[tuple[str, int]]]:
    """For each test digit, the training digits with the most similar activations in the last hidden layer."""
    images, labels = training[0][:MAX_NEIGHBOUR_CANDIDATES], training[1][:MAX_NEIGHBOUR_CANDIDATES]
    activations = attribution.last_hidden_activations(run.network, run.dataset.test[0][indices])
    candidates = attribution.last_hidden_activations(run.network, images)
    return [
        [(digit_images.data_uri(images[index]), int(labels[index])) for index in row]
        for row in attribution.nearest_neighbours(activations, candidates, NEIGHBOURS)
    ]


def _filter_mosaic(weights: Floats) -> FilterMosaic:
    """All filters on one scale, so that they can be compared: grey is 0."""
    largest = float(np.abs(weights).max()) or 1.0
    pixels = ((weights / largest + 1) / 2 * WHITE).round().astype(np.uint8)
    uri = digit_images.data_uri(digit_images.mosaic(pixels, MOSAIC_COLUMNS, 1))
    return FilterMosaic(uri, len(weights), weights.shape[1])


def _layer_output(name: str, output: Floats) -> LayerOutput:
    has_maps = output.ndim == 3
    if has_maps:
        pixels = digit_images.mosaic(digit_images.to_grey(output), MOSAIC_COLUMNS, 1)
    else:
        columns = min(len(output), UNIT_COLUMNS)
        padded = np.zeros(-(-len(output) // columns) * columns, np.float32)
        padded[: len(output)] = output - output.min()
        pixels = digit_images.to_grey(padded.reshape(-1, columns))
    shape = " × ".join(map(str, (*output.shape[1:], output.shape[0])))
    return LayerOutput(name, digit_images.data_uri(pixels), shape, has_maps)
