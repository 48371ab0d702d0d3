"""The labels of MNIST's test digits that people do not agree with. Knows nothing about models.

Five people each were shown the test digits that looked mislabelled; for these fifteen, fewer than three of them chose
the given label (Northcutt, Athalye and Mueller 2021, cleanlab's study of label errors). They stay in every score, as
everybody counts them; beside it stands the score without them.
"""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from numerals.article.data import SHA256, TEST_LABELS

DISPUTED = (947, 1621, 1901, 2130, 2462, 2597, 2654, 3520, 3558, 5937, 6651, 6783, 8527, 9679, 9729)
IDX_HEAD = b"\0\0\x08\x01"  # of an IDX file of bytes with one dimension


def disputed(labels: npt.NDArray[np.integer[Any]]) -> tuple[int, ...]:
    """The places of the disputed ones: DISPUTED where these are MNIST's own test labels, in its order, else none.

    They are told by the hash of MNIST's file, so other data under MNIST's name has none, and MNIST under any name has.
    """
    file = IDX_HEAD + len(labels).to_bytes(4, "big") + labels.astype(np.uint8).tobytes()
    return DISPUTED if hashlib.sha256(file).hexdigest() == SHA256[TEST_LABELS] else ()
