"""Rotate, zoom and shift digits at random (the article's section 3), whole batches at once.

The meaning is that of Keras's `ImageDataGenerator`: rotation about the centre, a separate zoom for each axis, shifts as
fractions of the image side, bilinear interpolation, and the nearest pixel outside of the image. For the same parameters
the pixels are within 1/255 of Keras's own. A recipe may ask for flips, and none does: a mirrored digit is
not a digit.
"""

import math

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from numerals.article.recipe import AugmentSettings
from numerals.spec import SIDE

Transforms = npt.NDArray[np.float32]  # (n, 5): rotation in degrees, shift x and y in pixels, zoom x and y
IDENTITY = (0.0, 0.0, 0.0, 1.0, 1.0)


def random_transforms(count: int, recipe: AugmentSettings, generator: np.random.Generator) -> Transforms:
    """Draw a transform for each of `count` digits, uniformly within the recipe's ranges; a flip for every second one.

    Returns:
        float32 (count, 5). Keras calls the columns theta, tx, ty, zx and zy. x runs along a row, y down, and
        `width_shift` limits tx. (Keras's own generator swaps the two: its height_shift_range moves digits along a row.
        The article's two shifts are equal.) A negative zoom mirrors that axis.
    """
    limits = np.array(
        [recipe.rotation, recipe.width_shift * SIDE, recipe.height_shift * SIDE, recipe.zoom, recipe.zoom]
    )
    transforms = np.array(IDENTITY) + generator.uniform(-limits, limits, (count, len(limits)))
    for column, flips in ((3, recipe.flip_horizontal), (4, recipe.flip_vertical)):
        if flips:  # drawn last, so that all other numbers are those of a training without flips
            transforms[:, column] *= generator.choice((-1, 1), count)
    return transforms.astype(np.float32)


def apply_transforms(images: torch.Tensor, transforms: Transforms) -> torch.Tensor:
    """Transform each image by its row of `transforms`.

    Args:
        images: float32 (n, 1, 28, 28), any range.
        transforms: float32 (n, 5), as from `random_transforms`.

    Returns:
        float32 (n, 1, 28, 28) on the same device, within the range of the images.
    """
    columns = torch.from_numpy(np.ascontiguousarray(transforms)).to(images.device)
    rotation, shift_x, shift_y, zoom_x, zoom_y = columns.unbind(1)
    cos, sin = torch.cos(rotation * (math.pi / 180)), torch.sin(rotation * (math.pi / 180))
    centre = (SIDE - 1) / 2  # affine_grid counts from the centre, with 1 at the outermost pixels' centres
    x_row = torch.stack([cos * zoom_x, -sin * zoom_y, (cos * shift_x - sin * shift_y) / centre], 1)
    y_row = torch.stack([sin * zoom_x, cos * zoom_y, (sin * shift_x + cos * shift_y) / centre], 1)
    grid = functional.affine_grid(torch.stack([x_row, y_row], 1), list(images.shape), align_corners=True)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)
