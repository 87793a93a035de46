"""What objects, table and light are made of, as Cycles nodes. Runs inside bpy's environment."""

from __future__ import annotations

from typing import Any

import bpy
import numpy as np
from numpy.typing import NDArray

from dkt_ros.training.render.materials_library import MaterialSpec
from dkt_ros.training.sequences import CERAMIC, CLEAR_PLASTIC, GLASS, METAL, ORDINARY

Rng = np.random.Generator
Rgba = tuple[float, float, float, float]

#: Per metre; weaker absorption takes less than 3 % in 5 mm of glass, and a volume costs a quarter of the render's time.
VISIBLE_ABSORPTION = 5.0


def _new(name: str) -> tuple[Any, Any]:
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    return material, material.node_tree.nodes["Principled BSDF"]


def _colour(rng: Rng, low: float = 0.02, high: float = 0.9) -> tuple[float, float, float, float]:
    """A random colour: brightness log-uniform, saturation anything from grey to strong."""
    value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    tone = rng.random(3)
    tone /= tone.max()
    rgb = value * (1 - (saturation := rng.random()) + saturation * tone)
    return float(rgb[0]), float(rgb[1]), float(rgb[2]), 1.0


def clear(rng: Rng, kind: int) -> tuple[Any, dict[str, float]]:
    """Glass or clear plastic.

    Caustics are off, so a shadow ray meets a transparent surface instead: without it the inside and the shadow of
    every glass turn grey (measured; it changes no geometry pass).
    """
    material, shader = _new("clear")
    glass = kind == GLASS
    ior = rng.uniform(1.45, 1.52) if glass else rng.uniform(1.46, 1.58)
    tinted = rng.random() < (0.3 if glass else 0.4)
    tint = np.ones(3)
    if tinted:
        hue = rng.random(3)
        tint = 1 - rng.uniform(0.05, 0.45) * (1 - hue / hue.max())
    roughness = 0.0 if glass and rng.random() < 0.85 else rng.uniform(0.0, 0.12)
    shader.inputs["Base Color"].default_value = (*tint, 1.0)
    shader.inputs["Roughness"].default_value = roughness
    shader.inputs["IOR"].default_value = ior
    shader.inputs["Transmission Weight"].default_value = 1.0
    tree = material.node_tree
    path = tree.nodes.new("ShaderNodeLightPath")
    through = tree.nodes.new("ShaderNodeBsdfTransparent")
    through.inputs["Color"].default_value = (*(0.92 * tint), 1.0)
    mix = tree.nodes.new("ShaderNodeMixShader")
    tree.links.new(path.outputs["Is Shadow Ray"], mix.inputs["Fac"])
    tree.links.new(shader.outputs["BSDF"], mix.inputs[1])
    tree.links.new(through.outputs["BSDF"], mix.inputs[2])
    tree.links.new(mix.outputs["Shader"], tree.nodes["Material Output"].inputs["Surface"])
    return material, {"ior": round(float(ior), 4), "roughness": round(float(roughness), 4), "tinted": float(tinted)}


def metal(rng: Rng) -> tuple[Any, dict[str, float]]:
    """Polished or brushed metal: steel, aluminium, brass, copper."""
    material, shader = _new("metal")
    base = np.array([(0.77, 0.78, 0.78), (0.91, 0.92, 0.92), (0.89, 0.79, 0.45), (0.93, 0.62, 0.52)][rng.integers(4)])
    brushed = rng.random() < 0.5
    roughness = rng.uniform(0.18, 0.4) if brushed else rng.uniform(0.02, 0.15)
    shader.inputs["Base Color"].default_value = (*(base * rng.uniform(0.75, 1.0)), 1.0)
    shader.inputs["Metallic"].default_value = 1.0
    shader.inputs["Roughness"].default_value = roughness
    if brushed:
        shader.inputs["Anisotropic"].default_value = rng.uniform(0.3, 0.8)
    return material, {"roughness": round(float(roughness), 4), "brushed": float(brushed)}


