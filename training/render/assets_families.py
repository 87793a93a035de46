"""Hollow families with random proportions: glasses, bottles, jars, bowls, vases, laboratory ware, mugs, pitchers.

Sizes are those of things that one can buy, in metres. Every function draws one ``Vessel``.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dkt_ros.training.render.assets_mesh import Float64, Rng, smooth
from dkt_ros.training.render.assets_vessel import Handle, Section, Vessel, drawn, hollow


def _vessel(
    family: str,
    outer: list[tuple[float, float]] | Float64,
    floor: float,
    numbers: dict[str, float],
    *,
    section: Section | None = None,
    handle: Handle | None = None,
    spout: float = 0.0,
    fillet: float = 0.004,
    dome: float = 0.0,
    punt: float = 0.0,
    **words: str,
) -> Vessel:
    """Put the base's middle on the axis, ``punt`` metres up, and hollow the outline by ``numbers["wall"]``."""
    line = np.concatenate([[[0.0, punt]], np.asarray(outer, float)])
    outline, inner = hollow(line, numbers["wall"], floor, fillet, dome)
    section = section or Section()
    parameters: dict[str, float | str] = {name: round(value, 5) for name, value in numbers.items()}
    parameters |= {"floor": round(floor, 5), **words}
    if section.sides:
        parameters |= {"sides": section.sides, "flat": round(section.flat, 3)}
    return Vessel(family, outline, inner, numbers["wall"], section, handle, spout, parameters)


def _base(radius: float, edge: float) -> list[tuple[float, float]]:
    """A flat base with a rounded edge, up to the height ``edge``."""
    return [(radius - edge, 0.0), (radius - 0.6 * edge, 0.08 * edge), (radius - 0.15 * edge, 0.45 * edge)]


def _facets(rng: Rng, probability: float, until: float = np.inf, few: int = 4) -> Section:
    if rng.random() >= probability:
        return Section()
    return Section(int(rng.integers(few, 13)), float(rng.uniform(0.4, 1.0)), until)


def tumbler(rng: Rng) -> Vessel:
    """A drinking glass, from shot glass to highball: straight, conical or bellied, round or faceted, any base."""
    n = drawn(
        rng, height=(0.055, 0.175), base=(0.018, 0.04), flare=(0.92, 1.6), belly=(0.94, 1.14), wall=(0.001, 0.004)
    )
    n["height"] = float(np.clip(n["height"], 1.6 * n["base"], 5.5 * n["base"]))
    mouth, height = n["base"] * n["flare"], n["height"]
    belly = 0.5 * (n["base"] + mouth) * (n["belly"] if rng.random() < 0.5 else 1.0)
    edge = float(rng.uniform(0.002, 0.006))
    side = smooth([(n["base"], edge), (belly, 0.5 * height), (mouth, height)], 6)
    floor = n["wall"] + float(rng.choice([rng.uniform(0.001, 0.005), rng.uniform(0.006, 0.022)]))
    section = _facets(rng, 0.25)
    return _vessel("tumbler", [*_base(n["base"], edge), *map(tuple, side)], floor, n, section=section)


