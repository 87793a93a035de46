"""What a recipe leaves to chance, as far as it needs no bpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dkt_ros.training.render.materials_library import TRANSPARENT
from dkt_ros.training.render.objects import Asset, ObjectChoice, draw_object
from dkt_ros.training.render.recipe import ObjectRecipe

Rng = np.random.Generator


def draw_name(rng: Rng, weights: dict[str, float]) -> str:
    """One of the names, as often as its weight says."""
    share = np.array(list(weights.values()))
    return str(rng.choice(list(weights), p=share / share.sum()))


def draw_assets(rng: Rng, recipe: ObjectRecipe, headroom: float) -> list[Asset]:
    """The objects of one scene, the required ones first; none higher than ``headroom`` metres."""
    count = int(rng.integers(recipe.count[0], recipe.count[1] + 1))
    clear = int(np.ceil(count * rng.uniform(*recipe.transparent)))
    choice = recipe.choice
    wanted: list[tuple[ObjectChoice, str | None]] = [
        (replace(choice, families={name: 1.0}, meshes=None), None) for name in recipe.required_families
    ]
    wanted += [(replace(choice, materials={name: 1.0}), name) for name in recipe.required_materials]
    assets: list[Asset] = []
    for index in range(max(count, len(wanted))):
        own, group = wanted[index] if index < len(wanted) else (choice, None)
        transparent = index < clear if group is None else group in TRANSPARENT
        if index < len(recipe.required_families) and not own.possible(recipe.required_families[index], transparent):
            transparent = not transparent  # a can is never of glass
        for _ in range(20):
            asset = draw_object(rng, own, transparent)
            if asset.height <= headroom:
                assets.append(asset)
                break
    return assets
