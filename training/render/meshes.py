"""Meshes of the user as objects of the scenes: what a recipe holds of a folder, and one mesh drawn from it. No bpy.

A job reads the folder once, before it begins (``mesh_scan``); what it found, with the files' SHA-256, becomes part of
the recipe, so that a worker can neither take another set of meshes nor a changed file. Reading needs trimesh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dkt_ros.training.render.assets_mesh import Mesh
from dkt_ros.training.render.materials_library import TRANSPARENT
from dkt_ros.training.render.mesh_files import MeshError, parse_mesh, read_file
from dkt_ros.training.render.mesh_hints import AXES, groups_of

Rng = np.random.Generator

#: Family of the assets that are user's meshes.
FAMILY = "mesh"

#: The axis that points up -> the rows of the rotation (determinant 1) which takes it to z.
_ROTATIONS = {
    "x": ((0, 1, 0), (0, 0, 1), (1, 0, 0)),
    "y": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "z": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "-x": ((0, -1, 0), (0, 0, 1), (-1, 0, 0)),
    "-y": ((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    "-z": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),
}


@dataclass(frozen=True)
class UserMesh:
    """One usable file.

    Attributes:
        sha256: of its bytes, hexadecimal.
        groups: material groups that it may be made of.
        height: least and greatest, metres, as it stands in the scene.
        up: axis of the file that points up there.
        weight: against the other meshes.
    """

    sha256: str
    groups: tuple[str, ...]
    height: tuple[float, float]
    up: str
    weight: float


@dataclass(frozen=True)
class MeshFolder:
    """Usable meshes of a folder, as a recipe holds them.

    Attributes:
        folder: where the files are; does not decide what is drawn.
        weight: of all of them together, against the procedural families.
        files: name below the folder -> mesh.
        report: what was found there, to be shown before a job begins; "" where the folder was not read.
    """

    folder: str
    weight: float
    files: dict[str, UserMesh]
    report: str = field(default="", repr=False, compare=False)

    def content(self) -> dict[str, Any]:
        """As it stands in ``job.json`` and as ``mesh_folder_from_content`` reads it."""
        return {"folder": self.folder, "weight": self.weight, "files": {n: asdict(m) for n, m in self.files.items()}}

    def groups(self, name: str, materials: Mapping[str, float], transparent: bool) -> dict[str, float]:
        """Groups of ``materials`` with a weight that a file may be made of."""
        fits = self.files[name].groups
        return {g: w for g, w in materials.items() if w > 0 and g in fits and (g in TRANSPARENT) == transparent}

    def possible(self, materials: Mapping[str, float], transparent: bool) -> dict[str, float]:
        """Name -> weight of the files that can be of such a material."""
        return {name: mesh.weight for name, mesh in self.files.items() if self.groups(name, materials, transparent)}

    def draw(self, rng: Rng, name: str) -> tuple[Mesh, dict[str, float | str]]:
        """A file's mesh in the object frame, its height drawn, and what there is to say of it.

        Raises:
            MeshError: the file is gone, or is not the one that the recipe was made with.
        """
        entry = self.files[name]
        height = float(rng.uniform(*entry.height))
        mesh = placed(_read(Path(self.folder) / name, entry.sha256), entry.up, height)
        return mesh, {"file": name, "sha256": entry.sha256, "height": round(height, 5)}


def mesh_folder_from_content(content: Mapping[str, Any]) -> MeshFolder:
    """Of ``MeshFolder.content``; reads no file of the folder.

    Raises:
        ValueError: it is not such a content.
    """
    try:
        files = {
            str(name): UserMesh(
                sha256=str(mesh["sha256"]),
                groups=groups_of(list(mesh["groups"])),
                height=(float(mesh["height"][0]), float(mesh["height"][1])),
                up=AXES[AXES.index(mesh["up"])],
                weight=float(mesh["weight"]),
            )
            for name, mesh in content["files"].items()
        }
        if outside := [name for name in files if Path(name).is_absolute() or ".." in Path(name).parts]:
            raise ValueError(f"{outside[0]} is not below the folder")
        return MeshFolder(str(content["folder"]), float(content["weight"]), files)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"objects.meshes is damaged ({type(error).__name__}: {error})") from error


def placed(mesh: Mesh, up: str, height: float) -> Mesh:
    """In the object frame: turned so that ``up`` is z, ``height`` metres high, standing on z = 0 around the z axis."""
    vertices = mesh.vertices @ np.array(_ROTATIONS[up], float).T
    low, high = vertices.min(0), vertices.max(0)
    middle = np.array([*(low + high)[:2] / 2, low[2]])
    return Mesh((vertices - middle) * (height / (high - low)[2]), mesh.faces)


@lru_cache(maxsize=32)
def _read(path: Path, sha256: str) -> Mesh:
    try:
        data, found = read_file(path)
    except OSError as error:
        raise MeshError(f"{path} cannot be read ({error}); the job began with it: bring it back") from error
    if found != sha256:
        raise MeshError(f"{path} is not the file that the job began with; bring that back, or begin another job")
    return parse_mesh(data, path.suffix.lower())
