"""Drawn objects as Blender meshes. Runs inside bpy's environment."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from dkt_ros.training.render.assets_mesh import Mesh, joined
from dkt_ros.training.render.materials import shaded
from dkt_ros.training.render.objects import Asset

#: Edges sharper than this stay edges; radians.
SHARP = float(np.radians(40))


def make_body(asset: Asset, number: int) -> Any:
    """One mesh object, linked to the scene, with one material slot per part.

    The object's pass index is ``number``; each material's is its material code, so that Cycles' object-index pass is
    the instance and its material-index pass the material, per pixel.
    """
    body = bpy.data.objects.new(f"{asset.family} {number}", _mesh(asset.family, joined(*(p.mesh for p in asset.parts))))
    slots = np.repeat(np.arange(len(asset.parts)), [len(part.mesh.faces) for part in asset.parts])
    body.data.polygons.foreach_set("material_index", slots.astype(np.int32))
    for part in asset.parts:
        body.data.materials.append(shaded(part.material))
    body.pass_index = number
    bpy.context.scene.collection.objects.link(body)
    return body


def _mesh(name: str, mesh: Mesh) -> Any:
    made = bpy.data.meshes.new(name)
    corners = np.where(mesh.faces[:, 3] < 0, 3, 4)
    made.vertices.add(len(mesh.vertices))
    made.vertices.foreach_set("co", mesh.vertices.astype(np.float32).ravel())
    made.loops.add(int(corners.sum()))
    made.loops.foreach_set("vertex_index", mesh.faces[mesh.faces >= 0].astype(np.int32))
    made.polygons.add(len(corners))
    made.polygons.foreach_set("loop_start", (np.cumsum(corners) - corners).astype(np.int32))
    made.update(calc_edges=True)
    made.polygons.foreach_set("use_smooth", [True] * len(corners))
    made.set_sharp_from_angle(angle=SHARP)
    return made