def stemware(rng: Rng) -> Vessel:
    """Foot, stem and cup: wine, champagne (flute or coupe), martini, goblet."""
    kind = str(rng.choice(["wine", "flute", "coupe", "martini", "goblet"]))
    n = drawn(rng, height=(0.13, 0.24), wall=(0.001, 0.0022), foot=(0.026, 0.042), stem=(0.0028, 0.0055))
    height = n["height"]
    share, cup, mouth = {
        "wine": (rng.uniform(0.35, 0.58), rng.uniform(0.028, 0.05), rng.uniform(0.68, 1.0)),
        "flute": (rng.uniform(0.25, 0.4), rng.uniform(0.02, 0.03), rng.uniform(0.75, 1.05)),
        "coupe": (rng.uniform(0.5, 0.7), rng.uniform(0.038, 0.055), 1.0),
        "martini": (rng.uniform(0.45, 0.65), rng.uniform(0.04, 0.058), 1.0),
        "goblet": (rng.uniform(0.2, 0.4), rng.uniform(0.03, 0.045), rng.uniform(0.85, 1.1)),
    }[kind]
    if kind == "goblet":
        n["stem"], n["wall"] = float(rng.uniform(0.006, 0.011)), float(rng.uniform(0.0018, 0.0035))
    elif kind in ("coupe", "martini"):
        height = n["height"] = min(height, 0.19)
    n |= {"stem_top": share * height, "cup": float(cup), "mouth": float(cup * mouth)}
    top, stem, foot = n["stem_top"], n["stem"], n["foot"]
    knot = float(rng.uniform(1.0, 2.2)) if kind == "goblet" else 1.0
    below = [(foot, 0.0012), (0.97 * foot, 0.003), (0.4 * foot, 0.006), (1.5 * stem, 0.014), (stem, 0.028)]
    below += [(stem * knot, 0.5 * (0.028 + top)), (stem, top)] if top > 0.045 else [(stem, top)]
    deep = height - top
    above = {
        "wine": [(0.62 * cup, top + 0.13 * deep), (cup, top + 0.45 * deep), (n["mouth"], height)],
        "flute": [(0.6 * cup, top + 0.12 * deep), (cup, top + 0.5 * deep), (n["mouth"], height)],
        "coupe": [(0.6 * cup, top + 0.14 * deep), (0.93 * cup, top + 0.55 * deep), (cup, height)],
        "martini": [(stem + 0.12 * cup, top + 0.08 * deep), (0.55 * cup, top + 0.5 * deep), (cup, height)],
        "goblet": [(0.75 * cup, top + 0.12 * deep), (cup, top + 0.4 * deep), (n["mouth"], height)],
    }[kind]
    outer = [(0.94 * foot, 0.0), *map(tuple, smooth(below + above, 6))]
    return _vessel("stemware", outer, top + 0.003, n, kind=kind)


def beaker(rng: Rng) -> Vessel:
    """A laboratory beaker: straight and thin, with a flared lip and mostly a spout."""
    n = drawn(rng, radius=(0.018, 0.055), slender=(2.0, 3.4), wall=(0.001, 0.002), lip=(0.0015, 0.005))
    r, height, lip = n["radius"], n["radius"] * n.pop("slender"), n["lip"]
    n["height"] = height
    side = [(r, 0.006), (r, 0.3 * height), (r, height - 0.008), (r + 0.25 * lip, height - 0.004), (r + lip, height)]
    spout = float(rng.uniform(0.003, 0.009)) if rng.random() < 0.75 else 0.0
    return _vessel("beaker", [*_base(r, 0.006), *side], n["wall"] + 0.0008, n, spout=spout)


def flask(rng: Rng) -> Vessel:
    """An Erlenmeyer, a volumetric or a flat-bottomed round flask."""
    kind = str(rng.choice(["erlenmeyer", "round", "volumetric"]))
    n = drawn(rng, radius=(0.026, 0.06), wall=(0.001, 0.0022), tall=(1.9, 3.0), neck=(0.22, 0.42))
    r, neck = n["radius"], max(0.007, n["radius"] * n["neck"])
    height = r * n.pop("tall") * (1.45 if kind == "volumetric" else 1.0)
    n |= {"height": height, "neck": neck}
    lip = neck + float(rng.uniform(0.001, 0.004))
    if kind == "erlenmeyer":
        shoulder = height * rng.uniform(0.6, 0.76)
        points = [(r, 0.007), (0.93 * r, 0.018), (1.25 * neck, shoulder), (neck, shoulder + 0.1 * height)]
        base = _base(r, 0.007)
    else:
        ball = 2 * r if kind == "round" else 1.7 * r
        points = [(0.8 * r, 0.16 * r), (r, 0.5 * ball), (0.72 * r, 0.86 * ball), (neck, 1.05 * ball)]
        base = _base(0.62 * r, 0.003)
        height = n["height"] = max(height, 1.05 * ball + 0.03)
    side = smooth([*points, (neck, 0.96 * height)], 7)
    return _vessel("flask", [*base, *map(tuple, side), (lip, height)], n["wall"] + 0.001, n, kind=kind)


