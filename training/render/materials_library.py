"""The material library: at least thirty named substances in eleven groups, and liquids. No bpy here.

Indices of refraction (at 590 nm) and base reflectances of metals (linear sRGB) are the usual tabulated values;
absorptions are chosen so that 3 to 10 mm look like the thing named.
"""

from __future__ import annotations

import numpy as np

from dkt_ros.training.render.materials_spec import (
    GROUPS,
    OPAQUE,
    TRANSPARENT,
    Colour,
    MaterialSpec,
    Span,
    Substance,
    specify,
)
from dkt_ros.training.sequences import CERAMIC, CLEAR_PLASTIC, GLASS, LIQUID, METAL, ORDINARY

__all__ = [
    "GROUPS",
    "LIBRARY",
    "LIQUIDS",
    "OPAQUE",
    "TRANSPARENT",
    "MaterialSpec",
    "Substance",
    "draw_liquid",
    "draw_material",
    "named",
    "specify",
]

Rng = np.random.Generator


def _glass(
    name: str, group: str, ior: Span, absorption: Colour, strength: Span = (0.6, 1.6), **more: object
) -> Substance:
    full = {"transmission": (1.0, 1.0), "absorption": absorption, "strength": strength, "ior": ior} | more
    return Substance(name, group, GLASS, **full)  # type: ignore[arg-type]


def _plastic(
    name: str, group: str, ior: Span, rough: Span, through: Span, absorption: Colour, **more: object
) -> Substance:
    full = {"roughness": rough, "transmission": through, "absorption": absorption, "strength": (0.3, 2.0)} | more
    return Substance(name, group, CLEAR_PLASTIC, ior=ior, **full)  # type: ignore[arg-type]


def _cloudy(name: str, ior: Span, rough: Span, through: Span, colour: Colour, jitter: float) -> Substance:
    pale = (2.0, 2.0, 2.4)
    return _plastic(name, "cloudy_plastic", ior, rough, through, pale, colour=colour, jitter=jitter)


def _metal(name: str, group: str, colour: Colour, rough: Span, anisotropy: Span = (0.0, 0.0)) -> Substance:
    return Substance(name, group, METAL, roughness=rough, colour=colour, jitter=0.04, anisotropy=anisotropy)


def _matter(name: str, rough: Span, colour: Colour | None = None, **more: object) -> Substance:
    return Substance(name, "ordinary", ORDINARY, roughness=rough, colour=colour, **more)  # type: ignore[arg-type]


def _liquid(name: str, ior: Span, absorption: Colour, strength: Span = (0.6, 1.6)) -> Substance:
    return Substance(name, "liquid", LIQUID, ior=ior, transmission=(1.0, 1.0), absorption=absorption, strength=strength)


_FLUTES, _OPTIC = ("flutes",), ("flutes", "swirl", "rings")

