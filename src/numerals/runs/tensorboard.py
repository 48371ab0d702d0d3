"""What TensorBoard shows of a training: curves, augmented digits, histograms, the confusion matrix, mistakes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from numerals.article.callbacks import Epoch

MISTAKES = 128  # of the test digits, shown in TensorBoard: the surest


class TensorBoard:
    """Writes what TensorBoard shows, without TensorFlow: `tensorboard --logdir RUN/tensorboard`.

    Training and validation are two writers with the same tags, so that the page draws them over each other. Where files
    of an earlier part of the training are in the folder, it goes on after them.

    Args:
        history: the epochs before; their figures are written again where the files are not there any more.
    """

    def __init__(self, folder: Path, history: Sequence[Epoch] = ()) -> None:
        from torch.utils.tensorboard import SummaryWriter  # half a second that other recipes need not spend

        self.is_new = not any(folder.glob("*/*"))
        self._train = SummaryWriter(folder / "train")
        self._validation = SummaryWriter(folder / "validation")
        for row in history if self.is_new else ():
            self.add_figures(row)

    def add_digits(self, tag: str, grid: npt.NDArray[np.uint8]) -> None:
        """One grey picture, uint8 (height, width)."""
        self._train.add_image(tag, grid, 0, dataformats="HW")

    def add_epoch(self, row: Epoch, network: nn.Module) -> None:
        """Losses, accuracies, learning rate, and a histogram of each weight."""
        self.add_figures(row)
        for name, weights in network.named_parameters():
            if torch.isfinite(weights).all():  # there is no histogram of NaN
                self._train.add_histogram(f"weights/{name}", weights.detach().float(), row.epoch)

    def add_figures(self, row: Epoch) -> None:
        """Losses, accuracies, learning rate."""
        self._train.add_scalar("loss", row.loss, row.epoch)
        self._train.add_scalar("accuracy", row.accuracy, row.epoch)
        self._train.add_scalar("learning_rate", row.learning_rate, row.epoch)
        self._validation.add_scalar("loss", row.val_loss, row.epoch)
        self._validation.add_scalar("accuracy", row.val_accuracy, row.epoch)

    def flush(self) -> None:
        """Everything is in the files."""
        self._train.flush()
        self._validation.flush()

    def close(self) -> None:
        self._train.close()
        self._validation.close()


def add_test(
    folder: Path, probabilities: npt.NDArray[np.float32], images: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8]
) -> None:
    """TensorBoard's page on the test digits: the confusion matrix, and the mistakes, the surest first."""
    from torch.utils.tensorboard import SummaryWriter

    from numerals.article.metrics import confusion_matrix
    from numerals.plots import digit_images, figures

    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    surest = wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")][:MISTAKES]
    with SummaryWriter(folder / "test") as writer:
        matrix = figures.confusion_matrix_image(confusion_matrix(labels, answers))
        writer.add_image("confusion matrix", matrix, 0, dataformats="HWC")
        if len(surest):
            writer.add_image("mistakes", digit_images.mosaic(images[surest], 16), 0, dataformats="HW")
        named = ", ".join(f"{labels[at]} as {answers[at]}" for at in surest)
        writer.add_text("mistakes, row by row", named or "none")
