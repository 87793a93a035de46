"""Antipodal grasps for a parallel jaw out of one organised cloud: ``propose``. No ROS, no torch; numpy and OpenCV.

**Pose of a grasp**, in the cloud's frame: the origin lies in the middle between the two contacts; z is the approach,
from the palm to the finger tips; y is the line along which the jaw closes; x = y cross z. That is the hand frame of
``franka_description`` (``panda_hand_tcp``) and so what MoveIt's Panda examples plan to. GPD and GraspNet call the same
directions x (approach), y (closing) and z; Contact-GraspNet and ACRONYM approach along z and close along x.

**Width** is the distance of the finger pads with which the approach was found free: what is between them, and
``clearance`` on each side, at most the jaw's. Open so far, approach along z, close until there is contact.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from dkt_ros.frames import Float32
from dkt_ros.grasp_candidates import Candidates, candidates
from dkt_ros.grasp_scene import Float64, NoTable, Scene, Thing, look
from dkt_ros.grasp_shapes import GOOD_FIT_M, Round, bodies

#: The jaw is so much wider than the thing at least, on each side, metres.
LEAST_CLEARANCE_M = 0.003
#: Of each thing so many grasps, the best before, are tried against so many points this near to it (metres, along axes).
JUDGED, MAX_OBSTACLES, NEAR_M = 60, 2500, 0.22

#: A grasp of the second look counts where the first found none so near to it, metres.
ELSEWHERE_M = 0.05

__all__ = ["GraspSettings", "Grasps", "Gripper", "NoTable", "propose"]


@dataclass(frozen=True)
class Gripper:
    """A parallel jaw, metres; the defaults are those of a common two-finger gripper with 85 mm of stroke.

    Attributes:
        max_width, min_width: widest opening, and the thinnest thing that is worth closing on.
        finger_length: from the palm to the finger tips, along z.
        finger_width: of a finger, along x.
        finger_thickness: of a finger, along y.
        palm_width, palm_thickness, palm_height: box behind the fingers, along y, x and z.
        tip: how far the finger tips reach beyond the contacts.
    """

    max_width: float = 0.085
    min_width: float = 0.004
    finger_length: float = 0.05
    finger_width: float = 0.02
    finger_thickness: float = 0.012
    palm_width: float = 0.14
    palm_thickness: float = 0.06
    palm_height: float = 0.08
    tip: float = 0.008


@dataclass(frozen=True)
class GraspSettings:
    """What is proposed.

    Attributes:
        gripper: its size.
        friction: coefficient; the contacts' normals may be off the closing line by atan of it.
        clearance: free way of each finger beside the object when it comes down, metres.
        table_clearance: between gripper and support plane, metres.
        max_distance: points farther from the camera are ignored, metres.
        max_grasps: how many at most.
        min_score: worse ones are left out.
        apart, apart_deg: a grasp that is nearer to a better one than both is left out, metres and degrees.
        up: rough direction away from the floor in the cloud's frame; the default is that of a camera's optical frame
            held upright. Only tells tables from walls.
        viewpoint: where the camera is in the cloud's frame, metres; the origin in an optical frame.
    """

    gripper: Gripper = field(default_factory=Gripper)
    friction: float = 0.5
    clearance: float = 0.008
    table_clearance: float = 0.003
    max_distance: float = 1.5
    max_grasps: int = 20
    min_score: float = 0.2
    apart: float = 0.03
    apart_deg: float = 30.0
    up: tuple[float, float, float] = (0.0, -1.0, 0.0)
    viewpoint: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Grasps:
    """N proposals, best first, in the cloud's frame.

    Attributes:
        pose: (N, 4, 4) float64; see the module for the axes.
        width: (N,) float64 metres, see the module.
        score: (N,) float64 0..1, falling; comparable within one cloud, no probability.
        thing: (N,) int, which object of the scene, from 0.
    """

    pose: Float64
    width: Float64
    score: Float64
    thing: NDArray[np.int64]

    @classmethod
    def none(cls) -> Grasps:
        """No proposal at all."""
        return cls(np.empty((0, 4, 4)), np.empty(0), np.empty(0), np.empty(0, np.int64))

    def __len__(self) -> int:
        return len(self.width)

    @property
    def quaternion(self) -> Float64:
        """(N, 4) float64 unit quaternions x, y, z, w of the poses, w >= 0."""
        return np.array([_quaternion(each[:3, :3]) for each in self.pose]).reshape(-1, 4)


def propose(points: Float32, normals: Float32, settings: GraspSettings | None = None) -> Grasps:
    """Grasps of the things that stand on the largest table in view; the same cloud gives the same grasps.

    Args:
        points: (H, W, 3) float32 metres in any frame, the grid of the picture, NaN where unknown.
        normals: (H, W, 3) float32 unit vectors toward the camera, same frame, NaN where unknown.

    Returns:
        Possibly none: nothing on the table, or nothing that fits the jaw.

    Raises:
        NoTable: no support plane is seen.
        ValueError: the arrays do not have these shapes.
    """
    chosen = settings or GraspSettings()
    if points.ndim != 3 or points.shape[2] != 3 or points.shape != normals.shape:
        raise ValueError(f"points {points.shape} and normals {normals.shape}: both must be (H, W, 3)")
    if points.size == 0:
        raise NoTable(f"points {points.shape}: there are none")
    up = np.asarray(chosen.up, np.float64)
    up /= max(float(np.linalg.norm(up)), 1e-9)
    viewpoint = np.asarray(chosen.viewpoint, np.float64)
    first = _judged(look(points, normals, up, viewpoint, chosen.max_distance), chosen)
    second = _judged(look(points, normals, up, viewpoint, chosen.max_distance, veils=False), chosen)
    return _best(first, _elsewhere(second, first), chosen)


def _judged(scene: Scene, settings: GraspSettings) -> Grasps:
    """Every grasp of a scene that is good enough and free, in the cloud's frame, in the order of the things."""
    jaw, cone = settings.gripper, float(np.arctan(settings.friction))
    widest = jaw.max_width - 2 * LEAST_CLEARANCE_M
    found = [Grasps.none()]
    back = np.linalg.inv(scene.to_table)
    for index, (thing, body) in enumerate(bodies(scene.things, scene.camera)):
        closings = candidates(thing, body, scene.camera, jaw.min_width, widest, cone)
        pose, opening = _poses(closings), np.minimum(closings.width + 2 * settings.clearance, jaw.max_width)
        score = closings.quality * _preference(closings, thing, jaw)
        score[_lowest(pose, opening, jaw) < settings.table_clearance] = 0
        best = np.argsort(-score, kind="stable")[:JUDGED]
        best = best[score[best] >= settings.min_score]
        best = best[_free(pose[best], opening[best], _obstacles(scene, thing, body), jaw)]
        found.append(Grasps(back @ pose[best], opening[best], score[best], np.full(len(best), index, np.int64)))
    return _joined(found)


