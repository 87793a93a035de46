"""Render a built scene: geometry at one sample, the background without transparent objects, and denoised RGB."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import OpenEXR
import pyoidn
from numpy.typing import NDArray

from dkt_ros.training.render.scene import Scene
from dkt_ros.training.sequences import CLEAR_PLASTIC

Float32 = NDArray[np.float32]

#: Beyond this Cycles means "nothing was hit" (it writes 1e10).
FAR = 1e9

#: A disk with less free space is full.
FULL_BYTES = 2**20

#: A vessel full of liquid has six interfaces, and two of them may stand behind one another.
BOUNCES = 12


@dataclass(frozen=True)
class Geometry:
    """What one ray through each pixel's centre met first; see ``Sequence`` for the conventions."""

    depth: Float32
    normals: NDArray[np.float16]
    instance: NDArray[np.uint8]
    material: NDArray[np.uint8]


def configure(width: int, height: int, frames: int, threads: int, seed: int) -> None:
    """Set size, threads and light transport; fewer than 8 bounces cost picture quality."""
    scene = bpy.context.scene
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = width, height, 100
    scene.frame_start, scene.frame_end = 1, frames
    scene.render.threads_mode, scene.render.threads = "FIXED", threads
    scene.render.use_persistent_data = True
    scene.render.image_settings.file_format = "OPEN_EXR_MULTILAYER"
    scene.render.image_settings.color_depth, scene.render.image_settings.exr_codec = "32", "NONE"
    scene.render.use_file_extension = True
    cycles = scene.cycles
    cycles.device = "CPU"
    cycles.seed, cycles.use_animated_seed = seed % 2**31, True
    cycles.use_adaptive_sampling = cycles.use_denoising = False
    cycles.transmission_bounces, cycles.max_bounces = BOUNCES, BOUNCES
    cycles.glossy_bounces, cycles.diffuse_bounces, cycles.transparent_max_bounces = 8, 3, 8
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 8.0


def switch(layer_passes: tuple[str, ...], samples: int, bounces: int, denoise_data: bool) -> None:
    """Choose passes by their names in the view layer, samples per pixel and bounces of the next render."""
    layer = bpy.context.view_layer
    for name in ("use_pass_z", "use_pass_normal", "use_pass_object_index", "use_pass_material_index"):
        setattr(layer, name, name in layer_passes)
    layer.cycles.denoising_store_passes = denoise_data
    cycles = bpy.context.scene.cycles
    cycles.samples, cycles.max_bounces = samples, bounces


def render() -> Iterator[dict[str, Any]]:
    """Render the frames and give each one's channels, ``{"Depth.Z": (H, W) float32, ...}``."""
    scene = bpy.context.scene
    with tempfile.TemporaryDirectory(prefix="dkt_render_") as folder:
        scene.render.filepath = os.path.join(folder, "f")
        with _quiet():
            bpy.ops.render.render(animation=True)
        for path in sorted(Path(folder).iterdir()):
            yield _channels(path)


