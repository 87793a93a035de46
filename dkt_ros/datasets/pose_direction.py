"""Whether a set's camera poses lead to the camera or from it, found out by moving its depth from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, Intrinsics
from dkt_ros.geometry import unproject

#: A moved pixel fits if the other frame has its depth there within this share.
_SAME = 0.02
#: At least this share of the moved pixels must fit, ...
_FITS = 0.5
#: ... and this much less in the other direction, and if the camera is taken to stand still.
_CLEAR = 0.1
_FEWEST = 500

Pose = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """One frame: ``pose`` (4, 4) as stored, ``depth`` (H, W) metres, NaN where unknown."""

    pose: Pose
    depth: Float32
    camera: Intrinsics


def leads_to_world(views: Sequence[View]) -> bool | None:
    """True if the poses bring points of the camera into the world, False if the reverse; None if neither is clear.

    Every pair of views is compared both ways by the share of pixels of one that, moved, have their depth in the other.
    Where the camera hardly moves, nothing is clear.

    Args:
        views: of one video of a world that stands still, some way apart.
    """
    shares: dict[str, list[float]] = {"to world": [], "to camera": [], "still": []}
    for a, b in combinations(views, 2):
        try:
            motions = {
                "to world": np.linalg.solve(b.pose, a.pose),
                "to camera": b.pose @ np.linalg.inv(a.pose),
                "still": np.eye(4),
            }
        except np.linalg.LinAlgError:
            continue
        for name, motion in motions.items():
            share = _share(a, b, motion)
            if share is not None:
                shares[name].append(share)
    if not all(shares.values()):
        return None
    means = {name: float(np.mean(values)) for name, values in shares.items()}
    best, second = sorted(means, key=lambda name: -means[name])[:2]
    if best == "still" or means[best] < _FITS or means[second] > means[best] - _CLEAR:
        return None
    return best == "to world"


def _share(a: View, b: View, motion: Pose) -> float | None:
    """Of the pixels of ``a`` that arrive in ``b``, those with the depth that ``b`` has there; None of too few."""
    points = unproject(a.depth, a.camera)[np.isfinite(a.depth)].astype(np.float64)
    x, y, z = motion[:3, :3] @ points.T + motion[:3, 3:]
    camera = b.camera
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = np.rint(x / z * camera.fx + camera.cx), np.rint(y / z * camera.fy + camera.cy)
        arrives = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    there = b.depth[v[arrives].astype(int), u[arrives].astype(int)]
    known = np.isfinite(there)
    if known.sum() < _FEWEST:
        return None
    return float((np.abs(z[arrives][known] - there[known]) <= _SAME * there[known]).mean())
