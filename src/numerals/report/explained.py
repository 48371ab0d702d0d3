"""What a report tells of how the network sees: some mistakes, its filters, its maps. Knows nothing about pages."""

from typing import Any

import numpy as np

from numerals.article.data import Images, LabelledImages
from numerals.plots import digit_images
from numerals.report import attribution
from numerals.report.attribution import Floats
from numerals.report.sections import mistakes
from numerals.runs.load import KeptRun
from numerals.spec import WHITE

SOME = 6  # mistakes that are explained: the surest
NEIGHBOURS = 5
AMONG = 10_000  # training digits that neighbours are looked for in
MAPS = 16  # in a row
LIKELY = 3  # digits named with their probability


def explained(run: KeptRun, training: LabelledImages) -> dict[str, Any]:
    """The surest mistakes explained, the filters of the first layer, and one digit on its way through all layers."""
    images, labels = run.dataset.test
    undisputed = [each for each in mistakes(run, run.mistakes) if not each["disputed"]][:SOME]
    shown = int(np.flatnonzero(run.answers == labels)[0]) if (run.answers == labels).any() else 0
    weights = attribution.filters(run.network)
    return {
        "mistakes": _with_neighbours(run, [each | _one(run, each) for each in undisputed], training),
        "filters": {"uri": digit_images.data_uri(_filters(weights)), "count": len(weights), "side": weights.shape[1]},
        "maps": [_map(name, maps) for name, maps in attribution.feature_maps(run.network, images[shown])],
        "digit": {"uri": digit_images.data_uri(images[shown]), "label": int(labels[shown]), "place": shown},
        "among": min(AMONG, len(training[0])),
    }


def _one(run: KeptRun, mistake: dict[str, Any]) -> dict[str, Any]:
    """Which pixels spoke for the answer and for the truth, what else was likely, and how little would flip it."""
    image, shares = run.dataset.test[0][mistake["place"]], run.probabilities[mistake["place"]]
    flip = attribution.smallest_change(run.network, image)
    spoke = {
        key: digit_images.data_uri(digit_images.heatmap(attribution.attribution(run.network, image, mistake[key])))
        for key in ("answer", "truth")
    }
    likely = [(int(digit), float(shares[digit])) for digit in np.argsort(-shares)[:LIKELY]]
    return {"spoke": spoke, "likely": likely, "flip": _flip(image, flip) if flip else None}


def _flip(image: Images, flip: attribution.Flip) -> dict[str, Any]:
    change = (flip.image.astype(np.float32) - image) / WHITE
    return {
        "uri": digit_images.data_uri(flip.image),
        "change": digit_images.data_uri(digit_images.heatmap(change)),
        "answer": flip.answer,
        "distance": flip.distance,
        "largest": flip.largest,
    }


def _with_neighbours(run: KeptRun, found: list[dict[str, Any]], training: LabelledImages) -> list[dict[str, Any]]:
    """Each with the training digits that look most like it to the last hidden layer."""
    if not found:
        return found
    images, labels = training[0][:AMONG], training[1][:AMONG]
    vectors = attribution.hidden(run.network, run.dataset.test[0][[each["place"] for each in found]])
    places = attribution.nearest(vectors, attribution.hidden(run.network, images), NEIGHBOURS)
    near = [[{"uri": digit_images.data_uri(images[at]), "label": int(labels[at])} for at in row] for row in places]
    return [each | {"neighbours": mine} for each, mine in zip(found, near, strict=True)]


def _filters(weights: Floats) -> Images:
    """All of them on one sheet, grey for 0, so that they can be compared."""
    most = float(np.abs(weights).max()) or 1.0
    shades = ((weights / most + 1) / 2 * WHITE).round().astype(np.uint8)
    return digit_images.mosaic(shades, MAPS, 1)


def _map(name: str, maps: Floats) -> dict[str, Any]:
    """A layer's maps on one sheet, or its units as one row of pixels."""
    if maps.ndim == 3:
        sheet = digit_images.mosaic(digit_images.to_grey(maps), MAPS, 1)
    else:
        columns = min(len(maps), 64)
        padded = np.zeros(-(-len(maps) // columns) * columns, np.float32)
        padded[: len(maps)] = maps - maps.min()
        sheet = digit_images.to_grey(padded.reshape(-1, columns))
    return {
        "name": name,
        "uri": digit_images.data_uri(sheet),
        "shape": " × ".join(map(str, (*maps.shape[1:], maps.shape[0]))),
    }
