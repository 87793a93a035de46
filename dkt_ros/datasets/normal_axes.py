"""Which way the axes of a set's normals point, found out by comparing them with its depth."""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32, Intrinsics
from dkt_ros.geometry import normals_from_depth

#: The best signs must bring the normals within this median angle of those of the depth, degrees, ...
_CLOSE = 20.0
#: ... and every other choice must be farther off than the best by this, degrees.
_CLEAR = 10.0
_FEWEST = 500


def find_signs(normals: Float32, depth: Float32, camera: Intrinsics) -> NDArray[np.float32] | None:
    """The signs (3,) to multiply ``normals`` with to have them in the optical frame; None if no choice is clear.

    Each of the eight choices is compared, by the median angle, with the normals of the depth. On a picture of one plane
    that faces the camera two choices may be equally good; then there is no answer. Negative determinants are allowed:
    a picture that only names axes may mirror them.

    Args:
        normals: (H, W, 3) unit vectors, NaN where unknown.
        depth: (H, W) metres of the same picture, NaN where unknown.
        camera: of the picture.
    """
    from_depth = normals_from_depth(depth, camera)
    both = np.isfinite(normals).all(-1) & np.isfinite(from_depth).all(-1)
    if both.sum() < _FEWEST:
        return None
    ours, theirs = from_depth[both], normals[both]
    angles = {}
    for signs in product((1.0, -1.0), repeat=3):
        cosine = np.clip((ours * theirs * np.array(signs, np.float32)).sum(-1), -1, 1)
        angles[signs] = float(np.degrees(np.arccos(np.median(cosine))))
    best, second = sorted(angles, key=lambda signs: angles[signs])[:2]
    if angles[best] > _CLOSE or angles[second] < angles[best] + _CLEAR:
        return None
    return np.array(best, np.float32)
