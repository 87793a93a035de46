"""Drawn materials of objects as Cycles nodes. Runs inside bpy's environment."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np

from dkt_ros.training.render.materials_library import MaterialSpec
from dkt_ros.training.sequences import METAL

Rng = np.random.Generator
Rgba = tuple[float, float, float, float]

#: Per metre; weaker absorption takes less than 3 % in 5 mm of glass, and a volume costs a quarter of the render's time.
VISIBLE_ABSORPTION = 5.0


def shaded(spec: MaterialSpec) -> Any:
    """The Cycles material of a drawn one; its pass index is the material code."""
    material = bpy.data.materials.new(spec.name)
    material.use_nodes = True
    material.pass_index = spec.kind
    shader = material.node_tree.nodes["Principled BSDF"]
    inputs, base = shader.inputs, (*spec.colour("colour"), 1.0)
    inputs["Base Color"].default_value = base
    inputs["Roughness"].default_value = spec.number("roughness")
    inputs["IOR"].default_value = spec.number("ior")
    inputs["Metallic"].default_value = 1.0 if spec.kind == METAL else 0.0
    inputs["Anisotropic"].default_value = spec.number("anisotropy")
    # The library's share is per wall, and a wall has two surfaces.
    inputs["Transmission Weight"].default_value = spec.number("transmission") ** 0.5
    inputs["Coat Weight"].default_value = spec.number("coat")
    inputs["Coat Roughness"].default_value = 0.04
    inputs["Sheen Weight"].default_value = spec.number("sheen")
    if "second_colour" in spec.parameters:
        rng = np.random.default_rng(int(spec.number("pattern_seed")))
        texture = _pattern(material.node_tree, rng, base, (*spec.colour("second_colour"), 1.0))
        material.node_tree.links.new(texture, inputs["Base Color"])
    if spec.number("transmission") > 0:
        _let_shadows_through(material.node_tree, shader, spec)
        _absorb(material.node_tree, np.array(spec.colour("absorption")))
    return material


def _let_shadows_through(tree: Any, shader: Any, spec: MaterialSpec) -> None:
    """A transparent surface for shadow rays.

    Caustics are off: without it the inside and the shadow of every glass turn grey (measured; it changes no geometry
    pass). A rough surface samples lamps itself, and what its own far walls let through straight would be counted a
    second time (measured: frosted glass outshone the sky), so those let less through.
    """
    path = tree.nodes.new("ShaderNodeLightPath")
    through = tree.nodes.new("ShaderNodeBsdfTransparent")
    rough = float(np.clip((spec.number("roughness") - 0.05) / 0.25, 0, 1))
    share = (0.92 - 0.47 * rough) * spec.number("transmission") ** 0.5
    through.inputs["Color"].default_value = (share, share, share, 1.0)
    mix = tree.nodes.new("ShaderNodeMixShader")
    tree.links.new(path.outputs["Is Shadow Ray"], mix.inputs["Fac"])
    tree.links.new(shader.outputs["BSDF"], mix.inputs[1])
    tree.links.new(through.outputs["BSDF"], mix.inputs[2])
    tree.links.new(mix.outputs["Shader"], tree.nodes["Material Output"].inputs["Surface"])


def _absorb(tree: Any, absorption: np.ndarray) -> None:
    """Beer-Lambert absorption inside, (3,) per metre; Cycles absorbs density * (1 - colour) per metre."""
    strongest = float(absorption.max())
    if strongest < VISIBLE_ABSORPTION:
        return
    volume = tree.nodes.new("ShaderNodeVolumeAbsorption")
    volume.inputs["Density"].default_value = strongest
    volume.inputs["Color"].default_value = (*(1 - absorption / strongest), 1.0)
    tree.links.new(volume.outputs["Volume"], tree.nodes["Material Output"].inputs["Volume"])


def _pattern(tree: Any, rng: Rng, first: Rgba, second: Rgba) -> Any:
    """A colour output: checker, stripes, grain, clouds or cells in the object's own coordinates."""
    scale = float(np.exp(rng.uniform(np.log(12), np.log(90))))
    turn = tree.nodes.new("ShaderNodeMapping")
    turn.inputs["Rotation"].default_value = tuple(rng.uniform(0, np.pi, 3))
    tree.links.new(tree.nodes.new("ShaderNodeTexCoord").outputs["Object"], turn.inputs["Vector"])
    kind = ("checker", "stripes", "grain", "clouds", "cells")[rng.integers(5)]
    if kind == "checker":
        node = tree.nodes.new("ShaderNodeTexChecker")
        node.inputs["Scale"].default_value = scale
        node.inputs["Color1"].default_value, node.inputs["Color2"].default_value = first, second
        tree.links.new(turn.outputs["Vector"], node.inputs["Vector"])
        return node.outputs["Color"]
    if kind in ("stripes", "grain"):
        node = tree.nodes.new("ShaderNodeTexWave")
        node.wave_type = "BANDS" if kind == "stripes" or rng.random() < 0.5 else "RINGS"
        node.inputs["Scale"].default_value = 0.3 * scale
        node.inputs["Distortion"].default_value = 0.0 if kind == "stripes" else rng.uniform(2, 9)
        node.inputs["Detail"].default_value = 3.0
        factor = node.outputs["Fac"]
    elif kind == "clouds":
        node = tree.nodes.new("ShaderNodeTexNoise")
        node.inputs["Scale"].default_value = scale
        node.inputs["Detail"].default_value = rng.uniform(1, 6)
        factor = node.outputs["Fac"]
    else:
        node = tree.nodes.new("ShaderNodeTexVoronoi")
        node.inputs["Scale"].default_value = scale
        factor = node.outputs["Distance"]
    tree.links.new(turn.outputs["Vector"], node.inputs["Vector"])
    ramp = tree.nodes.new("ShaderNodeValToRGB")
    low = rng.uniform(0.15, 0.45)
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = low, low + rng.uniform(0.05, 0.5)
    ramp.color_ramp.elements[0].color, ramp.color_ramp.elements[1].color = first, second
    tree.links.new(factor, ramp.inputs["Fac"])
    return ramp.outputs["Color"]