def bottle(rng: Rng) -> Vessel:
    """From a vial over beer and soda to wine bottles: body, shoulder, neck, often a lip, a waist or a punt."""
    n = drawn(
        rng, height=(0.11, 0.32), slender=(0.105, 0.2), shoulder=(0.42, 0.74), neck=(0.26, 0.5), wall=(0.0008, 0.004)
    )
    height = n["height"]
    r = float(np.clip(height * n.pop("slender"), 0.02, 0.048))
    neck = float(np.clip(n["neck"] * r, 0.008, 0.02))
    n |= {"radius": r, "neck": neck}
    shoulder, steep = n["shoulder"] * height, rng.uniform(0.05, 0.2) * height
    waist = r * (float(rng.uniform(0.82, 0.98)) if rng.random() < 0.35 else 1.0)
    points = [(r, 0.007), (waist, 0.5 * shoulder), (r, shoulder), (0.55 * (r + neck), shoulder + 0.6 * steep)]
    points += [(neck, shoulder + 1.2 * steep), (neck, 0.93 * height)]
    lip = neck + float(rng.uniform(0.0, 0.003))
    line = [*map(tuple, smooth(points, 6)), (lip, 0.945 * height), (lip, height)]
    punt = float(rng.uniform(0.0, 0.02)) if rng.random() < 0.4 else 0.0
    section = _facets(rng, 0.25, until=shoulder)
    floor = n["wall"] + 0.002 + punt
    return _vessel("bottle", [*_base(r, 0.006), *line], floor, n, section=section, punt=punt, fillet=0.008)


def jar(rng: Rng) -> Vessel:
    """A wide jar, straight or bellied, with a short neck."""
    n = drawn(rng, radius=(0.024, 0.06), tall=(1.1, 3.2), opening=(0.68, 0.95), wall=(0.0015, 0.004))
    r = n["radius"]
    height = r * n.pop("tall")
    neck = r * n.pop("opening")
    n |= {"height": height, "neck": neck}
    belly = r * (float(rng.uniform(0.88, 1.1)) if rng.random() < 0.4 else 1.0)
    high = height - max(0.012, 0.14 * height)
    points = [(r, 0.007), (belly, 0.5 * high), (r, 0.88 * high), (neck, high), (neck, height)]
    section = _facets(rng, 0.25, until=0.88 * high)
    floor = n["wall"] + float(rng.uniform(0.001, 0.006))
    return _vessel("jar", [*_base(r, 0.006), *map(tuple, smooth(points, 6))], floor, n, section=section)


def bowl(rng: Rng) -> Vessel:
    """A bowl on a foot, shallow to deep."""
    n = drawn(rng, radius=(0.04, 0.1), deep=(0.38, 0.95), foot=(0.35, 0.6), wall=(0.0018, 0.005), full=(0.85, 1.05))
    r, height, foot = n["radius"], n["radius"] * n.pop("deep"), n["radius"] * n["foot"]
    n |= {"height": height, "foot": foot}
    step = float(rng.uniform(0.002, 0.006))
    side = [
        (foot, step),
        (0.5 * (foot + r) * n["full"], 0.22 * height),
        (0.9 * r * n["full"], 0.62 * height),
        (r, height),
    ]
    section = _facets(rng, 0.15, few=6)
    outer = [(foot - 0.002, 0.0), (foot, 0.001), *map(tuple, smooth(side, 7))]
    return _vessel("bowl", outer, step + n["wall"], n, section=section, fillet=0.012)


