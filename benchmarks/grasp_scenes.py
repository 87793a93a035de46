"""Rendered scenes for simulated grasping: their exact bodies, rebuilt from the seed in the renderer's environment.

  .venv-render/bin/python -m benchmarks.grasp_scenes data/grasp     writes SEED.bodies.npz beside each SEED.tar

Nothing is rendered for it. ``benchmarks.grasp_trials`` calls this by itself.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

#: Surroundings that the jaw could meet: higher than this over the table, and narrower than that; metres.
LOW_M, WIDE_M = 0.012, 0.35


@dataclass(frozen=True)
class Part:
    """A closed mesh of one material.

    Attributes:
        role: "body", "lid", "liquid" or "label".
        material: one of ``sequences.MATERIAL_NAMES``.
        corners: (T, 3, 3) float64 metres, the triangles in the object's frame, counter-clockwise from outside.
    """

    role: str
    material: str
    corners: Float64


@dataclass(frozen=True)
class Body:
    """An object of a scene.

    Attributes:
        number: its value in ``Sequence.instance``.
        family: "tumbler", "bottle", ...
        pose: (4, 4) float64, object to world; the world has z up and the table at z = 0.
        parts: the first is the body.
    """

    number: int
    family: str
    pose: Float64
    parts: tuple[Part, ...]

    @property
    def material(self) -> str:
        """Of the body's main part."""
        return self.parts[0].material


def bodies_path(sequence: Path) -> Path:
    """Where the bodies of a rendered sequence lie."""
    return sequence.with_suffix(".bodies.npz")


def load_bodies(file: Path) -> tuple[list[Body], list[Float64]]:
    """The objects, and of each other thing on the table the (V, 3) vertices in the world."""
    with np.load(file) as arrays:
        content = json.loads(str(arrays["content"]))
        points, shapes = arrays["points"], np.split(arrays["corners"], arrays["starts"][1:-1])
        others = np.split(points, arrays["ends"][:-1]) if len(points) else []
    parts = iter(shapes)
    bodies = [
        Body(
            each["number"],
            each["family"],
            np.array(each["pose"]),
            tuple(Part(role, material, next(parts)) for role, material in each["parts"]),
        )
        for each in content
    ]
    return bodies, others


def export(file: Path) -> None:
    """Rebuild the scene of one sequence in bpy and write its bodies.

    Raises:
        SystemExit: the scene comes out otherwise than it was rendered: another version of the generator.
    """
    from dkt_ros.training.render.job import read_job
    from dkt_ros.training.render.scene import build
    from dkt_ros.training.sequences import load_sequence

    sequence = load_sequence(file, [0])
    seed = [sequence.meta["seed"], sequence.meta["attempt"]]
    scene = build(np.random.default_rng(seed), read_job(file.with_name("job.json")).recipe)
    if not np.allclose(scene.path.camera_to_world[0], sequence.camera_to_world[0]):
        raise SystemExit(
            f"{file}: the scene comes out otherwise than it was rendered; remove the folder and render again"
        )
    content = [_described(item) for item in scene.items]
    corners = [part.mesh.vertices[part.mesh.triangles] for item in scene.items for part in item.asset.parts]
    others = _others()
    np.savez_compressed(
        bodies_path(file),
        content=np.array(json.dumps(content)),
        corners=np.concatenate(corners),
        starts=np.cumsum([0, *map(len, corners)]),
        points=np.concatenate(others) if others else np.empty((0, 3)),
        ends=np.cumsum([len(each) for each in others], dtype=np.int64),
    )


def _described(item: Any) -> dict[str, Any]:
    from dkt_ros.training.sequences import MATERIAL_NAMES

    return {
        "number": item.number,
        "family": item.asset.family,
        "pose": np.array(item.body.matrix_world, np.float64).tolist(),
        "parts": [(part.role, MATERIAL_NAMES[part.material.kind]) for part in item.asset.parts],
    }


def _others() -> list[Float64]:
    """Clutter on the table that is high enough to be in the way."""
    import bpy

    found = []
    for thing in bpy.context.scene.objects:
        if thing.type != "MESH" or thing.pass_index:
            continue
        local = np.array([vertex.co for vertex in thing.data.vertices])
        matrix = np.array(thing.matrix_world)
        points = local @ matrix[:3, :3].T + matrix[:3, 3]
        low, size = points[:, 2].min(), np.ptp(points, axis=0)
        if -0.005 < low < 0.02 and size[2] > LOW_M and size.max() < WIDE_M:
            found.append(points)
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of rendered sequences")
    for file in sorted(parser.parse_args().folder.glob("[0-9]*.tar")):
        if not bodies_path(file).exists():
            export(file)


if __name__ == "__main__":
    main()
