"""The part of space that a cloud is cut to: a box along the axes of a frame of the robot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from dkt_ros.frames import Float32, UInt8
from dkt_ros.transforms import Matrix


def check_corner(corner: Sequence[float], name: str) -> None:
    """Raise ValueError, with the parameter's name, if a corner is not three numbers or has NaN in it."""
    if len(corner) != 3 or np.isnan(corner).any():
        raise ValueError(f"{name} = {list(corner)}: give three numbers [x, y, z] in metres, none of them NaN")


@dataclass(frozen=True)
class Workspace:
    """A box, borders included.

    Attributes:
        frame: the TF frame along whose axes it lies.
        lower, upper: its corners (x, y, z) in metres: the parameters workspace.min and workspace.max.

    Raises:
        ValueError: a corner is not three numbers or has NaN in it (infinity is allowed: no border on that side), or the
            box has no inside.
    """

    frame: str
    lower: Sequence[float]
    upper: Sequence[float]

    def __post_init__(self) -> None:
        check_corner(self.lower, "workspace.min")
        check_corner(self.upper, "workspace.max")
        for axis, low, high in zip("xyz", self.lower, self.upper, strict=True):
            if not low < high:
                raise ValueError(
                    f"workspace.min = {list(self.lower)} and workspace.max = {list(self.upper)}: nothing lies between "
                    f"{axis} = {low:g} and {high:g}; workspace.min must be the smaller corner in all three; "
                    "to move both, set them in one call (service set_parameters_atomically), or first the one that "
                    "widens the box"
                )

    def inside(self, points: Float32, matrix: Matrix) -> UInt8:
        """Which points lie in the box.

        Args:
            points: (H, W, 3) float32 metres, NaN where unknown.
            matrix: (4, 4), maps points into ``frame``.

        Returns:
            (H, W) uint8: 255 inside, 0 outside and where unknown (a mask as OpenCV takes it).
        """
        turned = cv2.transform(points, matrix[:3, :3])
        # The box is moved, not the points: a map's origin may lie so far away that float32 would lose millimetres.
        lower, upper = np.subtract(self.lower, matrix[:3, 3]), np.subtract(self.upper, matrix[:3, 3])
        return np.asarray(cv2.inRange(turned, lower, upper), np.uint8)
