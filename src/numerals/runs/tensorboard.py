"""TensorBoard's files: curves, augmented digits, weight histograms, the confusion matrix and the mistakes.

Written without TensorFlow. Look at them with `tensorboard --logdir RUN/tensorboard`.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.batches import batches
from numerals.article.callbacks import Epoch
from numerals.article.data import LabelledImages
from numerals.article.fit import Callback
from numerals.article.metrics import confusion_matrix
from numerals.article.state import TrainingState
from numerals.plots import digit_images, figures
from numerals.spec import WHITE

MAX_MISTAKES = 128  # of the test digits, the most confident first


class TensorBoard(Callback):
    """Writes every epoch's figures (the article's section 5).

    Training and validation are two writers with the same tags, so that their curves appear in one chart. A resumed
    training writes further files; the checkpoint has cut the earlier ones back, so that each figure is there once.

    Args:
        folder: where the files go, in one folder per writer.
        training: the training digits, whose first augmented batch is written once, as a mosaic.
    """

    def __init__(self, folder: Path, training: LabelledImages) -> None:
        self._folder, self._training = folder, training

    def on_train_begin(self, state: TrainingState) -> None:
        from torch.utils.tensorboard import SummaryWriter  # takes half a second, which other recipes save

        is_new = not any(self._folder.glob("*/*"))
        self._train = SummaryWriter(self._folder / "train")
        self._validation = SummaryWriter(self._folder / "validation")
        if is_new:
            digits, _ = next(batches(self._training, state.recipe, state.seed, 1, state.device))
            pixels = (digits[:, 0].cpu().numpy() * WHITE).round().astype(np.uint8)
            self._train.add_image("augmented digits", digit_images.mosaic(pixels, 8, gap=0), 0, dataformats="HW")
            for row in state.history:  # the files were damaged or deleted
                self._add_figures(row)

    def on_epoch_end(self, state: TrainingState, epoch: Epoch) -> None:
        """Losses, accuracies, the learning rate, and a histogram of each weight tensor."""
        self._add_figures(epoch)
        self._add_histograms(state.network, epoch.epoch)

    def _add_figures(self, row: Epoch) -> None:
        self._train.add_scalar("loss", row.loss, row.epoch)
        self._train.add_scalar("accuracy", row.accuracy, row.epoch)
        self._train.add_scalar("learning_rate", row.learning_rate, row.epoch)
        self._validation.add_scalar("loss", row.val_loss, row.epoch)
        self._validation.add_scalar("accuracy", row.val_accuracy, row.epoch)

    def _add_histograms(self, network: nn.Module, epoch: int) -> None:
        for name, weights in network.named_parameters():
            if torch.isfinite(weights).all():  # NaN has no histogram
                self._train.add_histogram(f"weights/{name}", weights.detach().float(), epoch)

    def flush(self) -> None:
        """Write everything to the files."""
        self._train.flush()
        self._validation.flush()

    def close(self) -> None:
        """Flush and close the files; after `on_train_begin` only."""
        self._train.close()
        self._validation.close()


def add_test_results(
    folder: Path, probabilities: npt.NDArray[np.float32], images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> None:
    """Add the confusion matrix and the mistakes on the test digits, the most confident first.

    Args:
        folder: the run's tensorboard folder.
        probabilities: float32 (n, 10).
        images: uint8 (n, 28, 28), white ink on black.
        labels: uint8 (n,).
    """
    from torch.utils.tensorboard import SummaryWriter

    predictions = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predictions != labels)
    shown = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:MAX_MISTAKES]
    with SummaryWriter(folder / "test") as writer:
        matrix = figures.confusion_matrix_image(confusion_matrix(labels, predictions))
        writer.add_image("confusion matrix", matrix, 0, dataformats="HWC")
        if len(shown):
            writer.add_image("mistakes", digit_images.mosaic(images[shown], 16), 0, dataformats="HW")
        text = ", ".join(f"{labels[at]} as {predictions[at]}" for at in shown)
        writer.add_text("mistakes, row by row", text or "none")
