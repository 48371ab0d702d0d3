"""Training of the detector: recipe `detector`.

Every step trains on newly synthesised pages, which worker processes make. All random draws derive from (seed, page), so
a training can stop and continue at any step, with the same result as one that was never interrupted.
"""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from numerals import seeds
from numerals.article.data import Dataset, LabelledImages
from numerals.article.state import StateDict
from numerals.handwriting.glyphs import Glyphs, prepare_glyphs
from numerals.handwriting.pages import SIDE, PlacedDigit, SyntheticPage, synthesise_page
from numerals.processes import blocked_signals, exit_with_parent
from numerals.read.detect import SIZE_UNIT, STRIDE, Detections
from numerals.read.page_contrast import contrast_planes
from numerals.readers.common import Progress, ProgressCallback, moving_average
from numerals.readers.detector_network import DetectorNetwork
from numerals.readers.recipes import DetectorRecipe

MAX_PREFETCHED = 6  # batches requested from the workers ahead of the training step
PROGRESS_STEPS = 200  # steps between two reports of progress
CELLS = SIDE // STRIDE  # of the output, along each side of a page
NOT_A_CENTRE = -1  # class of cells that teach neither class nor box
MIN_WEIGHT = 0.4  # of the heat map: cells this near to a centre learn class and box
MIN_SPREAD = 0.6  # cells: of the heat around a centre
IGNORED = 0.97  # heat where a digit is cut off by the picture's edge: finding it is neither right nor wrong
WARM_UP_STEPS = 300  # in which the learning rate rises
COOL_DOWN = 0.2  # share of the steps in which it falls
MAX_GRADIENT_NORM = 10.0
FIRST_TEST_PAGE = 1 << 41  # page numbers, far from those of training
NOT_A_DIGIT, CUT_OFF = -1, -2  # of detections; see `match`
CLEAR = 0.4  # score of the detections that count in an evaluation
GLYPHS_USED = 24000  # digits to write pages with; more would not fit twice into a gigabyte


class Targets(NamedTuple):
    """What the network should answer for n pages, cell by cell."""

    heat: npt.NDArray[np.float32]  # (n, h, w) in [0, 1]: 1 at the centres of digits, less around them
    classes: npt.NDArray[np.int8]  # (n, h, w): the digit near whose centre the cell is, or NOT_A_CENTRE
    boxes: npt.NDArray[np.float32]  # (n, 4, h, w): as `DetectorNetwork.forward` returns them


class Batch(NamedTuple):
    """n pages, and what the network should answer for them."""

    planes: npt.NDArray[np.uint8]  # (n, 2, SIDE, SIDE)
    heat: npt.NDArray[np.float32]
    classes: npt.NDArray[np.int8]
    boxes: npt.NDArray[np.float32]

    @property
    def targets(self) -> Targets:
        return Targets(self.heat, self.classes, self.boxes)


class DetectorTraining:
    """The state of a training: network, running mean, optimizer, and the number of steps done."""

    def __init__(self, recipe: DetectorRecipe, seed: int, device: torch.device, initial: StateDict | None) -> None:
        torch.manual_seed(seeds.torch_seed(seed, seeds.INITIAL_WEIGHTS))
        network = DetectorNetwork()
        if initial is not None:
            network.load_state_dict(initial)
        self.network: DetectorNetwork = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = moving_average(self.network, recipe.averaging)
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        self.recipe, self.seed, self.device = recipe, seed, device
        self.bfloat16 = recipe.precision == "auto" and multiplies_in_bfloat16(device)
        self.step = 0

    def train_step(self, batch: Batch) -> float:
        """Train on one batch, and return its loss."""
        planes = torch.from_numpy(batch.planes).to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            output = self.network(planes.contiguous(memory_format=torch.channels_last))
        loss = detector_loss(output.float(), batch.targets, self.recipe)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), MAX_GRADIENT_NORM)
        self.optimizer.step()
        self.averaged.update_parameters(self.network)
        self.step += 1
        return float(loss.detach())

    def tensors(self) -> StateDict:
        """Everything that the training needs to continue, on the CPU."""
        groups = {"network": self.network.state_dict(), "averaged": self.averaged.state_dict()}
        found = {f"{group}.{name}": each for group, tensors in groups.items() for name, each in tensors.items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{index}.{name}": each for name, each in moments.items()}
        found["step"] = torch.tensor(self.step)
        return {name: each.detach().cpu().contiguous().clone() for name, each in found.items()}

    def restore(self, tensors: StateDict) -> None:
        """Continue from what `tensors` returned.

        Raises:
            KeyError, RuntimeError, ValueError: they belong to another network.
        """
        self.network.load_state_dict(_group(tensors, "network"))
        self.averaged.load_state_dict(_group(tensors, "averaged"))
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, tensor in _group(tensors, "optimizer").items():
            index, _, moment = name.partition(".")
            moments.setdefault(int(index), {})[moment] = tensor
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})
        self.step = int(tensors["step"])


