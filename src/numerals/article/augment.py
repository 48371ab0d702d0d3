"""Random rotation, zoom and shift of whole batches (the article's section 3). Knows nothing about labels or training.

The meaning is that of Keras's `ImageDataGenerator`: rotation about the middle, zoom drawn for each axis on its own,
shifts as shares of the side, bilinear, and outside of the picture its nearest pixel. For the same drawn parameters the
pixels agree with Keras's own transform within 1/255 (a test compares). No flips: a mirrored digit is another sign.
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


def random_transforms(count: int, recipe: AugmentSettings, chance: np.random.Generator) -> Transforms:
    """One transform for each of `count` digits, uniform within the recipe's ranges: float32 (count, 5).

    The columns are what Keras calls theta, tx, ty, zx and zy: x runs along a row, y down, and `width_shift` bounds tx.
    (Keras's own generator crosses the two names: its height_shift_range moves along a row. The article's are equal.)
    """
    far = transform_limits(recipe)
    return (np.array(IDENTITY) + chance.uniform(-far, far, (count, len(far)))).astype(np.float32)


def transform_limits(recipe: AugmentSettings) -> npt.NDArray[np.float64]:
    """How far each column of a transform may be from the identity, float64 (5,); all zero: no augmentation."""
    return np.array([recipe.rotation, recipe.width_shift * SIDE, recipe.height_shift * SIDE, recipe.zoom, recipe.zoom])


def apply_transforms(images: torch.Tensor, transforms: Transforms) -> torch.Tensor:
    """Each digit through its transform.

    Args:
        images: float32 (n, 1, 28, 28), any range.
        transforms: float32 (n, 5), as `random_transforms` gives them.

    Returns:
        float32 (n, 1, 28, 28) on the same device, within the range of the images.
    """
    drawn = torch.from_numpy(np.ascontiguousarray(transforms)).to(images.device)
    rotation, shift_x, shift_y, zoom_x, zoom_y = drawn.unbind(1)
    cos, sin = torch.cos(rotation * (math.pi / 180)), torch.sin(rotation * (math.pi / 180))
    middle = (SIDE - 1) / 2  # affine_grid counts from the middle, with 1 at the outermost pixels' centres
    across = torch.stack([cos * zoom_x, -sin * zoom_y, (cos * shift_x - sin * shift_y) / middle], 1)
    down = torch.stack([sin * zoom_x, cos * zoom_y, (sin * shift_x + cos * shift_y) / middle], 1)
    grid = functional.affine_grid(torch.stack([across, down], 1), list(images.shape), align_corners=True)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)