def opaque(rng: Rng, kind: int) -> tuple[Any, dict[str, float]]:
    """Ordinary plastic, card or paint, or glazed ceramic (a rough body under a smooth coat); some are patterned."""
    material, shader = _new("opaque")
    ceramic = kind == CERAMIC
    roughness = rng.uniform(0.3, 0.6) if ceramic else rng.uniform(0.2, 0.9)
    shader.inputs["Roughness"].default_value = roughness
    if ceramic:
        shader.inputs["Coat Weight"].default_value = 1.0
        shader.inputs["Coat Roughness"].default_value = rng.uniform(0.0, 0.08)
    colour = _colour(rng, 0.15 if ceramic else 0.03, 0.85)
    shader.inputs["Base Color"].default_value = colour
    patterned = rng.random() < 0.4
    if patterned:
        texture = _pattern(material, rng, rng.uniform(15, 60), colour)
        material.node_tree.links.new(texture, shader.inputs["Base Color"])
    return material, {"roughness": round(float(roughness), 4), "patterned": float(patterned)}


def draw_material(rng: Rng, kind: int) -> tuple[Any, dict[str, float]]:
    """A random material of ``kind`` (ORDINARY, CERAMIC, METAL, CLEAR_PLASTIC or GLASS) and what was drawn."""
    if kind in (GLASS, CLEAR_PLASTIC):
        return clear(rng, kind)
    if kind == METAL:
        return metal(rng)
    assert kind in (ORDINARY, CERAMIC)
    return opaque(rng, kind)


def shaded(spec: MaterialSpec) -> Any:
    """The Cycles material of a drawn one; its pass index is the material code."""
    material, shader = _new(spec.name)
    material.pass_index = spec.kind
    inputs = shader.inputs
    inputs["Base Color"].default_value = (*spec.colour("colour"), 1.0)
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
        scale = float(np.exp(rng.uniform(np.log(12), np.log(90))))
        second = (*spec.colour("second_colour"), 1.0)
        texture = _pattern(material, rng, scale, (*spec.colour("colour"), 1.0), second)
        material.node_tree.links.new(texture, inputs["Base Color"])
    if spec.number("transmission") > 0:
        _let_shadows_through(material, shader, spec)
    return material


def _let_shadows_through(material: Any, shader: Any, spec: MaterialSpec) -> None:
    """Absorption inside, and a transparent surface for shadow rays.

    Caustics are off: without the transparent surface the inside and the shadow of every glass turn grey (measured; it
    changes no geometry pass).
    """
    tree = material.node_tree
    output = tree.nodes["Material Output"]
    path = tree.nodes.new("ShaderNodeLightPath")
    through = tree.nodes.new("ShaderNodeBsdfTransparent")
    share = 0.92 * spec.number("transmission") ** 0.5
    through.inputs["Color"].default_value = (share, share, share, 1.0)
    mix = tree.nodes.new("ShaderNodeMixShader")
    # Light that the surroundings scatter goes through too, or what lies under glass where no lamp shines turns black.
    either = tree.nodes.new("ShaderNodeMath")
    either.operation = "MAXIMUM"
    tree.links.new(path.outputs["Is Shadow Ray"], either.inputs[0])
    tree.links.new(path.outputs["Is Diffuse Ray"], either.inputs[1])
    tree.links.new(either.outputs["Value"], mix.inputs["Fac"])
    tree.links.new(shader.outputs["BSDF"], mix.inputs[1])
    tree.links.new(through.outputs["BSDF"], mix.inputs[2])
    tree.links.new(mix.outputs["Shader"], output.inputs["Surface"])
    absorption = np.array(spec.colour("absorption"))
    if absorption.max() >= VISIBLE_ABSORPTION:
        # Cycles absorbs density * (1 - colour) per metre.
        volume = tree.nodes.new("ShaderNodeVolumeAbsorption")
        volume.inputs["Density"].default_value = float(absorption.max())
        volume.inputs["Color"].default_value = (*(1 - absorption / absorption.max()), 1.0)
        tree.links.new(volume.outputs["Volume"], output.inputs["Volume"])


