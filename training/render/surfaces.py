"""What tables, walls, floors, containers and clutter are covered with, as Cycles materials. Needs bpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dkt_ros.training.render.textures import TEXTURES, Nodes

Rng = np.random.Generator

#: What each skin of a setting may be covered with, and how often.
_BY_SKIN: dict[str, dict[str, float]] = {
    "table": {
        "plain": 2,
        "wood": 4,
        "marble": 1.5,
        "checker": 1.2,
        "tiles": 1,
        "fabric": 1.6,
        "noise": 1.2,
        "terrazzo": 1.2,
        "stripes": 1,
        "speckled": 1.2,
        "concrete": 1,
    },
    "trim": {"plain": 3, "wood": 3, "concrete": 0.5},
    "container": {"plain": 4, "wood": 1, "speckled": 1, "checker": 0.6, "noise": 1, "fabric": 0.6},
    "floor": {"plain": 1, "wood": 2, "tiles": 2, "checker": 1, "fabric": 1, "concrete": 2, "terrazzo": 1},
    "ground": {"noise": 2, "speckled": 2, "concrete": 2, "tiles": 1, "wood": 0.7},
    "paper": {"plain": 2, "stripes": 2, "tiles": 0.5},
    "wall": {"plain": 5, "tiles": 1.2, "noise": 0.8, "stripes": 1, "wood": 0.8, "concrete": 1},
    "clutter": {"plain": 3, "stripes": 1.5, "checker": 0.7, "noise": 1, "fabric": 1, "wood": 0.7},
}


def draw_surface(rng: Rng, skin: str) -> tuple[Any, str]:
    """A random material for ``skin``, pass index 0, and the name of its texture.

    "metal" is brushed steel, "dark" a black hole's inside, "ground" soil or grass under an open sky.
    """
    nodes = Nodes(skin)
    if skin == "metal":
        return _steel(nodes, rng), "steel"
    if skin == "dark":
        nodes.set(nodes.shader, "Base Color", (0.01, 0.01, 0.01, 1.0))
        return nodes.material, "dark"
    if skin == "container" and rng.random() < 0.15:
        return _steel(nodes, rng), "steel"
    weights = _BY_SKIN[skin]
    share = np.array(list(weights.values()))
    kind = str(rng.choice(list(weights), p=share / share.sum()))
    nodes.set(nodes.shader, "Base Color", TEXTURES[kind](nodes, rng))
    rough = rng.uniform(0.6, 1.0) if kind in ("fabric", "concrete") else rng.uniform(0.12, 0.9)
    nodes.set(nodes.shader, "Roughness", rough)
    return nodes.material, kind


def _steel(nodes: Nodes, rng: Rng) -> Any:
    nodes.set(nodes.shader, "Base Color", (*np.repeat(rng.uniform(0.5, 0.8), 3), 1.0))
    nodes.set(nodes.shader, "Metallic", 1.0)
    nodes.set(nodes.shader, "Roughness", rng.uniform(0.15, 0.45))
    nodes.set(nodes.shader, "Anisotropic", rng.uniform(0.0, 0.7))
    return nodes.material


def emitter(name: str, strength: float, low: NDArray[np.float64], high: NDArray[np.float64]) -> Any:
    """A surface that shines from colour ``low`` at its foot to ``high`` at its top (local z -1..1)."""
    nodes = Nodes(name)
    z = nodes.add("SeparateXYZ", "Z", Vector=nodes.place)
    share = nodes.add("MapRange", 0, Value=z, From_Min=-1.0, From_Max=1.0)
    colour = nodes.ramp(share, [(0.3, (*low, 1.0)), (0.55, (*high, 1.0))])
    shine = nodes.tree.nodes.new("ShaderNodeEmission")
    nodes.set(shine, "Color", colour)
    nodes.set(shine, "Strength", strength)
    nodes.tree.links.new(shine.outputs["Emission"], nodes.tree.nodes["Material Output"].inputs["Surface"])
    return nodes.material
