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


def cell_means(values: Float32 | NDArray[np.bool_], size: int) -> Float32:
    """(H, W) -> (H // size, W // size) float32: mean of each cell; NaN if it holds one. Of bools: the share of True."""
    if size == 1:
        return values.astype(np.float32, copy=False)
    height, width = values.shape[0] // size, values.shape[1] // size
    whole: NDArray[Any] = values[: height * size, : width * size]
    if size == 2 and whole.dtype == np.float32:
        return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    if whole.dtype == bool:
        # A byte counts a column of a cell, which is lower than 256 in any picture that a camera sends.
        whole = whole.view(np.uint8) if size < 256 else whole.astype(np.float32)
    # Whole rows are added first: a few vector operations, up to five times as fast as OpenCV's INTER_AREA, which is
    # fast at size 2 only.
    rows = whole[::size].copy()
    for below in range(1, size):
        rows += whole[below::size]
    means = rows[:, ::size].astype(np.float32)
    for right in range(1, size):
        means += rows[:, right::size]
    means *= np.float32(1 / size**2)
    return means


def from_cells(cells: NDArray[Any], shape: tuple[int, ...], size: int, *, smooth: bool) -> NDArray[Any]:
    """(h, w) -> ``shape``: linear between the middles of cells if ``smooth``, else each cell's own value."""
    if size == 1:
        return cells
    height, width = cells.shape[0] * size, cells.shape[1] * size
    full = np.empty(shape, cells.dtype)
    whole = full[:height, :width]
    if smooth:
        cv2.resize(cells, (width, height), dst=whole, interpolation=cv2.INTER_LINEAR)
    else:
        whole[:] = np.repeat(np.repeat(cells, size, axis=1), size, axis=0)
    full[:height, width:] = full[:height, width - 1 : width]
    full[height:] = full[height - 1 : height]
    return full
