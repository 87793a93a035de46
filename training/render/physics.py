"""Let objects fall and come to rest, with bpy's rigid bodies."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

FRAMES, CHECK = 170, 20
"""Simulated frames at 60 Hz; whoever still moves over the last ``CHECK`` of them has not settled."""


def _add(body: Any, kind: str, shape: str = "CONVEX_HULL") -> Any:
    scene = bpy.context.scene
    if not scene.rigidbody_world:
        bpy.ops.rigidbody.world_add()
        scene.render.fps = 60
        scene.rigidbody_world.substeps_per_frame = 10
    with bpy.context.temp_override(object=body, active_object=body, selected_objects=[body]):
        bpy.ops.rigidbody.object_add(type=kind)
    rigid = body.rigid_body
    rigid.collision_shape = shape
    rigid.use_margin, rigid.collision_margin = True, 0.0005
    rigid.friction = 0.6
    return rigid


def fixed(body: Any, hollow: bool = False) -> None:
    """An obstacle that does not move; ``hollow``: things can fall into it."""
    _add(body, "PASSIVE", "MESH" if hollow else "CONVEX_HULL")


def settle(bodies: list[Any]) -> list[Any]:
    """Drop ``bodies``, leave each where it came to rest, and return those that did not."""
    for body in bodies:
        rigid = _add(body, "ACTIVE")
        # Strong damping: a bottle on a bare table would roll out of the picture.
        rigid.mass, rigid.linear_damping, rigid.angular_damping = 0.2, 0.3, 0.85
    scene = bpy.context.scene
    scene.rigidbody_world.point_cache.frame_end = FRAMES
    scene.frame_start, scene.frame_end = 1, FRAMES
    before: list[NDArray[np.float64]] = []
    for frame in range(1, FRAMES + 1):
        scene.frame_set(frame)
        if frame == FRAMES - CHECK:
            before = [np.array(body.matrix_world) for body in bodies]
    rest = [body.matrix_world.copy() for body in bodies]
    for body, matrix in zip(bodies, rest, strict=True):
        body.matrix_world = matrix
    # A 0.1 m lever turns the rotation's change into metres.
    moved = [np.abs(np.array(a) - b) * [[0.1, 0.1, 0.1, 1.0]] for a, b in zip(rest, before, strict=True)]
    return [body for body, change in zip(bodies, moved, strict=True) if change[:3].max() > 0.0005]


def forget() -> None:
    """End the simulation; everything stays where it is."""
    places = [(body, body.matrix_world.copy()) for body in bpy.context.scene.objects if body.rigid_body]
    if bpy.context.scene.rigidbody_world is not None:
        bpy.ops.rigidbody.world_remove()
    bpy.context.scene.frame_set(1)
    for body, matrix in places:
        body.matrix_world = matrix
    bpy.context.view_layer.update()