def _joined(parts: list[Grasps]) -> Grasps:
    pose, width, score, thing = (
        np.concatenate([getattr(each, name) for each in parts]) for name in ("pose", "width", "score", "thing")
    )
    return Grasps(pose, width, score, thing)


def _elsewhere(second: Grasps, first: Grasps) -> Grasps:
    """Those of ``second`` that are near none of ``first``; their things are numbered on."""
    apart = np.linalg.norm(second.pose[:, None, :3, 3] - first.pose[None, :, :3, 3], axis=2)
    far = (apart > ELSEWHERE_M).all(1)
    after = int(first.thing.max()) + 1 if len(first) else 0
    return Grasps(second.pose[far], second.width[far], second.score[far], second.thing[far] + after)


def _best(first: Grasps, second: Grasps, settings: GraspSettings) -> Grasps:
    every = _joined([first, second])
    best = _apart(every.pose, every.score, settings)
    return Grasps(every.pose[best], every.width[best], every.score[best], every.thing[best])


def _poses(found: Candidates) -> Float64:
    """(N, 4, 4) in the table frame; the sign of y is chosen so that x points up or to the right."""
    y, z = found.closing, found.approach
    x = np.cross(y, z)
    flip = np.where(x[:, 2] + 0.01 * x[:, 0] < 0, -1.0, 1.0)[:, None]
    pose = np.tile(np.eye(4), (len(y), 1, 1))
    pose[:, :3, 0], pose[:, :3, 1], pose[:, :3, 2], pose[:, :3, 3] = x * flip, y * flip, z, found.centre
    return pose