def train_detector(
    recipe: DetectorRecipe,
    dataset: Dataset,
    seed: int,
    on_progress: ProgressCallback,
    initial: StateDict | None = None,
    *,
    device: torch.device | None = None,
    checkpoint: StateDict | None = None,
    on_step: Callable[[DetectorTraining], None] = lambda training: None,
) -> DetectorNetwork:
    """Train a detector on pages written with the training part of the recipe's split.

    Args:
        recipe: every number of the training.
        dataset: digits to write pages with.
        seed: the same seed gives the same network on the same device.
        on_progress: called every PROGRESS_STEPS steps and after the last one.
        initial: weights to start from; random ones if None.
        device: to train on; the CPU if None.
        checkpoint: continue from what `DetectorTraining.tensors` returned.
        on_step: called after each step.

    Returns:
        The moving average of the network, in evaluation mode, on the CPU.
    """
    training = DetectorTraining(recipe, seed, device or torch.device("cpu"), initial)
    if checkpoint is not None:
        training.restore(checkpoint)
    losses: list[float] = []
    training.network.train()
    for batch in batches(recipe, dataset, seed, training.step):
        losses.append(training.train_step(batch))
        on_step(training)
        if training.step % PROGRESS_STEPS == 0 or training.step == recipe.steps:
            progress = Progress("step", training.step, recipe.steps, float(np.mean(losses)))
            on_progress(training.averaged.module, progress)
            losses.clear()
    result = training.averaged.module
    assert isinstance(result, DetectorNetwork)
    return result.cpu().eval()


def multiplies_in_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions that multiply in bfloat16; on a CPU, AVX-512 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False))


def learning_rate(recipe: DetectorRecipe, step: int) -> float:
    """Linear rise, constant, linear fall. So a training that is extended before the fall has lost nothing."""
    return recipe.learning_rate * min(1.0, (step + 1) / WARM_UP_STEPS, (1 - step / recipe.steps) / COOL_DOWN)


def detector_loss(output: torch.Tensor, targets: Targets, recipe: DetectorRecipe) -> torch.Tensor:
    """The focal loss of the centres (CenterNet, equation 1), plus weighted losses of classes and boxes.

    Args:
        output: float32 (n, 15, h, w), as `DetectorNetwork.forward` returns it.
        targets: what it should be.
        recipe: its weights and `smoothing` are used.
    """
    heat, labels, wanted_boxes = (torch.from_numpy(each).to(output.device) for each in targets)
    probability = output[:, 0].sigmoid().clamp(1e-4, 1 - 1e-4)
    centre = heat == 1
    positive = (1 - probability) ** 2 * probability.log()
    negative = (1 - heat) ** 4 * probability**2 * (1 - probability).log()
    count = centre.sum().clamp(min=1)
    centres = -torch.where(centre, positive, negative).sum() / count
    near = labels != NOT_A_CENTRE
    if not near.any():
        return centres
    weight = heat[near]
    logits = output[:, 1:11].permute(0, 2, 3, 1)[near]
    classes = functional.cross_entropy(logits, labels[near].long(), reduction="none", label_smoothing=recipe.smoothing)
    boxes = (output[:, 11:] - wanted_boxes).abs().sum(1)[near]
    total = weight.sum()
    return (
        centres
        + recipe.class_loss * (classes * weight).sum() / total
        + recipe.box_loss * (boxes * weight).sum() / total
    )


def batches(recipe: DetectorRecipe, dataset: Dataset, seed: int, first_step: int = 0) -> Iterator[Batch]:
    """Yield the batch of each step from `first_step` on; the number and speed of the workers do not change them."""
    training = dataset.split(recipe.split.validation, recipe.split.random_state)[0]
    size, workers = recipe.batch_size, max(len(os.sched_getaffinity(0)) - 1, 1)
    with blocked_signals(signal.SIGINT):
        pool = get_context("spawn").Pool(workers, _start_worker, (training, seed))
    with pool:
        pending = deque(
            pool.apply_async(_make_batch, (step, size))
            for step in range(first_step, min(first_step + MAX_PREFETCHED * workers, recipe.steps))
        )
        for step in range(first_step, recipe.steps):
            batch = pending.popleft().get()
            if (ahead := step + MAX_PREFETCHED * workers) < recipe.steps:
                pending.append(pool.apply_async(_make_batch, (ahead, size)))
            yield batch


def make_batch(glyphs: Glyphs, seed: int, numbers: range) -> Batch:
    """Synthesise the pages with these numbers."""
    pages = [synthesise_page(glyphs, seed, number) for number in numbers]
    return Batch(np.stack([contrast_planes(page.picture) for page in pages]), *make_targets(pages))


