"""Medians of more values than fit in memory, from counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray


class Histogram:
    """Counts by cell and bin."""

    def __init__(self, cells: int, bins: int) -> None:
        self._counts: NDArray[np.int64] = np.zeros((cells, bins), np.int64)

    def add(self, cell: int, counts: NDArray[np.int64]) -> None:
        """How many values are in each bin."""
        self._counts[cell] += counts

    def median(self, cells: Sequence[int], middle_of: Callable[[int], float]) -> float:
        """Of the values in these cells, at least one; ``middle_of`` a bin's number is its value."""
        upto = self._counts[list(cells)].sum(0).cumsum()
        last = int(upto[-1]) - 1
        both = np.searchsorted(upto, [last // 2, (last + 1) // 2], side="right")
        return float(np.mean([middle_of(int(number)) for number in both]))