LIBRARY: tuple[Substance, ...] = (
    _glass("soda-lime glass", "clear_glass", (1.51, 1.525), (2.2, 0.8, 1.8)),
    _glass("borosilicate glass", "clear_glass", (1.468, 1.478), (0.7, 0.4, 0.8)),
    _glass("lead crystal", "clear_glass", (1.54, 1.60), (0.3, 0.3, 0.5)),
    _glass("extra-white glass", "clear_glass", (1.51, 1.53), (0.3, 0.2, 0.4)),
    _glass("recycled glass", "clear_glass", (1.51, 1.53), (14.0, 4.0, 10.0), (0.5, 2.0)),
    _glass("green bottle glass", "tinted_glass", (1.51, 1.53), (230.0, 50.0, 250.0), (0.4, 1.4)),
    _glass("amber glass", "tinted_glass", (1.51, 1.53), (50.0, 170.0, 600.0), (0.4, 1.4)),
    _glass("cobalt glass", "tinted_glass", (1.51, 1.54), (420.0, 260.0, 25.0), (0.3, 1.2)),
    _glass("smoke glass", "tinted_glass", (1.51, 1.53), (130.0, 140.0, 150.0), (0.3, 1.4)),
    _glass("rose glass", "tinted_glass", (1.51, 1.53), (20.0, 160.0, 110.0), (0.3, 1.3)),
    _glass("aqua glass", "tinted_glass", (1.51, 1.53), (130.0, 30.0, 35.0), (0.3, 1.4)),
    _glass("olive glass", "tinted_glass", (1.51, 1.53), (120.0, 80.0, 420.0), (0.3, 1.3)),
    _glass("etched glass", "frosted_glass", (1.5, 1.53), (1.5, 0.8, 1.5), roughness=(0.15, 0.32)),
    _glass("sandblasted glass", "frosted_glass", (1.5, 1.53), (1.5, 0.8, 1.5), roughness=(0.3, 0.5)),
    _glass("satin tinted glass", "frosted_glass", (1.5, 1.53), (90.0, 60.0, 30.0), (0.2, 1.2), roughness=(0.15, 0.32)),
    _glass("fluted glass", "ribbed_glass", (1.5, 1.54), (1.5, 0.6, 1.5), reliefs=_FLUTES),
    _glass("optic glass", "ribbed_glass", (1.5, 1.54), (1.0, 0.6, 1.2), reliefs=_OPTIC),
    _glass("cut crystal", "ribbed_glass", (1.54, 1.6), (0.3, 0.3, 0.5), reliefs=("diamonds",)),
    _glass("hammered glass", "ribbed_glass", (1.5, 1.54), (6.0, 2.0, 4.0), reliefs=("hammered",)),
    _plastic("PET", "clear_plastic", (1.57, 1.58), (0.0, 0.05), (0.97, 1.0), (3.0, 2.0, 2.5)),
    _plastic("acrylic", "clear_plastic", (1.488, 1.495), (0.0, 0.04), (0.98, 1.0), (0.5, 0.4, 0.5)),
    _plastic("polycarbonate", "clear_plastic", (1.58, 1.59), (0.0, 0.08), (0.97, 1.0), (2.0, 2.0, 6.0)),
    _plastic("polystyrene", "clear_plastic", (1.585, 1.595), (0.02, 0.1), (0.95, 1.0), (2.0, 2.0, 4.0)),
    _plastic("tinted acrylic", "clear_plastic", (1.488, 1.495), (0.0, 0.05), (0.97, 1.0), (150.0, 100.0, 60.0)),
    _cloudy("polypropylene", (1.49, 1.5), (0.08, 0.24), (0.86, 0.97), (0.86, 0.86, 0.84), 0.06),
    _cloudy("HDPE", (1.53, 1.545), (0.2, 0.35), (0.72, 0.88), (0.85, 0.84, 0.8), 0.08),
    _cloudy("milky plastic", (1.49, 1.55), (0.06, 0.25), (0.68, 0.9), (0.8, 0.78, 0.74), 0.3),
    _cloudy("silicone", (1.4, 1.43), (0.12, 0.3), (0.8, 0.95), (0.82, 0.82, 0.8), 0.2),
    _metal("polished steel", "polished_metal", (0.66, 0.65, 0.63), (0.03, 0.15)),
    _metal("polished aluminium", "polished_metal", (0.91, 0.92, 0.92), (0.04, 0.18)),
    _metal("chrome", "polished_metal", (0.55, 0.56, 0.56), (0.0, 0.06)),
    _metal("silver", "polished_metal", (0.96, 0.95, 0.91), (0.02, 0.12)),
    _metal("brushed steel", "brushed_metal", (0.62, 0.61, 0.59), (0.2, 0.42), (0.3, 0.85)),
    _metal("brushed aluminium", "brushed_metal", (0.88, 0.89, 0.89), (0.22, 0.45), (0.3, 0.85)),
    _metal("pewter", "brushed_metal", (0.5, 0.49, 0.47), (0.3, 0.5), (0.0, 0.3)),
    _metal("brass", "coloured_metal", (0.89, 0.75, 0.38), (0.05, 0.35)),
    _metal("copper", "coloured_metal", (0.93, 0.60, 0.48), (0.05, 0.35)),
    _metal("gold", "coloured_metal", (1.0, 0.77, 0.34), (0.03, 0.2)),
    Substance("anodised aluminium", "coloured_metal", METAL, roughness=(0.2, 0.4), colour=None),
    Substance(
        "white porcelain",
        "ceramic",
        CERAMIC,
        (1.5, 1.55),
        (0.1, 0.3),
        colour=(0.82, 0.81, 0.78),
        jitter=0.05,
        coat=(0.8, 1.0),
        patterns=0.25,
    ),
    Substance(
        "glazed stoneware", "ceramic", CERAMIC, (1.5, 1.55), (0.3, 0.6), colour=None, coat=(0.6, 1.0), patterns=0.3
    ),
    Substance(
        "glazed earthenware",
        "ceramic",
        CERAMIC,
        (1.5, 1.55),
        (0.35, 0.65),
        colour=(0.45, 0.2, 0.1),
        jitter=0.3,
        coat=(0.5, 1.0),
        patterns=0.3,
    ),
    Substance("unglazed clay", "ceramic", CERAMIC, (1.5, 1.5), (0.7, 0.95), colour=(0.5, 0.24, 0.14), jitter=0.2),
    _matter("rubber", (0.6, 0.95), (0.04, 0.04, 0.045), jitter=0.4),
    _matter("cardboard", (0.85, 1.0), (0.42, 0.28, 0.16), jitter=0.12, patterns=0.3),
    _matter("wood", (0.35, 0.8), (0.35, 0.19, 0.09), jitter=0.3, patterns=0.9),
    _matter("cork", (0.8, 1.0), (0.5, 0.3, 0.16), jitter=0.12, patterns=0.8),
    _matter("matt plastic", (0.35, 0.7), ior=(1.46, 1.55), patterns=0.25),
    _matter("glossy plastic", (0.08, 0.3), ior=(1.46, 1.55), patterns=0.25),
    _matter("painted", (0.2, 0.8), patterns=0.5, coat=(0.0, 0.5)),
    _matter("paper", (0.8, 1.0), (0.75, 0.73, 0.68), jitter=0.08, patterns=0.75),
    _matter("fabric", (0.85, 1.0), sheen=(0.3, 1.0), patterns=0.6),
    _matter("stone", (0.4, 0.9), (0.32, 0.3, 0.28), jitter=0.3, patterns=0.8),
)

