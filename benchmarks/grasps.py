"""How many proposed grasps would hold, by the exact meshes of rendered scenes: clouds of truth, sensor and ours.

Two steps, the first in the renderer's environment (`make render-env`), which rebuilds each scene unrendered:

  .venv-render/bin/python -m benchmarks.grasps meshes data/heldout meshes
  .venv/bin/python -m benchmarks.grasps judge data/heldout meshes

A grasp is good if, closing from its opening along its closing line, both fingers first meet one and the same thing
(objects, and clutter under 0.3 m; not the tray, the bin or the table), both true surfaces there are within 20 degrees
of square to that line, and neither fingers nor palm cut any surface. Top 5 of the middle frame of each sequence; the
missing ones of a scene with fewer count as bad.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

TOP, SQUARE_DEG, LARGEST_M = 5, 20.0, 0.3


def export(sequences: Path, out: Path) -> None:
    """Rebuild each sequence's scene in bpy and save its meshes, world frame, as NPZ: vertices, triangles, owners.

    An owner is a number of the object, 0 for what is too large to be grasped, over 1000 for clutter.

    Raises:
        SystemExit: a scene comes out otherwise than it was rendered: another version of the generator.
    """
    import bpy

    from dkt_ros.training.render.recipe import load_scene_recipe
    from dkt_ros.training.render.scene import build
    from dkt_ros.training.sequences import load_sequence, sequence_files

    out.mkdir(parents=True, exist_ok=True)
    for file in sequence_files(sequences):
        sequence = load_sequence(file, [0])
        meta = sequence.meta
        recipe = replace(load_scene_recipe(meta["recipe"]), frames=len(load_sequence(file)))
        scene = build(np.random.default_rng([meta["seed"], meta["attempt"]]), recipe)
        if not np.allclose(scene.path.camera_to_world[0], sequence.camera_to_world[0]):
            raise SystemExit(f"{file}: the scene comes out otherwise than it was rendered; render the set again")
        graph = bpy.context.evaluated_depsgraph_get()
        bodies = [body for body in bpy.context.scene.objects if body.type == "MESH"]
        parts = [(*_triangles(body, graph), body.pass_index) for body in bodies]
        starts = np.cumsum([0, *(len(vertices) for vertices, _, _ in parts)])
        owners = [
            number or (1001 + index if np.ptp(vertices, axis=0).max() < LARGEST_M else 0)
            for index, (vertices, _, number) in enumerate(parts)
        ]
        np.savez_compressed(
            out / f"{file.stem}.npz",
            vertices=np.concatenate([vertices for vertices, _, _ in parts]),
            triangles=np.concatenate([faces + start for (_, faces, _), start in zip(parts, starts, strict=False)]),
            owners=np.concatenate([np.full(len(p[1]), owner) for p, owner in zip(parts, owners, strict=True)]),
        )
        print(f"{file.stem}: {len(parts)} meshes", flush=True)


def _triangles(body: Any, graph: Any) -> tuple[Float64, NDArray[np.int32]]:
    mesh = body.evaluated_get(graph).to_mesh()
    mesh.calc_loop_triangles()
    vertices, faces = np.empty(3 * len(mesh.vertices)), np.empty(3 * len(mesh.loop_triangles), np.int32)
    mesh.vertices.foreach_get("co", vertices)
    mesh.loop_triangles.foreach_get("vertices", faces)
    matrix = np.array(body.matrix_world)
    return vertices.reshape(-1, 3) @ matrix[:3, :3].T + matrix[:3, 3], faces.reshape(-1, 3)


class World:
    """The meshes of a scene, to cast short rays at."""

    def __init__(self, file: Path) -> None:
        with np.load(file) as arrays:
            corners = arrays["vertices"][arrays["triangles"]]
            self._owners = arrays["owners"]
        self._a, self._one, self._two = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
        self._low, self._high = corners.min(1), corners.max(1)

    def cast(self, origins: Float64, ways: Float64, lengths: Float64) -> tuple[Float64, NDArray[np.int64], Float64]:
        """First hit of each ray (N, 3), inf beyond its length; whose it is (0: nobody's); unit normal of the triangle.

        Moeller and Trumbore, Journal of Graphics Tools 2(1), 1997, on the triangles near the rays.
        """
        ends = origins + ways * lengths[:, None]
        low, high = np.minimum(origins, ends).min(0), np.maximum(origins, ends).max(0)
        near = np.flatnonzero(((self._low <= high) & (self._high >= low)).all(1))
        if not len(near):
            return np.full(len(origins), np.inf), np.zeros(len(origins), np.int64), np.zeros_like(origins)
        one, two = self._one[near], self._two[near]
        p = np.cross(ways[:, None], two)
        offset = origins[:, None] - self._a[near]
        q = np.cross(offset, one)
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = 1 / (p * one).sum(-1)
            u, v = (offset * p).sum(-1) * scale, (ways[:, None] * q).sum(-1) * scale
            t = (two * q).sum(-1) * scale
        t[~((u >= 0) & (v >= 0) & (u + v <= 1) & (t >= 0) & (t <= lengths[:, None]))] = np.inf
        first = t.argmin(1)
        distance = t[np.arange(len(t)), first]
        normal = np.cross(one, two)[first]
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15)
        return distance, np.where(np.isfinite(distance), self._owners[near][first], 0), normal


def faults(world: World, pose: Float64, width: float, jaw: Any) -> list[str]:
    """What is wrong with a grasp, pose (4, 4) in the world: [] if it is good."""
    x, y, z, centre = pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3]
    pads = np.array([centre + y * width / 2, centre - y * width / 2])
    distance, owner, normal = world.cast(pads, np.array([-y, y]), np.full(2, width))
    wrong = []
    if not np.isfinite(distance).all():
        wrong.append("nothing there")
    elif owner[0] != owner[1] or owner[0] == 0:
        wrong.append("two things, or furniture")
    elif (np.abs(normal @ y) < np.cos(np.radians(SQUARE_DEG))).any():
        wrong.append("not antipodal")
    back = centre + z * (jaw.tip - jaw.finger_length)
    fingers = [
        back + x * a * jaw.finger_width + side * y * (width / 2 + b * jaw.finger_thickness)
        for side in (1, -1)
        for a in np.linspace(-0.5, 0.5, 4)
        for b in (0.05, 0.5, 1.0)
    ]
    palm = [
        back - z * jaw.palm_height + x * a * jaw.palm_thickness + y * b * jaw.palm_width
        for a in np.linspace(-0.5, 0.5, 5)
        for b in np.linspace(-0.5, 0.5, 9)
    ]
    for name, origins, length in (("finger hits", fingers, jaw.finger_length), ("palm hits", palm, jaw.palm_height)):
        ways = np.broadcast_to(z, (len(origins), 3))
        if np.isfinite(world.cast(np.array(origins), ways, np.full(len(origins), length))[0]).any():
            wrong.append(name)
    return wrong


@dataclass
class Tally:
    """Counts over scenes for one kind of cloud."""

    scenes: int = 0
    good: int = 0
    proposed: int = 0
    first: int = 0
    some: int = 0
    why: Counter[str] = field(default_factory=Counter)

    def add(self, verdicts: list[list[str]]) -> None:
        """The top grasps of one scene, best first."""
        fine = [not wrong for wrong in verdicts]
        self.scenes, self.proposed = self.scenes + 1, self.proposed + len(fine)
        self.good, self.first, self.some = self.good + sum(fine), self.first + any(fine[:1]), self.some + any(fine)
        self.why.update(reason for wrong in verdicts for reason in wrong)

    def row(self, name: str) -> str:
        """Of the table that ``judge`` prints."""
        whole = TOP * self.scenes
        shares = (
            self.good / whole,
            self.good / max(self.proposed, 1),
            self.first / self.scenes,
            self.some / self.scenes,
        )
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.why.most_common())
        return f"| {name} | " + " | ".join(f"{100 * share:.0f}" for share in shares) + f" | {reasons} |"


def judge(sequences: Path, meshes: Path) -> str:
    """The table: share of good grasps for clouds of the truth, of the simulated sensor, and of the node's path."""
    from tqdm import tqdm

    from dkt_ros.grasps import GraspSettings, NoTable, propose
    from dkt_ros.training.sequences import load_sequence, sequence_files

    settings = GraspSettings()
    tallies: dict[str, Tally] = {}
    for file in tqdm(sequence_files(sequences), unit="scene", disable=None):
        if not (meshes / f"{file.stem}.npz").exists():
            continue
        sequence, world = load_sequence(file), World(meshes / f"{file.stem}.npz")
        middle = len(sequence) // 2
        for name, points, normals in _clouds(sequence, middle):
            verdicts: list[list[str]] = []
            try:
                grasps = propose(points, normals, settings)
                poses = sequence.camera_to_world[middle] @ grasps.pose[:TOP]
                verdicts = [
                    faults(world, pose, float(width), settings.gripper)
                    for pose, width in zip(poses, grasps.width, strict=False)
                ]
            except NoTable:
                pass
            tallies.setdefault(name, Tally()).add(verdicts)
    head = f"| cloud | good of top {TOP}, % | good of those proposed | best one is good | one of them is | faults |\n"
    return head + "|---" * 6 + "|\n" + "\n".join(tally.row(name) for name, tally in tallies.items())


def _clouds(sequence: Any, index: int) -> Iterator[tuple[str, NDArray[np.float32], NDArray[np.float32]]]:
    from dkt_ros import geometry
    from dkt_ros.engines import EngineOptions, load_engine
    from dkt_ros.perception import Perception

    camera, sensor = sequence.intrinsics, sequence.sensor_depth[index]
    truth = sequence.depth[index]
    yield "ground truth", geometry.unproject(truth, camera), sequence.normals[index].astype(np.float32)
    yield "raw sensor", geometry.unproject(sensor, camera), geometry.normals_from_depth(sensor, camera)
    path = Perception(load_engine("nano", EngineOptions()))
    nothing = np.full((*truth.shape, 3), np.nan, np.float32)
    for estimate in path.run(sequence.frames()):
        if estimate.frame.stamp_ns == sequence.stamps_ns[index]:
            known = estimate.depth is not None and estimate.normals is not None
            yield (
                "ours (nano)",
                *((geometry.unproject(estimate.depth, camera), estimate.normals) if known else (nothing, nothing)),
            )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("meshes", "judge"))
    parser.add_argument("sequences", type=Path, help="folder of rendered sequences")
    parser.add_argument("meshes", type=Path, help="folder of their meshes")
    arguments = parser.parse_args()
    if arguments.what == "meshes":
        export(arguments.sequences, arguments.meshes)
    else:
        print(judge(arguments.sequences, arguments.meshes))


if __name__ == "__main__":
    main()