def make_targets(pages: Sequence[SyntheticPage]) -> Targets:
    """What the network should answer for each page."""
    shape = len(pages), CELLS, CELLS
    heat, classes = np.zeros(shape, np.float32), np.full(shape, NOT_A_CENTRE, np.int8)
    boxes = np.zeros((len(pages), 4, CELLS, CELLS), np.float32)
    for position, page in enumerate(pages):
        for digit in page.digits:
            _mark(digit, heat[position], classes[position], boxes[position])
    return Targets(heat, classes, boxes)


def match(detections: Detections, page: SyntheticPage) -> npt.NDArray[np.int64]:
    """Find what is written on a page where each detection is, within a third of its size.

    Returns:
        For each detection, the digit; NOT_A_DIGIT where none is written, and CUT_OFF where one is cut off by the
        picture's edge. Where several detections are one digit, all but the best are NOT_A_DIGIT.
    """
    truth = np.full(len(detections), NOT_A_DIGIT)
    for digit in page.digits:
        width, height = digit.right - digit.left, digit.bottom - digit.top
        x, y = (digit.left + digit.right) / 2, (digit.top + digit.bottom) / 2
        reach_x, reach_y = (width / 3 + 2, height / 3) if digit.visible else (width, height)
        is_near = (np.abs(detections.x - x) < reach_x) & (np.abs(detections.y - y) < reach_y) & (truth == NOT_A_DIGIT)
        if not digit.visible:
            truth[is_near] = CUT_OFF
        elif is_near.any():
            truth[np.argmax(np.where(is_near, detections.score, -1))] = digit.digit
    return truth


def count_right(detections: Detections, page: SyntheticPage) -> tuple[int, int, int]:
    """Compare the clear detections on a page with what is written there.

    Returns:
        How many digits were found and named correctly; how many are written there; how many were found where there is
        none. Digits cut off by the picture's edge do not count.
    """
    clear = detections.take(detections.score >= CLEAR)
    truth = match(clear, page)
    right = int((clear.probabilities.argmax(axis=1) == truth).sum())
    return right, sum(digit.visible for digit in page.digits), int((truth == NOT_A_DIGIT).sum())


def _mark(
    digit: PlacedDigit, heat: npt.NDArray[np.float32], classes: npt.NDArray[np.int8], boxes: npt.NDArray[np.float32]
) -> None:
    """Write one digit into the targets of its page."""
    left, top, right, bottom = (each / STRIDE for each in (digit.left, digit.top, digit.right, digit.bottom))
    if not digit.visible:
        inside = heat[max(int(top), 0) : max(int(bottom) + 1, 0), max(int(left), 0) : max(int(right) + 1, 0)]
        np.maximum(inside, IGNORED, out=inside)
        return
    x, y, width, height = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
    column, row = min(max(int(x), 0), CELLS - 1), min(max(int(y), 0), CELLS - 1)
    spread_x, spread_y = max(width / 5, MIN_SPREAD), max(height / 6, MIN_SPREAD)
    reach_x, reach_y = int(3 * spread_x) + 1, int(3 * spread_y) + 1
    rows = np.arange(max(row - reach_y, 0), min(row + reach_y + 1, CELLS))
    columns = np.arange(max(column - reach_x, 0), min(column + reach_x + 1, CELLS))
    part = np.ix_(rows, columns)
    across = np.exp(-(((columns - column) / spread_x) ** 2) / 2)
    down = np.exp(-(((rows - row) / spread_y) ** 2) / 2)
    near = np.outer(down, across).astype(np.float32)
    nearest = near > heat[part]
    teaches = nearest & (near >= MIN_WEIGHT)
    heat[part] = np.where(nearest, near, heat[part])
    classes[part] = np.where(teaches, digit.digit, classes[part])
    sizes = np.log(max(digit.right - digit.left, 2) / SIZE_UNIT), np.log(max(digit.bottom - digit.top, 2) / SIZE_UNIT)
    answer = np.empty((4, *near.shape), np.float32)
    answer[0], answer[1], answer[2], answer[3] = *sizes, x - columns[None], y - rows[:, None]
    for plane, values in zip(boxes, answer, strict=True):
        plane[part] = np.where(teaches, values, plane[part])


def _group(tensors: StateDict, name: str) -> StateDict:
    return {key.removeprefix(f"{name}."): each for key, each in tensors.items() if key.startswith(f"{name}.")}


_worker: tuple[Glyphs, int] | None = None  # in a worker process: glyphs, seed


def _start_worker(digits: LabelledImages, seed: int) -> None:
    global _worker
    exit_with_parent()
    cv2.setNumThreads(1)
    _worker = prepare_glyphs(digits[0][:GLYPHS_USED], digits[1][:GLYPHS_USED]), seed


def _make_batch(step: int, size: int) -> Batch:
    assert _worker is not None
    glyphs, seed = _worker
    return make_batch(glyphs, seed, range(step * size, (step + 1) * size))
