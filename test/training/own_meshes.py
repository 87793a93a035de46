"""Meshes such as users have, written where a test wants them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

trimesh = pytest.importorskip("trimesh", reason="reading meshes needs trimesh: pip install 'dkt_ros[vlm]'")

#: Radius and height, metres, of the wall of a cup: outside up, inside down.
CUP = [(0, 0), (0.035, 0), (0.04, 0.1), (0.037, 0.1), (0.032, 0.006), (0, 0.006)]


def cup() -> trimesh.Trimesh:
    """Closed, 0.1 m high along z, opening up."""
    return trimesh.creation.revolve(np.array(CUP), sections=24)


def y_up(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Turned from z up to y up, as .glb files are."""
    return mesh.copy().apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0]))


def scaled(mesh: trimesh.Trimesh, factor: float) -> trimesh.Trimesh:
    return mesh.copy().apply_scale(factor)


def write(path: Path, mesh: trimesh.Trimesh) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    mesh.export(path)
    return path


def good_folder(folder: Path) -> Path:
    """A glass cup (.glb), a metal box (.obj), and hints; all can be used."""
    write(folder / "cup.glb", y_up(cup()))
    write(folder / "deep" / "box.obj", trimesh.creation.box(extents=(60, 40, 50)))
    (folder / "hints.yaml").write_text(
        "default: {material: glass}\nfiles:\n  deep/box.obj: {material: metal, unit: mm, weight: 2}\n"
    )
    return folder
