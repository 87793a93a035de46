"""Does the geometry of a sequence agree with itself? Planes, normals against depth, one view against another. No bpy.

Every function looks at a few frames spread over the sequence and returns NaN where there is nothing to compare.
"""

from __future__ import annotations

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Intrinsics
from dkt_ros.training.sequences import SURROUNDINGS, Sequence

Float64 = NDArray[np.float64]

#: Frames looked at, and the most pixels of each (a regular grid of them).
VIEWS, PIXELS = 4, 40_000
#: A plane is a connected piece of the surroundings of at least this share of the picture, whose normals, each
#: component, differ by less than ``SAME_NORMAL`` (files keep normals in steps of 1/127).
LEAST_PLANE, SAME_NORMAL = 0.015, 0.012
#: Relative bends of 1/z between neighbours: more than ``CREASE`` is an edge. Pieces of planes end at ``STEP`` already,
#: the height of a book's cover above the table, which has the same normal.
CREASE, STEP = 0.02, 0.002


def spread_frames(count: int) -> list[int]:
    """Up to ``VIEWS`` frame numbers, the first and the last among them."""
    return sorted(set(np.linspace(0, count - 1, VIEWS).round().astype(int).tolist()))


def rays(camera: Intrinsics) -> Float64:
    """(H, W, 3) directions through the pixels' centres, Z = 1."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1)


def plane_residual(sequence: Sequence) -> float:
    """How far flat pieces of the surroundings are from planes: |z / z of the plane - 1|, 99th percentile, worst piece.

    A plane is affine in 1/z over the picture, whatever the camera; a distance along the ray in place of z is not.
    """
    worst = float("nan")
    terms = rays(sequence.intrinsics)
    for frame in spread_frames(len(sequence)):
        for piece in _flat_pieces(sequence, frame):
            inverse = 1 / sequence.depth[frame][piece].astype(np.float64)
            plane = np.linalg.lstsq(terms[piece], inverse, rcond=None)[0]
            worst = float(np.fmax(worst, np.percentile(np.abs(inverse / (terms[piece] @ plane) - 1), 99)))
    return worst


def _flat_pieces(sequence: Sequence, frame: int) -> list[NDArray[np.bool_]]:
    normals, depth = sequence.normals[frame].astype(np.float32), sequence.depth[frame]
    window = np.ones((3, 3), np.uint8)
    usable = (sequence.material[frame] == SURROUNDINGS) & np.isfinite(depth)
    filled = np.nan_to_num(normals)
    varies = np.stack([cv2.morphologyEx(filled[..., axis], cv2.MORPH_GRADIENT, window) for axis in range(3)], -1)
    flat = cv2.erode(usable.astype(np.uint8), window) & (varies.max(-1) < SAME_NORMAL) & ~_creased(depth, STEP)
    count, labels = cv2.connectedComponents(flat.astype(np.uint8), connectivity=4)
    pieces = [labels == number for number in range(1, count)]
    return [
        piece
        for piece in pieces
        if piece.sum() >= LEAST_PLANE * depth.size and np.ptp(normals[piece], axis=0).max() < SAME_NORMAL
    ]


def _creased(depth: NDArray[np.float32], share: float = CREASE) -> NDArray[np.bool_]:
    """Where 1/z bends or jumps between neighbours by more than ``share`` of itself, NaN included."""
    inverse = np.nan_to_num(1 / depth)
    bend = np.zeros(depth.shape, np.float32)
    bend[1:-1] = np.abs(inverse[2:] - 2 * inverse[1:-1] + inverse[:-2])
    bend[:, 1:-1] = np.maximum(bend[:, 1:-1], np.abs(inverse[:, 2:] - 2 * inverse[:, 1:-1] + inverse[:, :-2]))
    return ~(bend < share * inverse)


def normal_angles(sequence: Sequence, where: NDArray[np.bool_]) -> Float64:
    """Degrees between stored normals and those of central differences of depth, for the pixels ``where`` (T, H, W).

    Left out are pixels with a border of instances, material or depth within one pixel.
    """
    directions = rays(sequence.intrinsics)
    angles = []
    for frame in spread_frames(len(sequence)):
        points = directions * sequence.depth[frame][..., None].astype(np.float64)
        across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        measured = np.cross(down, across)
        stored = sequence.normals[frame, 1:-1, 1:-1].astype(np.float64)
        # By sine and cosine: near 0 the cosine alone turns a length of 0.9996 into 1.6 degrees.
        sine = np.linalg.norm(np.cross(measured, stored), axis=-1)
        angle = np.degrees(np.arctan2(sine, (measured * stored).sum(-1)))
        window = np.ones((3, 3), np.uint8)
        labels = sequence.instance[frame] ^ (sequence.material[frame] << 5)
        border = (cv2.morphologyEx(labels, cv2.MORPH_GRADIENT, window) > 0) | _creased(sequence.depth[frame])
        use = where[frame, 1:-1, 1:-1] & ~border[1:-1, 1:-1] & np.isfinite(angle)
        angles.append(angle[use])
    return np.concatenate(angles)


def view_residuals(sequence: Sequence) -> Float64:
    """|z seen / z expected - 1| of surroundings of one frame carried into the next of the ``VIEWS`` frames.

    Expected is what pose and depth of the one frame say; seen, the other's depth at that place, interpolated in 1/z.
    What lies more than 5 % behind the other's surface is hidden there and left out.
    """
    directions = rays(sequence.intrinsics)
    frames = spread_frames(len(sequence))
    residuals = [np.empty(0)]
    for source, target in itertools.pairwise(frames):
        take = (sequence.material[source] == SURROUNDINGS) & np.isfinite(sequence.depth[source])
        step = max(int(np.sqrt(take.size / PIXELS)), 1)
        grid = np.zeros_like(take)
        grid[::step, ::step] = True
        take &= grid
        points = directions[take] * sequence.depth[source][take][:, None].astype(np.float64)
        a, b = sequence.camera_to_world[source], sequence.camera_to_world[target]
        local = (points @ a[:3, :3].T + a[:3, 3] - b[:3, 3]) @ b[:3, :3]
        residuals.append(_seen_against(sequence, target, local))
    return np.concatenate(residuals)


def _seen_against(sequence: Sequence, frame: int, local: Float64) -> Float64:
    """Relative difference of depth where ``local`` (N, 3) points of ``frame``'s camera fall on even surroundings."""
    camera = sequence.intrinsics
    local = local[local[:, 2] > 0.05]
    u = camera.fx * local[:, 0] / local[:, 2] + camera.cx
    v = camera.fy * local[:, 1] / local[:, 2] + camera.cy
    inside = (u >= 0) & (v >= 0) & (u < camera.width - 1) & (v < camera.height - 1)
    u, v, z = u[inside], v[inside], local[inside, 2]
    column, row = u.astype(int), v.astype(int)
    inverse = np.nan_to_num(1 / sequence.depth[frame].astype(np.float64))
    even = (sequence.material[frame] == SURROUNDINGS) & ~_creased(sequence.depth[frame])
    seen, usable = np.zeros(len(u)), np.ones(len(u), bool)
    for dv, du in ((0, 0), (0, 1), (1, 0), (1, 1)):
        weight = (u - column if du else 1 - u + column) * (v - row if dv else 1 - v + row)
        seen += weight * inverse[row + dv, column + du]
        usable &= even[row + dv, column + du]
    residual = 1 / np.maximum(seen, 1e-9) / z - 1
    usable &= residual > -0.05
    return np.abs(residual[usable])
