"""One rendered scene as trials of simulated grasping: clouds, the planner's grasps, whose they are, how they end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.grasp_scenes import Body, bodies_path, load_bodies

Float64 = NDArray[np.float64]

GROUPS = {
    "glass": "transparent",
    "clear plastic": "transparent",
    "metal": "mirror-like",
    "ceramic": "ordinary",
    "ordinary": "ordinary",
}
RAW, FILL, OURS, TRUTH = "raw sensor", "best fill", "ours (nano)", "ground truth"
#: Of the classical fills the one that held most on the tuning scenes.
BEST_FILL = "colour guided"
#: An object takes part if the jaw can span it somewhere, and so many pixels of it are seen.
WIDEST_M, LEAST_PIXELS = 0.075, 100
#: A grasp is on the object whose pixels its middle falls on, or is so near to.
NEAR_PIXELS = 3


def clouds(sequence: Any, index: int, fills: dict[str, str]) -> Iterator[tuple[str, Any, Any]]:
    """Name, points and normals (H, W, 3) of each source of depth for one frame; ``fills``: name -> classical fill."""
    from dkt_ros.engines import EngineOptions, load_engine
    from dkt_ros.fills import CLASSICAL_FILLS
    from dkt_ros.geometry import normals_from_depth, unproject
    from dkt_ros.perception import Perception

    camera, sensor = sequence.intrinsics, sequence.sensor_depth[index]
    yield RAW, unproject(sensor, camera), normals_from_depth(sensor, camera)
    for name, fill in fills.items():
        filled = CLASSICAL_FILLS[fill](sensor, sequence.rgb[index])
        yield name, unproject(filled, camera), normals_from_depth(filled, camera)
    for estimate in Perception(load_engine("nano", EngineOptions())).run(sequence.frames()):
        if estimate.frame.stamp_ns == sequence.stamps_ns[index]:
            nothing = np.full(sensor.shape, np.nan, np.float32)
            depth = nothing if estimate.depth is None else estimate.depth
            normals = normals_from_depth(depth, camera) if estimate.normals is None else estimate.normals
            yield OURS, unproject(depth, camera), normals
    yield TRUTH, unproject(sequence.depth[index], camera), sequence.normals[index].astype(np.float32)


def planned(points: Any, normals: Any) -> Any:
    """All proposals of the planner, best first: every object's, not only the best twenty, and poor ones too, as a robot
    that is sent to an object tries the best there is."""
    from dkt_ros.grasps import Grasps, GraspSettings, NoTable, propose

    try:
        return propose(points, normals, replace(GraspSettings(), max_grasps=400, min_score=0.02))
    except NoTable:
        return Grasps.none()


def owners(poses: Float64, instance: NDArray[np.uint8], camera: Any) -> NDArray[np.int64]:
    """(N,) number of the object that each grasp, (N, 4, 4) in the optical frame, is on in the picture; 0: of none.

    As with a detector that finds the object in the colours: the same true mask for every source of depth.
    """
    import cv2

    height, width = instance.shape
    distance, label = cv2.distanceTransformWithLabels(
        (instance == 0).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    of_label = np.zeros(int(label.max()) + 1, np.int64)
    of_label[label[instance > 0]] = instance[instance > 0]
    x, y, z = poses[:, :3, 3].T
    with np.errstate(divide="ignore", invalid="ignore"):
        u, v = np.rint(camera.fx * x / z + camera.cx), np.rint(camera.fy * y / z + camera.cy)
    inside = (z > 0) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
    found = np.zeros(len(poses), np.int64)
    row, column = v[inside].astype(int), u[inside].astype(int)
    near = distance[row, column] <= NEAR_PIXELS
    found[inside] = np.where(near, of_label[label[row, column]], 0)
    return found


def narrowest(body: Body) -> float:
    """Metres across the thinnest part, as high as a finger is wide, that lies 15 mm or more above the foot."""
    import cv2

    from benchmarks.grasp_hulls import finer

    points = np.concatenate([finer(part.corners).reshape(-1, 3) for part in body.parts])
    least, height = np.inf, 0.015
    while height + 0.01 < points[:, 2].max():
        slab = points[(points[:, 2] >= height) & (points[:, 2] <= height + 0.02)]
        if len(slab) > 2:
            least = min(least, *cv2.minAreaRect(slab[:, :2].astype(np.float32))[1])
        height += 0.01
    return least


def scene_trials(file: Path, fills: dict[str, str]) -> dict[str, Any]:
    """Every trial of one scene, and how many objects were left out why; the same for the same file."""
    import cv2
    import torch

    from benchmarks.grasp_sim import Arena
    from dkt_ros.training.sequences import load_sequence

    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    sequence = load_sequence(file)
    index = len(sequence) // 2
    bodies, clutter = load_bodies(bodies_path(file))
    instance, to_world = sequence.instance[index], sequence.camera_to_world[index]
    arena = Arena(bodies, clutter)
    left_out = {"too wide for the jaw": 0, "hardly seen": 0, "does not stand still": 0}
    targets = []
    for body in bodies:
        if narrowest(body) > WIDEST_M:
            left_out["too wide for the jaw"] += 1
        elif (instance == body.number).sum() < LEAST_PIXELS:
            left_out["hardly seen"] += 1
        elif arena.settled(body.number) > 0.005:
            left_out["does not stand still"] += 1
        else:
            targets.append(body)
    trials = []
    for source, points, normals in clouds(sequence, index, fills):
        grasps = planned(points, normals)
        on = owners(grasps.pose, instance, sequence.intrinsics)
        for body in targets:
            chosen = np.flatnonzero(on == body.number)[:1]
            trial = {
                "seed": sequence.meta["seed"],
                "object": body.number,
                "family": body.family,
                "material": body.material,
                "group": GROUPS[body.material],
                "source": source,
                "held": False,
                "reason": "no grasp proposed",
            }
            for best in chosen:
                pose = to_world @ grasps.pose[best]
                outcome = arena.execute(body.number, pose, float(grasps.width[best]))
                trial |= {"held": outcome.held, "reason": outcome.reason, "rise": round(outcome.rise, 4)}
                trial |= {"aperture": round(outcome.aperture, 4), "width": float(grasps.width[best])}
                trial |= {"score": float(grasps.score[best]), "pose": pose.tolist()}
            trials.append(trial)
    return {"seed": sequence.meta["seed"], "left out": left_out, "trials": trials}
