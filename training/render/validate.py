"""Is a rendered sequence fit to be learned from? Measurements of one sequence and the limits they must keep.

``check_sequence`` runs on every sequence before it is written, and again on files. No bpy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dkt_ros.training.render import consistency
from dkt_ros.training.render.sensor_statistics import sequence_statistics
from dkt_ros.training.sequences import SURROUNDINGS, Sequence, check_arrays


class Limit(NamedTuple):
    """The least and greatest allowed value of a measurement (NaN, nothing to measure, passes) and what it is."""

    low: float
    high: float
    meaning: str


_ANY = float("inf")

#: On the right, what 80 rendered sequences have, in memory and read back from tars (16-bit depth, 8-bit normals);
#: limits leave room for scenes unlike those. What mistakes make of 14 to 30 of them: distance along the ray "plane"
#: 0.046 and more, frozen poses "view" 0.0027, mirrored normals "angle" 28, background in place of glass "angle 90" 83.
#: A focal length wrong by 2 % or a shift by half a pixel shows in "view" only where the camera moves far: in half of
#: the sequences and in a quarter.
LIMITS = {
    "length": Limit(0, 0.005, "greatest deviation of a normal's length from 1"),  # 0.0003 to 0.0004
    "away": Limit(0, 0.01, "share of normals that face away from the camera"),  # 0 to 0.00001
    "flat angle": Limit(  # 0.001 to 0.27
        0, 1.0, "median angle between normals and the slope of depth, surroundings, degrees"
    ),  # 0 to 0.25
    "angle": Limit(0, 6.0, "median angle between normals and the slope of depth, objects, degrees"),  # 0.3 to 2.8
    "angle 90": Limit(0, 30.0, "90th percentile of that angle, degrees"),  # 1.0 to 9.0
    "plane": Limit(0, 3e-3, "relative distance of flat surroundings from a plane"),  # 0 to 0.0005
    "view": Limit(0, 1e-4, "median relative difference of depth between two views of one place"),  # 0 to 0.00003
    "view 90": Limit(0, 1.5e-3, "90th percentile of that difference"),  # 0 to 0.0001
    "before": Limit(0, 0, "share of transparent pixels whose background is nearer than they are"),  # 0
    "behind": Limit(0.9, 1, "share of transparent pixels whose background is over 1 mm behind them"),  # 0.998 to 1
    "same": Limit(0.999, 1, "share of other pixels whose background is their own depth"),  # 1
    "brightness": Limit(25, 225, "mean of RGB"),  # 91 to 162
    "burnt": Limit(0, 0.3, "share of white pixels"),  # 0 to 0.023
    "black": Limit(0, 0.4, "share of black pixels"),  # 0 to 0.00004
    "contrast": Limit(4, _ANY, "least standard deviation of RGB in a frame"),  # 9 to 68
    "flicker": Limit(0, 15, "greatest change of mean RGB from frame to frame"),  # 0.2 to 7.5
    "rotation": Limit(0, 1e-6, "deviation of the poses' rotations from orthonormal"),  # 0
    "motion": Limit(2e-4, _ANY, "mean motion of the camera per frame, metres + radians"),  # 0.003 to 0.07
    "step": Limit(0, 0.15, "greatest step of the camera, metres"),  # 0.001 to 0.04
    "turn": Limit(0, 12, "greatest turn of the camera from frame to frame, degrees"),  # 0.2 to 3.1
    "jump": Limit(0, 10, "greatest motion of the camera over the median one"),  # 1.0 to 1.8
    "least transparent": Limit(0.003, 1, "share of transparent pixels in the frame that has least"),  # 0.05 to 0.25
    "most transparent": Limit(0.01, 0.7, "share of transparent pixels in the frame that has most"),  # 0.05 to 0.27
    "labels": Limit(0, 0.001, "share of pixels that are of an object by number and not by material, or reverse"),  # 0
    "drawn sensor holes": Limit(0, 0.995, "share of transparent pixels without sensor depth"),  # 0.18 to 0.76
    "drawn sensor first surface": Limit(0, 0.8, "share of transparent pixels with right sensor depth"),  # 0.04 to 0.33
    "drawn sensor other holes": Limit(0, 0.6, "share of other pixels without sensor depth"),  # 0.03 to 0.44
    "drawn sensor noise": Limit(0.01, 1.0, "noise of the sensor depth, pixels of disparity"),  # 0.08 to 0.23
    "rendered stereo holes": Limit(0, 0.995, "share of transparent pixels without stereo depth"),
    "rendered stereo first surface": Limit(0, 0.9, "share of transparent pixels with right stereo depth"),
    "rendered stereo other holes": Limit(0, 0.6, "share of other pixels without stereo depth"),
    "rendered stereo noise": Limit(0.005, 2.0, "noise of the stereo depth, pixels of disparity"),
}


def check_sequence(sequence: Sequence) -> list[str]:
    """Why ``sequence`` must not be learned from, a sentence each; empty if nothing is wrong with it."""
    if reasons := _impossible(sequence):
        return reasons  # nothing else can be measured
    for name, value in measurements(sequence).items():
        low, high, meaning = LIMITS[name]
        if value < low or value > high:
            reasons.append(f"{name}: {meaning} is {value:.4g}, allowed {low:g} to {high:g}")
    return reasons


def measurements(sequence: Sequence) -> dict[str, float]:
    """A number, or NaN, for names of ``LIMITS``; those of stereo depth only where there is some."""
    return (
        _geometry(sequence)
        | _background(sequence)
        | _colours(sequence)
        | _camera(sequence)
        | _labels(sequence)
        | {
            f"{row.name} {name.replace('_', ' ')}": getattr(row, name)
            for row in sequence_statistics(sequence)
            for name in ("holes", "first_surface", "other_holes", "noise")
        }
    )


def _impossible(sequence: Sequence) -> list[str]:
    """Wrong shapes and values that no picture of the world has."""
    try:
        check_arrays(sequence)
    except ValueError as error:
        return [f"arrays: {error}"]
    reasons = []
    for name in ("depth", "background_depth", "sensor_depth", "stereo_depth"):
        depth = getattr(sequence, name)
        if depth is not None and (empty := int(np.isnan(depth).all(axis=(1, 2)).sum())):
            reasons.append(f"values: {empty} frames have no {name} at all")
    if different := int((np.isfinite(sequence.normals).all(-1) != np.isfinite(sequence.depth)).sum()):
        reasons.append(f"values: {different} pixels have a normal and no depth, or depth and no normal")
    if not np.isfinite(sequence.camera_to_world).all():
        reasons.append("values: camera_to_world is not finite")
    if len(sequence) > 1 and np.diff(sequence.stamps_ns).min() <= 0:
        reasons.append("values: stamps_ns do not increase")
    return reasons


def _geometry(sequence: Sequence) -> dict[str, float]:
    known = np.isfinite(sequence.depth)
    normals = sequence.normals.astype(np.float32)
    length = np.linalg.norm(normals, axis=-1)[known]
    facing = (normals * consistency.rays(sequence.intrinsics).astype(np.float32)).sum(-1)[known]
    surroundings = sequence.material == SURROUNDINGS
    flat, objects = (consistency.normal_angles(sequence, where) for where in (surroundings, ~surroundings))
    views = consistency.view_residuals(sequence)
    return {
        "length": float(np.abs(length - 1).max()),
        "away": float((facing > 0.02).mean()),
        "flat angle": _percentile(flat, 50),
        "angle": _percentile(objects, 50),
        "angle 90": _percentile(objects, 90),
        "plane": consistency.plane_residual(sequence),
        "view": _percentile(views, 50),
        "view 90": _percentile(views, 90),
    }


def _background(sequence: Sequence) -> dict[str, float]:
    """Nothing was taken away but what is transparent; lids and labels stay where they are."""
    depth, background, clear = sequence.depth, sequence.background_depth, sequence.transparent
    with np.errstate(invalid="ignore"):
        # What is not hit any more is as far away as can be.
        gap = np.where(np.isnan(background) & np.isfinite(depth), np.inf, background - depth)
        same = (np.abs(gap) <= 1e-4 * depth) | (np.isnan(depth) & np.isnan(background))
    return {
        "before": _mean((gap < -1e-4 * np.nan_to_num(depth))[clear]),
        "behind": _mean((gap > 1e-3)[clear]),
        "same": _mean(same[~clear]),
    }


def _colours(sequence: Sequence) -> dict[str, float]:
    rgb = sequence.rgb
    means = rgb.mean((1, 2, 3))
    return {
        "brightness": float(means.mean()),
        "burnt": float((rgb.min(-1) >= 250).mean()),
        "black": float((rgb.max(-1) <= 5).mean()),
        "contrast": float(rgb.std((1, 2, 3)).min()),
        "flicker": float(np.abs(np.diff(means)).max(initial=0)),
    }


def _camera(sequence: Sequence) -> dict[str, float]:
    turns, places = sequence.camera_to_world[:, :3, :3], sequence.camera_to_world[:, :3, 3]
    off = np.abs(turns @ turns.transpose(0, 2, 1) - np.eye(3)).max()
    numbers = {"rotation": float(max(off, np.abs(np.linalg.det(turns) - 1).max()))}
    if len(sequence) > 1:
        step = np.linalg.norm(np.diff(places, axis=0), axis=1)
        trace = np.einsum("tij,tij->t", turns[1:], turns[:-1])
        turn = np.arccos(np.clip((trace - 1) / 2, -1, 1))
        motion = step + turn
        numbers |= {
            "motion": float(motion.mean()),
            "step": float(step.max()),
            "turn": float(np.degrees(turn.max())),
            "jump": float(motion.max() / max(float(np.median(motion)), 1e-3)),
        }
    return numbers


def _labels(sequence: Sequence) -> dict[str, float]:
    clear = sequence.transparent.mean(axis=(1, 2))
    mismatch = (sequence.instance > 0) != (sequence.material != SURROUNDINGS)
    return {
        "least transparent": float(clear.min()),
        "most transparent": float(clear.max()),
        "labels": float(mismatch.mean()),
    }


def _percentile(values: np.ndarray, percent: float) -> float:
    return float(np.percentile(values, percent)) if values.size else float("nan")


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