#: Clear ones have the code LIQUID; those that scatter light are ordinary matter, which a depth camera sees.
LIQUIDS: tuple[Substance, ...] = (
    _liquid("water", (1.33, 1.334), (0.4, 0.1, 0.1)),
    _liquid("tea", (1.333, 1.336), (6.0, 25.0, 90.0), (0.4, 1.6)),
    _liquid("apple juice", (1.345, 1.355), (2.0, 9.0, 40.0), (0.5, 1.8)),
    _liquid("red wine", (1.34, 1.35), (30.0, 190.0, 170.0), (0.4, 1.3)),
    _liquid("white wine", (1.34, 1.35), (1.0, 3.0, 14.0)),
    _liquid("cola", (1.34, 1.35), (60.0, 130.0, 260.0), (0.5, 1.4)),
    _liquid("olive oil", (1.465, 1.472), (6.0, 6.0, 70.0), (0.5, 1.6)),
    _liquid("blue soap", (1.36, 1.42), (60.0, 18.0, 4.0), (0.4, 1.8)),
    _liquid("green cordial", (1.36, 1.42), (45.0, 6.0, 50.0), (0.4, 1.8)),
    Substance("milk", "liquid", ORDINARY, (1.34, 1.35), (0.05, 0.15), colour=(0.86, 0.84, 0.77), jitter=0.03),
    Substance("orange juice", "liquid", ORDINARY, (1.345, 1.355), (0.1, 0.25), colour=(0.85, 0.42, 0.05), jitter=0.08),
    Substance("coffee", "liquid", ORDINARY, (1.335, 1.345), (0.03, 0.1), colour=(0.03, 0.012, 0.005), jitter=0.3),
)


def draw_material(rng: Rng, group: str) -> MaterialSpec:
    """A substance of ``group`` (one of ``GROUPS``) with its parameters drawn.

    Raises:
        ValueError: no such group.
    """
    return specify(rng, _one_of(rng, group, LIBRARY))


def draw_liquid(rng: Rng) -> MaterialSpec:
    """Water in a third of the draws, else any liquid."""
    return specify(rng, LIQUIDS[0] if rng.random() < 0.33 else _one_of(rng, "liquid", LIQUIDS))


def named(rng: Rng, name: str) -> MaterialSpec:
    """The substance of that name with its parameters drawn.

    Raises:
        ValueError: no such substance.
    """
    for substance in (*LIBRARY, *LIQUIDS):
        if substance.name == name:
            return specify(rng, substance)
    known = ", ".join(substance.name for substance in (*LIBRARY, *LIQUIDS))
    raise ValueError(f"no material {name!r}; known: {known}")


def _one_of(rng: Rng, group: str, entries: tuple[Substance, ...]) -> Substance:
    members = [entry for entry in entries if entry.group == group]
    if not members:
        raise ValueError(f"no material group {group!r}; known: {', '.join(GROUPS)}")
    return members[rng.integers(len(members))]
