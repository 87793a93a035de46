"""A substance with ranges of physical parameters, and one material drawn from it. No bpy here.

Absorption is per metre of path in linear red, green and blue (Beer-Lambert: what is left after d metres is
exp(-a d)); roughness is Cycles' (the square root of GGX alpha).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Rng = np.random.Generator
Span = tuple[float, float]
Colour = tuple[float, float, float]
Value = float | str | tuple[float, ...]

#: Groups that objects are drawn from; liquids are drawn apart.
TRANSPARENT = ("clear_glass", "tinted_glass", "frosted_glass", "ribbed_glass", "clear_plastic", "cloudy_plastic")
OPAQUE = ("polished_metal", "brushed_metal", "coloured_metal", "ceramic", "ordinary")
GROUPS = (*TRANSPARENT, *OPAQUE)


@dataclass(frozen=True)
class Substance:
    """One entry of the library; a pair is the range of a uniform draw.

    Attributes:
        name, group, kind: kind is the material code of the sequences.
        ior: index of refraction (of the coat or the dielectric; without meaning for metals).
        roughness: 0 polished to 1 matt.
        transmission: share of the light that a wall lets through refracted; the rest is scattered as from ``colour``.
        absorption: per metre in red, green and blue, times a drawn ``strength``.
        colour: base reflectance in linear red, green and blue; None: any colour.
        jitter: relative standard deviation of each channel of ``colour``.
        anisotropy, coat, sheen: of Cycles' Principled shader, 0 to 1.
        patterns: probability of a second colour in a pattern.
        reliefs: patterns of true geometry, for ribbed glass.
    """

    name: str
    group: str
    kind: int
    ior: Span = (1.5, 1.5)
    roughness: Span = (0.0, 0.0)
    transmission: Span = (0.0, 0.0)
    absorption: Colour = (0.0, 0.0, 0.0)
    strength: Span = (1.0, 1.0)
    colour: Colour | None = (1.0, 1.0, 1.0)
    jitter: float = 0.0
    anisotropy: Span = (0.0, 0.0)
    coat: Span = (0.0, 0.0)
    sheen: Span = (0.0, 0.0)
    patterns: float = 0.0
    reliefs: tuple[str, ...] = ()


@dataclass(frozen=True)
class MaterialSpec:
    """A drawn material; ``parameters`` are numbers, words and tuples that JSON can hold."""

    name: str
    group: str
    kind: int
    parameters: dict[str, Value]

    def number(self, name: str) -> float:
        value = self.parameters[name]
        assert isinstance(value, float)
        return value

    def colour(self, name: str) -> Colour:
        value = self.parameters[name]
        assert isinstance(value, tuple)
        return value[0], value[1], value[2]


def any_colour(rng: Rng, low: float = 0.03, high: float = 0.88) -> Colour:
    """Linear; brightness log-uniform, saturation anything from grey to strong."""
    value = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    tone = rng.random(3)
    tone /= tone.max()
    saturation = rng.random()
    red, green, blue = (float(v) for v in value * (1 - saturation + saturation * tone))
    return red, green, blue


def specify(rng: Rng, substance: Substance) -> MaterialSpec:
    """Draw the parameters of one substance."""
    strength = rng.uniform(*substance.strength)
    if substance.colour is None:
        colour = any_colour(rng)
    else:
        varied = np.clip(np.array(substance.colour) * (1 + substance.jitter * rng.standard_normal(3) / 2), 0.005, 1)
        colour = _rounded(varied)
    parameters: dict[str, Value] = {
        "ior": round(float(rng.uniform(*substance.ior)), 4),
        "roughness": round(float(rng.uniform(*substance.roughness)), 4),
        "transmission": round(float(rng.uniform(*substance.transmission)), 4),
        "absorption": _rounded(strength * np.array(substance.absorption)),
        "colour": _rounded(np.array(colour)),
        "anisotropy": round(float(rng.uniform(*substance.anisotropy)), 4),
        "coat": round(float(rng.uniform(*substance.coat)), 4),
        "sheen": round(float(rng.uniform(*substance.sheen)), 4),
    }
    if rng.random() < substance.patterns:
        parameters |= {"second_colour": _rounded(np.array(any_colour(rng))), "pattern_seed": float(rng.integers(2**31))}
    if substance.reliefs:
        parameters["relief"] = str(rng.choice(substance.reliefs))
        parameters["ribs"] = float(rng.integers(10, 33))
        parameters["rib_depth"] = round(float(rng.uniform(0.0006, 0.002)), 5)
    return MaterialSpec(substance.name, substance.group, substance.kind, parameters)


def _rounded(values: np.ndarray) -> Colour:
    red, green, blue = (round(float(v), 4) for v in values)
    return red, green, blue
