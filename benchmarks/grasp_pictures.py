"""Simulated grasps to look at: the planned jaw in the camera's picture; MuJoCo's view before, closed, at the end.

Needs OpenGL without a display: EGL, or OSMesa with MUJOCO_GL=osmesa.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.grasp_scenes import bodies_path, load_bodies
from benchmarks.grasp_table import GROUP_ORDER

Picture = NDArray[np.uint8]

WIDTH, HEIGHT = 400, 300


class CannotDraw(RuntimeError):
    """MuJoCo cannot render here; the text says why."""


def examples(trials: list[dict[str, Any]], source: str) -> list[dict[str, Any]]:
    """Of each group the first trial of a source that held and the first whose jaw closed and did not."""
    found = []
    for group in GROUP_ORDER:
        own = [t for t in trials if t["source"] == source and t["group"] == group and "pose" in t]
        own = [t for t in own if t["reason"] != "blocked"]
        for held in (True, False):
            found += [trial for trial in own if trial["held"] == held][:1]
    return found


def draw(trials: list[dict[str, Any]], folder: Path, path: Path) -> None:
    """One row for each trial; the trials are executed again.

    Args:
        trials: with a pose.
        folder: of the sequences and bodies.
        path: of the PNG.

    Raises:
        CannotDraw: no OpenGL.
    """
    rows = [np.hstack(row(trial, folder / f"{trial['seed']:06d}.tar")) for trial in trials]
    if rows:
        cv2.imwrite(str(path), cv2.cvtColor(np.vstack(rows), cv2.COLOR_RGB2BGR))


def row(trial: dict[str, Any], file: Path) -> list[Picture]:
    """Four pictures (HEIGHT, WIDTH, 3) uint8 of one trial that was not blocked."""
    os.environ.setdefault("MUJOCO_GL", "egl")
    import mujoco

    from benchmarks.grasp_sim import Arena
    from dkt_ros.training.sequences import load_sequence

    sequence = load_sequence(file)
    index, pose = len(sequence) // 2, np.array(trial["pose"])
    arena = Arena(*load_bodies(bodies_path(file)))
    try:
        renderer = mujoco.Renderer(arena.model, HEIGHT, WIDTH)
    except Exception as error:  # of PyOpenGL, whichever it chose
        raise CannotDraw(
            f"MuJoCo cannot draw here ({error}): install libegl1, or libosmesa6 and MUJOCO_GL=osmesa"
        ) from None
    eye = mujoco.MjvCamera()
    eye.lookat[:], eye.distance, eye.elevation = [*pose[:2, 3], 0.12], 0.7, -30
    away = pose[:2, 3] - sequence.camera_to_world[index][:2, 3]
    eye.azimuth = float(np.degrees(np.arctan2(away[1], away[0]))) + 35
    shots: list[Picture] = []

    def watch(word: str) -> None:
        renderer.update_scene(arena.data, eye)
        shots.append(_titled(np.array(renderer.render()), word))

    outcome = arena.execute(trial["object"], pose, trial["width"], watch)
    renderer.close()
    words = f"{trial['family']}, {trial['material']}: {outcome.reason}"
    return [_titled(_planned(sequence, index, trial), words), *shots]


def _planned(sequence: Any, index: int, trial: dict[str, Any]) -> Picture:
    """The picture with the outline of the object and the lines of the jaw, enlarged."""
    from dkt_ros.grasp_messages import jaw_lines
    from dkt_ros.grasps import Gripper

    scale, camera = 4, sequence.intrinsics
    picture = cv2.resize(sequence.rgb[index], None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    pose = np.linalg.inv(sequence.camera_to_world[index]) @ np.array(trial["pose"])
    ends = jaw_lines(trial["width"], Gripper()) @ pose[:3, :3].T + pose[:3, 3]
    u, v = camera.fx * ends[:, 0] / ends[:, 2] + camera.cx, camera.fy * ends[:, 1] / ends[:, 2] + camera.cy
    ends = np.rint(scale * (np.stack([u, v], -1) + 0.5)).astype(int).reshape(-1, 2, 2)
    mask = (sequence.instance[index] == trial["object"]).astype(np.uint8)
    mask = cv2.resize(mask, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST)
    around, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, around, -1, (255, 255, 0), 1)
    for start, end in ends:
        cv2.line(picture, start.tolist(), end.tolist(), (0, 220, 60), 2, cv2.LINE_AA)
    left = int(np.clip(np.median(ends[..., 0]) - WIDTH / 2, 0, picture.shape[1] - WIDTH))
    top = int(np.clip(np.median(ends[..., 1]) - HEIGHT / 2, 0, picture.shape[0] - HEIGHT))
    return np.ascontiguousarray(picture[top : top + HEIGHT, left : left + WIDTH])


def _titled(picture: Picture, text: str) -> Picture:
    picture[:22] = 30
    cv2.putText(picture, text, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.48, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
