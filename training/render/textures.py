"""Procedural textures as Cycles nodes: wood, marble, tiles, fabric and so on. Needs bpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import bpy
import numpy as np

Rng = np.random.Generator
Colour = tuple[float, float, float, float]


class Nodes:
    """The node tree of a new material, with its texture coordinates in metres along the object's own axes."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.shader = self.tree.nodes["Principled BSDF"]
        self.place = self.tree.nodes.new("ShaderNodeTexCoord").outputs["Object"]

    def add(self, kind: str, output: str | int, settings: dict[str, Any] | None = None, **inputs: Any) -> Any:
        """A new node's output; inputs are values or other outputs, by the socket's name with _ for blanks."""
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for key, value in (settings or {}).items():
            setattr(node, key, value)
        for key, value in inputs.items():
            self.set(node, key.replace("_", " "), value)
        return node.outputs[output]

    def set(self, node: Any, name: str, value: Any) -> None:
        """Give an input a value or link it to an output."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, node.inputs[name])
        else:
            node.inputs[name].default_value = value

    def stretched(self, scale: tuple[float, ...], turn: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Any:
        """The coordinates turned and scaled per axis."""
        return self.add("Mapping", "Vector", Vector=self.place, Scale=scale, Rotation=turn)

    def ramp(self, factor: Any, stops: list[tuple[float, Colour]], sharp: bool = False) -> Any:
        """Colours by ``factor``; ``sharp``: no blending between them."""
        node = self.tree.nodes.new("ShaderNodeValToRGB")
        node.color_ramp.interpolation = "CONSTANT" if sharp else "LINEAR"
        while len(node.color_ramp.elements) < len(stops):
            node.color_ramp.elements.new(0.5)
        for element, (position, colour) in zip(node.color_ramp.elements, stops, strict=True):
            element.position, element.color = position, colour
        self.tree.links.new(factor, node.inputs["Fac"])
        return node.outputs["Color"]

    def bump(self, height: Any, strength: float, distance: float) -> None:
        """Relief in the light only; the geometry pass mutes it."""
        self.set(self.shader, "Normal", self.add("Bump", 0, Height=height, Strength=strength, Distance=distance))


def draw_colour(rng: Rng, low: float = 0.04, high: float = 0.85, saturation: float = 1.0) -> Colour:
    """A random colour: brightness log-uniform, saturation anything from grey to ``saturation``."""
    value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    tone = rng.random(3)
    tone /= tone.max()
    mixed = 1 - (s := saturation * rng.random() ** 1.5) + s * tone
    return (*tuple((value * mixed).tolist()), 1.0)


def _near(rng: Rng, colour: Colour, by: float) -> Colour:
    """``colour`` made lighter or darker by about ``by`` (natural logarithm), hue nearly kept."""
    factor = np.exp(rng.normal(0, by) + rng.normal(0, 0.15 * by, 3))
    return (*tuple(np.clip(np.array(colour[:3]) * factor, 0.004, 0.92).tolist()), 1.0)


def _plain(nodes: Nodes, rng: Rng) -> Any:
    """One colour with faint blotches."""
    colour = draw_colour(rng)
    blotch = nodes.add("TexNoise", "Fac", Vector=nodes.place, Scale=rng.uniform(2, 12), Detail=4.0)
    return nodes.ramp(blotch, [(0.3, colour), (0.8, _near(rng, colour, 0.12))])


def _wood(nodes: Nodes, rng: Rng) -> Any:
    """Grain along one axis, in planks or in one piece."""
    tones = np.array(
        [(0.35, 0.18, 0.08), (0.55, 0.36, 0.19), (0.16, 0.08, 0.04), (0.7, 0.54, 0.35), (0.42, 0.38, 0.33)]
    )
    base = (*tuple(tones[rng.integers(len(tones))].tolist()), 1.0)
    light, dark = _near(rng, base, 0.25), _near(rng, (*tuple(0.55 * c for c in base[:3]), 1.0), 0.2)
    along = nodes.stretched((1.0, rng.uniform(6, 16), 1.0), (0, 0, rng.uniform(0, np.pi)))
    grain = nodes.add("TexNoise", "Fac", Vector=along, Scale=rng.uniform(5, 14), Detail=7.0, Distortion=1.2)
    colour = nodes.ramp(grain, [(0.3, dark), (0.5, light), (0.7, _near(rng, light, 0.2))])
    if rng.random() < 0.5:
        long = rng.uniform(0.4, 1.2)
        planks = nodes.tree.nodes.new("ShaderNodeTexBrick")
        nodes.set(planks, "Vector", nodes.place)
        for name, value in {
            "Scale": 1.0,
            "Mortar Size": 0.0015,
            "Brick Width": long,
            "Row Height": rng.uniform(0.05, 0.14),
            "Color1": (1, 1, 1, 1),
            "Color2": (0.72, 0.72, 0.72, 1),
            "Mortar": (0.12, 0.1, 0.08, 1),
        }.items():
            nodes.set(planks, name, value)
        mix = nodes.tree.nodes.new("ShaderNodeMixRGB")
        mix.blend_type = "MULTIPLY"
        for name, value in {"Fac": 1.0, "Color1": colour, "Color2": planks.outputs["Color"]}.items():
            nodes.set(mix, name, value)
        colour = mix.outputs["Color"]
    return colour


def _marble(nodes: Nodes, rng: Rng) -> Any:
    """Thin veins in a pale or dark ground."""
    ground = draw_colour(rng, 0.35, 0.85, 0.25) if rng.random() < 0.7 else draw_colour(rng, 0.02, 0.1, 0.4)
    vein = _near(rng, (0.15, 0.14, 0.13, 1.0) if ground[1] > 0.3 else (0.6, 0.58, 0.55, 1.0), 0.3)
    turned = nodes.stretched((1, 1, 1), tuple(rng.uniform(0, np.pi, 3)))
    wave = nodes.add(
        "TexWave", "Fac", Vector=turned, Scale=rng.uniform(1, 4), Distortion=rng.uniform(8, 18), Detail=6.0
    )
    return nodes.ramp(wave, [(0.0, vein), (rng.uniform(0.06, 0.2), ground), (1.0, _near(rng, ground, 0.08))])


def _checker(nodes: Nodes, rng: Rng) -> Any:
    """Squares of two colours."""
    return nodes.add(
        "TexChecker",
        "Color",
        Vector=nodes.place,
        Scale=float(np.exp(rng.uniform(np.log(5), np.log(40)))),
        Color1=draw_colour(rng),
        Color2=draw_colour(rng),
    )


def _tiles(nodes: Nodes, rng: Rng) -> Any:
    """Tiles or bricks with joints."""
    colour = draw_colour(rng, 0.1, 0.85)
    wide = rng.uniform(0.05, 0.3)
    node = nodes.tree.nodes.new("ShaderNodeTexBrick")
    node.offset = 0.5 if rng.random() < 0.4 else 0.0
    for name, value in {
        "Vector": nodes.place,
        "Scale": 1.0,
        "Brick Width": wide,
        "Row Height": wide * (1.0 if rng.random() < 0.6 else 0.5),
        "Mortar Size": rng.uniform(0.001, 0.004),
        "Color1": colour,
        "Color2": _near(rng, colour, 0.15),
        "Mortar": draw_colour(rng, 0.1, 0.7, 0.2),
    }.items():
        nodes.set(node, name, value)
    return node.outputs["Color"]


def _fabric(nodes: Nodes, rng: Rng) -> Any:
    """A weave of two threads, with a relief, sometimes in wide coloured bands."""
    first = draw_colour(rng)
    second = _near(rng, first, 0.5) if rng.random() < 0.6 else draw_colour(rng)
    turn = rng.uniform(0, np.pi)
    fine = rng.uniform(40, 120)
    threads = [
        nodes.add(
            "TexWave", "Fac", Vector=nodes.stretched((1, 1, 0.0), (0, 0, turn + extra)), Scale=fine, Distortion=0.3
        )
        for extra in (0.0, np.pi / 2)
    ]
    weave = nodes.add("Math", 0, {"operation": "MULTIPLY"})
    nodes.tree.links.new(threads[0], weave.node.inputs[0])
    nodes.tree.links.new(threads[1], weave.node.inputs[1])
    nodes.bump(weave, 0.5, 0.001)
    if rng.random() < 0.5:
        return nodes.ramp(weave, [(0.2, first), (0.7, second)])
    bands = nodes.add("TexWave", "Fac", Vector=nodes.stretched((1, 1, 0.0), (0, 0, turn)), Scale=rng.uniform(3, 12))
    return nodes.ramp(bands, [(0.45, first), (0.5, second)], sharp=True)


def _noise(nodes: Nodes, rng: Rng) -> Any:
    """Cloudy mixture of two or three colours."""
    noise = nodes.add(
        "TexNoise",
        "Fac",
        Vector=nodes.place,
        Scale=float(np.exp(rng.uniform(np.log(4), np.log(60)))),
        Detail=rng.uniform(1, 8),
        Distortion=rng.uniform(0, 2),
    )
    return nodes.ramp(noise, [(0.35, draw_colour(rng)), (0.5, draw_colour(rng)), (0.65, draw_colour(rng))])


def _terrazzo(nodes: Nodes, rng: Rng) -> Any:
    """Chips of several colours in a ground."""
    cells = nodes.tree.nodes.new("ShaderNodeTexVoronoi")
    nodes.set(cells, "Vector", nodes.place)
    nodes.set(cells, "Scale", rng.uniform(25, 90))
    grey = nodes.add("SeparateColor", 0, Color=cells.outputs["Color"])
    ground = draw_colour(rng, 0.3, 0.85, 0.4)
    stops = [(0.0, draw_colour(rng)), (0.12, draw_colour(rng)), (0.25, draw_colour(rng)), (0.36, ground)]
    chips = nodes.ramp(grey, stops, sharp=True)
    inside = nodes.ramp(cells.outputs["Distance"], [(0.0, (1, 1, 1, 1)), (rng.uniform(0.35, 0.6), (0, 0, 0, 1))], True)
    return nodes.add("MixRGB", "Color", Fac=inside, Color1=ground, Color2=chips)


def _stripes(nodes: Nodes, rng: Rng) -> Any:
    """Straight bands of two colours."""
    scale = float(np.exp(rng.uniform(np.log(3), np.log(25))))
    bands = nodes.add("TexWave", "Fac", Vector=nodes.stretched((1, 1, 0), (0, 0, rng.uniform(0, np.pi))), Scale=scale)
    edge = rng.uniform(0.2, 0.6)
    return nodes.ramp(bands, [(edge, draw_colour(rng)), (edge + 0.02, draw_colour(rng))])


def _speckled(nodes: Nodes, rng: Rng) -> Any:
    """Fine grains, as in granite or worktops."""
    grains = nodes.add("TexNoise", "Fac", Vector=nodes.place, Scale=rng.uniform(150, 500), Detail=3.0)
    colour = draw_colour(rng)
    return nodes.ramp(grains, [(0.4, _near(rng, colour, 0.6)), (0.5, colour), (0.62, _near(rng, colour, 0.6))])


def _concrete(nodes: Nodes, rng: Rng) -> Any:
    """Grey with large soft patches and small pores."""
    grey = draw_colour(rng, 0.12, 0.6, 0.15)
    patches = nodes.add("TexNoise", "Fac", Vector=nodes.place, Scale=rng.uniform(2, 6), Detail=12.0)
    nodes.bump(patches, 0.2, 0.004)
    return nodes.ramp(patches, [(0.3, _near(rng, grey, 0.35)), (0.55, grey), (0.75, _near(rng, grey, 0.2))])


TEXTURES: dict[str, Callable[[Nodes, Rng], Any]] = {
    "plain": _plain,
    "wood": _wood,
    "marble": _marble,
    "checker": _checker,
    "tiles": _tiles,
    "fabric": _fabric,
    "noise": _noise,
    "terrazzo": _terrazzo,
    "stripes": _stripes,
    "speckled": _speckled,
    "concrete": _concrete,
}
