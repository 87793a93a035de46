"""A picture on a grid of square cells, about as coarse as the model's own: where gate and fusion compare and smooth.

Cells are a whole number of pixels wide, which makes averaging fast; what is left over at the right and lower border
belongs to the last cells.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32


def cell_size(shape: tuple[int, ...], cells: int) -> int:
    """Pixels per cell so that a picture (H, W) is about ``cells`` cells wide; at least 1, at most the height."""
    return max(1, min(shape[0], round(shape[1] / cells)))


def cell_means(values: Float32, size: int) -> Float32:
    """(H, W) -> (H // size, W // size) float32: mean of each cell; NaN if it holds one."""
    if size == 1:
        return values
    height, width = values.shape[0] // size, values.shape[1] // size
    whole = values[: height * size, : width * size]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)


def from_cells(cells: NDArray[Any], shape: tuple[int, ...], size: int, *, smooth: bool) -> NDArray[Any]:
    """(h, w) -> ``shape``: linear between the middles of cells if ``smooth``, else each cell's own value."""
    if size == 1:
        return cells
    height, width = cells.shape
    how = cv2.INTER_LINEAR if smooth else cv2.INTER_NEAREST
    full = cv2.resize(cells, (width * size, height * size), interpolation=how)
    below, right = shape[0] - height * size, shape[1] - width * size
    if below or right:
        full = cv2.copyMakeBorder(full, 0, below, 0, right, cv2.BORDER_REPLICATE)
    return np.asarray(full)
