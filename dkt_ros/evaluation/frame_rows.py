"""One true picture's valid pixels as a row, and what answers have in common there."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.alignment import inverse, moments
from dkt_ros.evaluation.tallies import counted
from dkt_ros.evaluation.videos import Patched, Pictures
from dkt_ros.frames import Float32


class Base:
    """Depth that several answers have in common, in one frame: rows, and what its cells count for."""

    def __init__(self, frame: FrameRows, pictures: Pictures, counting: bool) -> None:
        self.depth = frame.row(pictures)
        self.disparity = inverse(self.depth)
        if counting:
            cells = [slice(begin, end) for begin, end in pairwise(frame.bounds)]
            self.counted = [counted(self.depth[cell], frame.truth[cell]) for cell in cells]
            self.moments = [moments(self.disparity[cell], frame.truth[cell]) for cell in cells]


class Patch:
    """Where the pixels of ``Patched`` are in the rows of one frame.

    Attributes:
        where: their places in the row. taken: which of the patch's values belong there; others are not scored.
        untouched: the cells that none of them is in.
    """

    def __init__(self, frame: FrameRows, places: NDArray[np.integer[Any]], size: int) -> None:
        rank = np.full(size, -1, np.int32)
        rank[frame.order] = np.arange(len(frame.order), dtype=np.int32)
        found = rank[places]
        self.taken = np.flatnonzero(found >= 0)
        self.where = found[self.taken]
        inside = np.histogram(self.where, np.append(frame.bounds, np.inf))[0]
        self.untouched = [cell for cell, count in enumerate(inside[:-1]) if not count]


class FrameRows:
    """One true picture's valid pixels as a row, sorted by cell, and what answers have in common there.

    Args:
        depths: of all answers, to be looked at once.
        counting: False leaves out what the first pass alone needs.
    """

    def __init__(
        self,
        index: int,
        order: NDArray[np.intp],
        truth: Float32,
        bounds: list[int],
        normals: NDArray[Any] | None,
        depths: Sequence[Pictures],
        counting: bool,
    ) -> None:
        self.index, self.order, self.truth, self.bounds = index, order, truth, bounds
        self.normals = None if normals is None else self._at(normals)
        self._bases: dict[int, Base] = {}
        self._patches: dict[int, Patch] = {}
        for pictures in depths:
            base = pictures.base if isinstance(pictures, Patched) else pictures
            if id(base) not in self._bases:
                self._bases[id(base)] = Base(self, base, counting)
            if isinstance(pictures, Patched) and id(pictures.places) not in self._patches:
                size = int(np.prod(pictures.shape[1:]))
                self._patches[id(pictures.places)] = Patch(self, pictures.places[index], size)

    def row(self, pictures: Pictures) -> NDArray[Any]:
        """(n, ...) of these pixels."""
        return self._at(np.asarray(pictures[self.index]))

    def _at(self, picture: NDArray[Any]) -> NDArray[Any]:
        return picture.reshape(-1, *picture.shape[2:])[self.order]

    def parts(self, pictures: Pictures) -> tuple[Base, Patch | None, Float32 | None]:
        """Of the depth of an answer: what it has in common with others, and its own values and where they are."""
        if not isinstance(pictures, Patched):
            return self._bases[id(pictures)], None, None
        patch = self._patches[id(pictures.places)]
        return self._bases[id(pictures.base)], patch, pictures.values[self.index][patch.taken]