def vase(rng: Rng) -> Vessel:
    """A free curve through five radii, round or faceted."""
    n = drawn(rng, height=(0.08, 0.28), wall=(0.002, 0.005))
    height = n["height"]
    scale = float(np.clip(0.2 * height, 0.022, 0.045))
    radii = scale * rng.uniform([0.7, 0.8, 0.8, 0.4, 0.5], [1.1, 1.5, 1.4, 0.9, 1.2])
    levels = (0.02, 0.28, 0.52, 0.78, 1.0)
    side = smooth([(float(r), h * height) for r, h in zip(radii, levels, strict=True)], 7)
    n |= {"belly": float(radii.max()), "mouth": float(radii[-1])}
    floor = n["wall"] + float(rng.uniform(0.002, 0.015))
    outer = [(float(side[0, 0]) - 0.003, 0.0), (float(side[0, 0]) - 0.0008, 0.0008), *map(tuple, side)]
    return _vessel("vase", outer, floor, n, section=_facets(rng, 0.3))


def mug(rng: Rng) -> Vessel:
    """A mug or cup with a handle."""
    n = drawn(rng, radius=(0.025, 0.052), tall=(1.5, 2.7), flare=(0.9, 1.2), wall=(0.002, 0.0045))
    r, height = n["radius"], n["radius"] * n.pop("tall")
    n["height"] = height
    mouth = r * n["flare"]
    belly = 0.5 * (r + mouth) * (float(rng.uniform(0.97, 1.12)) if rng.random() < 0.4 else 1.0)
    side = smooth([(r, 0.006), (belly, 0.5 * height), (mouth, height)], 7)
    bow = drawn(rng, reach=(0.022, 0.036), width=(0.0045, 0.008), thick=(0.0035, 0.0055))
    handle = Handle(float(rng.uniform(0.74, 0.84)) * height, float(rng.uniform(0.2, 0.34)) * height, **bow)
    n |= {f"handle_{name}": value for name, value in bow.items()}
    floor = n["wall"] + float(rng.uniform(0.001, 0.006))
    return _vessel("mug", [*_base(r, 0.006), *map(tuple, side)], floor, n, handle=handle)


def pitcher(rng: Rng) -> Vessel:
    """A jug with a handle and a spout opposite to it."""
    n = drawn(
        rng, radius=(0.036, 0.062), tall=(2.4, 4.0), throat=(0.7, 1.05), wall=(0.002, 0.004), spout=(0.012, 0.026)
    )
    r = n["radius"]
    height = min(r * n.pop("tall"), 0.24)
    n["height"] = height
    throat = r * n["throat"]
    points = [(0.86 * r, 0.006), (r, 0.3 * height), (0.5 * (r + throat), 0.6 * height), (throat, 0.82 * height)]
    points.append((throat * float(rng.uniform(1.0, 1.12)), height))
    bow = drawn(rng, reach=(0.03, 0.05), width=(0.006, 0.0095), thick=(0.0045, 0.0065))
    handle = Handle(float(rng.uniform(0.76, 0.86)) * height, float(rng.uniform(0.25, 0.4)) * height, **bow)
    floor = n["wall"] + float(rng.uniform(0.002, 0.006))
    line = [*_base(0.86 * r, 0.006), *map(tuple, smooth(points, 7))]
    return _vessel("pitcher", line, floor, n, handle=handle, spout=n["spout"])


def test_tube(rng: Rng) -> Vessel:
    """A tube with a round bottom and a lip; it needs a stand or lies."""
    n = drawn(rng, radius=(0.006, 0.014), tall=(8.0, 13.0), wall=(0.0008, 0.0016))
    r = n["radius"]
    height = r * n.pop("tall")
    n["height"] = height
    angle = np.radians(np.linspace(8, 90, 9))
    ball = [(r * float(np.sin(a)), r * float(1 - np.cos(a))) for a in angle]
    line = [*ball, (r, 0.5 * height), (r, height - 0.004), (r + 0.001, height - 0.0015), (r + 0.0014, height)]
    return _vessel("test_tube", line, n["wall"], n, fillet=0.5 * r)


#: Hollow families by name.
VESSELS: dict[str, Callable[[Rng], Vessel]] = {
    "tumbler": tumbler,
    "stemware": stemware,
    "beaker": beaker,
    "flask": flask,
    "bottle": bottle,
    "jar": jar,
    "bowl": bowl,
    "vase": vase,
    "mug": mug,
    "pitcher": pitcher,
    "test_tube": test_tube,
}