def _channels(path: Path) -> dict[str, Any]:
    """The channels of a picture that Blender wrote.

    Raises:
        OSError: the disk was too full for it, which Blender itself does not say.
    """
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            return {
                name.split(".", 1)[1]: np.ascontiguousarray(channel.pixels, np.float32)
                for name, channel in file.channels().items()
            }
    except Exception as error:
        # Now, while all pictures are there; whoever is told of the error finds room again.
        if shutil.disk_usage(path.parent).free < FULL_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error
        raise


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Blender writes a line per frame straight to file descriptor 1."""
    keep = os.dup(1)
    with open(os.devnull, "w") as sink:
        os.dup2(sink.fileno(), 1)
        try:
            yield
        finally:
            os.dup2(keep, 1)
            os.close(keep)


def _xyz(channels: dict[str, Any], name: str, letters: str) -> Float32:
    return np.stack([channels[f"{name}.{letter}"] for letter in letters], -1)


def geometry(scene: Scene) -> Geometry:
    """First surface of every frame."""
    switch(("use_pass_z", "use_pass_normal", "use_pass_object_index", "use_pass_material_index"), 1, 0, False)
    depth, normals, instance, material = [], [], [], []
    with _without_relief():
        for pose, channels in zip(scene.path.camera_to_world, render(), strict=True):
            z = channels["Depth.Z"]
            hit = z < FAR
            depth.append(np.where(hit, z, np.float32(np.nan)))
            # Cycles gives normals in the world; rows of n @ R are R^T n, the same vectors in the optical frame.
            local = _xyz(channels, "Normal", "XYZ") @ pose[:3, :3].astype(np.float32)
            normals.append(np.where(hit[..., None], local, np.nan).astype(np.float16))
            instance.append(np.round(channels["IndexOB.X"]).astype(np.uint8))
            material.append(np.round(channels["IndexMA.X"]).astype(np.uint8))
    return Geometry(np.stack(depth), np.stack(normals), np.stack(instance), np.stack(material))


@contextlib.contextmanager
def _without_relief() -> Iterator[None]:
    """Mute relief that exists in the light only; the normal pass would show it, and depth does not have it."""
    nodes = [
        node
        for material in bpy.data.materials
        if material.use_nodes
        for node in material.node_tree.nodes
        if node.type in ("BUMP", "NORMAL_MAP") and not node.mute
    ]
    for node in nodes:
        node.mute = True
    try:
        yield
    finally:
        for node in nodes:
            node.mute = False


def background(scene: Scene) -> Float32:
    """(T, H, W) float32 depth along Z with what is transparent taken away, NaN where nothing was hit.

    It is taken away material by material, so that a jar's lid and a bottle's label stay where they are.
    """
    air = _air()
    changed = []
    for slot in (slot for item in scene.items for slot in item.body.material_slots):
        if slot.material is not None and slot.material.pass_index >= CLEAR_PLASTIC:
            changed.append((slot, slot.material))
            slot.material = air
    switch(("use_pass_z",), 1, 0, False)
    cycles = bpy.context.scene.cycles
    bounces, cycles.transparent_max_bounces = cycles.transparent_max_bounces, 256
    try:
        depth = np.stack([channels["Depth.Z"] for channels in render()])
    finally:
        cycles.transparent_max_bounces = bounces
        for slot, material in changed:
            slot.material = material
    return np.where(depth < FAR, depth, np.float32(np.nan))


def _air() -> Any:
    """A material through which rays pass as if nothing were there; Cycles' depth is that of what lies behind."""
    material = bpy.data.materials.new("air")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    material.node_tree.links.new(
        nodes.new("ShaderNodeBsdfTransparent").outputs["BSDF"], nodes["Material Output"].inputs["Surface"]
    )
    return material


def colour(scene: Scene, samples: int) -> NDArray[np.uint8]:
    """(T, H, W, 3) uint8 sRGB, denoised, under one exposure for the whole sequence."""
    switch((), samples, BOUNCES, True)
    linear = []
    for channels in render():
        linear.append(
            pyoidn.denoise(
                _xyz(channels, "Combined", "RGB"),
                albedo=_xyz(channels, "Denoising Albedo", "RGB"),
                normal=_xyz(channels, "Denoising Normal", "XYZ"),
                hdr=True,
            )
        )
    return develop(np.stack(linear), scene.gain)


def develop(linear: Float32, gain: float) -> NDArray[np.uint8]:
    """Linear light to sRGB bytes: grey-card exposure times ``gain``, highlights rolled off above 0.7."""
    luminance = linear @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    exposure = 0.2 * gain / float(np.exp(np.log(np.maximum(luminance, 1e-3)).mean()))
    light = np.maximum(linear * exposure, 0.0)
    light = np.where(light < 0.7, light, 1.0 - 0.3 / (1.0 + np.maximum(light - 0.7, 0.0) / 0.3))
    encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-8) ** (1 / 2.4) - 0.055)
    return np.round(255 * np.clip(encoded, 0, 1)).astype(np.uint8)