def _pattern(material: Any, rng: Rng, scale: float, first: Rgba, second: Rgba | None = None) -> Any:
    """A colour output: checker, stripes, wood rings, noise or cells in the object's own coordinates (per metre)."""
    tree = material.node_tree
    coordinates = tree.nodes.new("ShaderNodeTexCoord").outputs["Object"]
    kind = ("checker", "stripes", "wood", "noise", "cells")[rng.integers(5)]
    second = second or _colour(rng)
    if kind == "checker":
        node = tree.nodes.new("ShaderNodeTexChecker")
        node.inputs["Scale"].default_value = scale
        node.inputs["Color1"].default_value, node.inputs["Color2"].default_value = first, second
        tree.links.new(coordinates, node.inputs["Vector"])
        return node.outputs["Color"]
    turn = tree.nodes.new("ShaderNodeMapping")
    turn.inputs["Rotation"].default_value = tuple(rng.uniform(0, np.pi, 3))
    tree.links.new(coordinates, turn.inputs["Vector"])
    if kind in ("stripes", "wood"):
        node = tree.nodes.new("ShaderNodeTexWave")
        node.wave_type = "BANDS" if kind == "stripes" or rng.random() < 0.5 else "RINGS"
        node.inputs["Scale"].default_value = 0.3 * scale
        node.inputs["Distortion"].default_value = 0.0 if kind == "stripes" else rng.uniform(2, 9)
        node.inputs["Detail"].default_value = 3.0
        factor = node.outputs["Fac"]
    elif kind == "noise":
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


def surface(rng: Rng, scale: float, plain: float = 0.2) -> tuple[Any, dict[str, float]]:
    """Table, floor, wall or tray: matt to polished, plain with probability ``plain``, else patterned."""
    material, shader = _new("surface")
    colour = _colour(rng, 0.05, 0.9)
    roughness = rng.uniform(0.15, 0.95)
    shader.inputs["Base Color"].default_value = colour
    shader.inputs["Roughness"].default_value = roughness
    patterned = rng.random() >= plain
    if patterned:
        texture = _pattern(material, rng, scale, colour)
        material.node_tree.links.new(texture, shader.inputs["Base Color"])
    return material, {"roughness": round(float(roughness), 3), "patterned": float(patterned)}


def environment(rng: Rng) -> tuple[NDArray[np.float32], dict[str, float]]:
    """A room painted on a sphere: (64, 128, 4) linear radiance, row 0 straight down.

    A gradient from floor to ceiling and 2 to 6 bright rectangles, some of them windows with a cross of mullions.
    """
    height, width = 64, 128
    up = np.linspace(-1, 1, height)[:, None, None]
    ground, sky = np.array(_colour(rng, 0.05, 0.5)[:3]), np.array(_colour(rng, 0.1, 0.8)[:3])
    room = np.where(up < 0, ground * (1 + 0.5 * up), sky * (0.7 + 0.3 * up)) * np.ones((height, width, 3))
    boxes = int(rng.integers(2, 7))
    for _ in range(boxes):
        u, v = rng.integers(width), rng.integers(height // 2 - 4, height - 8)
        w, h = rng.integers(4, 22), rng.integers(4, 14)
        tone = 1 - rng.uniform(0, 0.35) * rng.random(3)
        columns = (u + np.arange(w)) % width
        pane = np.full((min(h, height - v), w, 3), tone * np.exp(rng.uniform(np.log(2), np.log(18))))
        if rng.random() < 0.5:
            pane[:, w // 2] = pane[len(pane) // 2] = 0.1
        room[v : v + h, columns] = pane
    room *= rng.uniform(0.6, 1.2) / max(float(room.mean()), 1e-3)
    return np.concatenate([room, np.ones((height, width, 1))], -1).astype(np.float32), {"soft_boxes": float(boxes)}