def _obstacles(scene: Scene, thing: Thing, body: Round | None) -> Float32:
    """(M, 3) float32: what is seen near a thing, and the far side of the round body that it is taken for."""
    middle = np.median(thing.points, axis=0).astype(np.float32)
    near = scene.obstacles[np.abs(scene.obstacles - middle).max(1) < NEAR_M]
    near = near[:: -(-len(near) // MAX_OBSTACLES)] if len(near) else near
    if body is None or body.misfit > GOOD_FIT_M:
        return near
    return np.concatenate([near, body.surface().astype(np.float32)])


def _free(pose: Float64, opening: Float64, near: Float32, jaw: Gripper) -> NDArray[np.bool_]:
    """(N,) bool: no finger and no palm touches one of the points, and some are between the fingers.

    A stray point is forgiven: two make a collision.
    """
    turn, origin = pose[:, :3, :3].astype(np.float32), pose[:, :3, 3].astype(np.float32)
    x, y, z = (
        near @ turn[:, :, axis].T - np.einsum("ij,ij->i", origin, turn[:, :, axis])  # (M, N)
        for axis in range(3)
    )
    np.abs(x, out=x)
    np.abs(y, out=y)
    inner, tip, back = (opening / 2).astype(np.float32), jaw.tip, jaw.tip - jaw.finger_length
    slim = (x < jaw.finger_width / 2) & (z < tip) & (z > back)
    in_finger = slim & (y > inner) & (y < inner + jaw.finger_thickness)
    in_palm = (z <= back) & (z > back - jaw.palm_height) & (x < jaw.palm_thickness / 2) & (y < jaw.palm_width / 2)
    return np.asarray(((in_finger | in_palm).sum(0) < 2) & ((slim & (y <= inner)).sum(0) >= 3))


def _lowest(pose: Float64, opening: Float64, jaw: Gripper) -> Float64:
    """(N,) height of the lowest corner of fingers and palm over the table."""
    across, over, ahead = pose[:, 2, 0], pose[:, 2, 1], pose[:, 2, 2]
    centre, back = pose[:, 2, 3], jaw.tip - jaw.finger_length
    outer = opening / 2 + jaw.finger_thickness
    finger = np.minimum(ahead * jaw.tip, ahead * back) - np.abs(across) * jaw.finger_width / 2 - np.abs(over) * outer
    behind = np.minimum(ahead * back, ahead * (back - jaw.palm_height))
    palm = behind - np.abs(across) * jaw.palm_thickness / 2 - np.abs(over) * jaw.palm_width / 2
    return np.asarray(centre + np.minimum(finger, palm))


def _preference(found: Candidates, thing: Thing, jaw: Gripper) -> Float64:
    """(N,) 0..1: room in the jaw, near the middle of what is seen of the thing, rather from above."""
    middle = np.median(thing.points, axis=0)
    lever = np.linalg.norm(found.centre - middle, axis=1)
    room = np.clip((jaw.max_width - found.width) / 0.012, 0.3, 1.0)
    return np.asarray(room * np.exp(-lever / 0.2) * (0.9 - 0.1 * found.approach[:, 2]))


def _apart(pose: Float64, score: Float64, settings: GraspSettings) -> NDArray[np.int64]:
    """Indices, best first, no two of them nearly the same grasp (a jaw turned by half is the same)."""
    order = np.argsort(-score, kind="stable")[:600]
    limit = np.cos(np.radians(settings.apart_deg))
    kept: list[int] = []
    for index in order:
        others = pose[kept]
        near = np.linalg.norm(others[:, :3, 3] - pose[index, :3, 3], axis=1) < settings.apart
        same_way = others[:, :3, 2] @ pose[index, :3, 2] > limit
        same_line = np.abs(others[:, :3, 1] @ pose[index, :3, 1]) > limit
        if not (near & same_way & same_line).any():
            kept.append(int(index))
        if len(kept) == settings.max_grasps:
            break
    return np.array(kept, np.int64)


def _quaternion(turn: Float64) -> Float64:
    """x, y, z, w of a rotation matrix (3, 3): the eigenvector of Bar-Itzhack's matrix (J. Guidance 23, 2000)."""
    (a, b, c), (d, e, f), (g, h, i) = turn
    k = np.array(
        [
            [a - e - i, b + d, c + g, h - f],
            [b + d, e - a - i, f + h, c - g],
            [c + g, f + h, i - a - e, d - b],
            [h - f, c - g, d - b, a + e + i],
        ]
    )
    best = np.linalg.eigh(k)[1][:, -1]
    return np.asarray(best if best[3] >= 0 else -best)
