"""Putting plain meshes, the camera and rays into bpy's scene."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from mathutils import Matrix, Vector
from numpy.typing import NDArray

from dkt_ros.training.render.camera import Path
from dkt_ros.training.render.geometry import Mesh


def place_mesh(mesh: Mesh, material: Any) -> Any:
    """``mesh`` as an object in the scene, covered with ``material``; it belongs to the surroundings (pass index 0)."""
    data = bpy.data.meshes.new(mesh.skin)
    data.from_pydata(mesh.vertices.tolist(), [], mesh.faces)
    if mesh.round:
        data.polygons.foreach_set("use_smooth", [True] * len(data.polygons))
        data.set_sharp_from_angle(angle=np.radians(40))
    data.materials.append(material)
    body = bpy.data.objects.new(mesh.skin, data)
    bpy.context.scene.collection.objects.link(body)
    return body


def install_camera(path: Path) -> None:
    """Make a camera that follows ``path``, frame 1 on, the scene's camera."""
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.sensor_width, camera.lens = "HORIZONTAL", 36.0, 36.0 * path.focal
    camera.clip_start, camera.clip_end = 0.01, 50.0
    body = bpy.data.objects.new("camera", camera)
    body.rotation_mode = "QUATERNION"
    bpy.context.scene.collection.objects.link(body)
    bpy.context.scene.camera = body
    before = None
    for number, pose in enumerate(path.camera_to_world, start=1):
        # Blender's cameras look along -z with y up; the optical frame looks along z with y down.
        turn = Matrix((pose[:3, :3] * [1.0, -1.0, -1.0]).tolist()).to_quaternion()
        if before is not None:
            turn.make_compatible(before)
        body.location, body.rotation_quaternion, before = pose[:3, 3], turn, turn
        body.keyframe_insert("location", frame=number)
        body.keyframe_insert("rotation_quaternion", frame=number)


def first_hits(pose: NDArray[np.float64], points: NDArray[np.float64]) -> list[int]:
    """Object number (0: surroundings, -1: nothing) that a ray from the camera toward each point (N, 3) meets first."""
    graph = bpy.context.evaluated_depsgraph_get()
    numbers = []
    for point in points:
        ray = Vector(point - pose[:3, 3]).normalized()
        hit, _, _, _, body, _ = bpy.context.scene.ray_cast(graph, Vector(pose[:3, 3]), ray)
        numbers.append(body.pass_index if hit else -1)
    return numbers
