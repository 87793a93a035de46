"""One random object: its family, its parts as closed meshes, and what each part is made of. No bpy here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dkt_ros.training.render import assets_solids as solids
from dkt_ros.training.render.assets_body import body
from dkt_ros.training.render.assets_families import VESSELS
from dkt_ros.training.render.assets_filling import label, liquid
from dkt_ros.training.render.assets_mesh import Mesh
from dkt_ros.training.render.assets_solids import SOLIDS, Solid
from dkt_ros.training.render.assets_vessel import Relief, Vessel
from dkt_ros.training.render.materials_library import (
    GROUPS,
    TRANSPARENT,
    MaterialSpec,
    draw_liquid,
    draw_material,
    named,
)
from dkt_ros.training.render.meshes import FAMILY, MeshFolder

Rng = np.random.Generator

FAMILIES = (*VESSELS, *SOLIDS)

#: Families that exist in these materials only; those not named here may be of anything except ribbed glass, whose ribs
#: only vessels can have.
_GLASSY = ("clear_glass", "tinted_glass", "frosted_glass", "ribbed_glass", "clear_plastic")
ONLY: dict[str, tuple[str, ...]] = {
    "stemware": (*_GLASSY, "polished_metal", "coloured_metal"),
    "beaker": ("clear_glass", "tinted_glass", "clear_plastic", "cloudy_plastic"),
    "flask": ("clear_glass", "tinted_glass", "frosted_glass", "clear_plastic"),
    "test_tube": ("clear_glass", "tinted_glass", "clear_plastic", "cloudy_plastic"),
    "can": ("polished_metal", "brushed_metal", "coloured_metal", "ordinary"),
}


@dataclass(frozen=True)
class ObjectChoice:
    """What may be drawn.

    Attributes:
        families: name -> weight; 0 or absent: never.
        materials: group -> weight; likewise.
        liquid: probability that a transparent vessel which can hold liquid does.
        meshes: of the user; their weight is against those of the families.
    """

    families: Mapping[str, float]
    materials: Mapping[str, float]
    liquid: float
    meshes: MeshFolder | None = None

    def __post_init__(self) -> None:
        for what, weights, known in (("family", self.families, FAMILIES), ("material", self.materials, GROUPS)):
            for name, weight in weights.items():
                if name not in known:
                    raise ValueError(f"no {what} {name!r}; known: {', '.join(known)}")
                if not 0 <= weight < np.inf:
                    raise ValueError(f"weight {weight} of {what} {name!r}: must be 0 or more")
        if not 0 <= self.liquid <= 1:
            raise ValueError(f"probability of liquid is {self.liquid}, must be between 0 and 1")

    def possible(self, family: str, transparent: bool) -> dict[str, float]:
        """Groups with a weight that ``family`` may be made of."""
        fits = ONLY.get(family, GROUPS if family in VESSELS else tuple(g for g in GROUPS if g != "ribbed_glass"))
        return {g: w for g, w in self.materials.items() if w > 0 and g in fits and (g in TRANSPARENT) == transparent}


@dataclass(frozen=True)
class Part:
    """A closed mesh of one material; ``role`` is "body", "lid", "liquid", "label" or "stand"."""

    mesh: Mesh
    role: str
    material: MaterialSpec


@dataclass(frozen=True)
class Asset:
    """A drawn object, standing on z = 0 around the z axis, in metres; the first part is its body."""

    family: str
    parts: tuple[Part, ...]
    parameters: dict[str, float | str]

    @property
    def radius(self) -> float:
        """Of the smallest upright cylinder around the z axis that holds it."""
        return max(float(np.hypot(p.mesh.vertices[:, 0], p.mesh.vertices[:, 1]).max()) for p in self.parts)

    @property
    def height(self) -> float:
        return max(float(p.mesh.vertices[:, 2].max()) for p in self.parts)

    @property
    def kind(self) -> int:
        """Material code of the body."""
        return self.parts[0].material.kind

    @property
    def upright(self) -> bool:
        """Whether it must stay as it stands: it holds liquid or stands in a stand."""
        return any(part.role in ("liquid", "stand") for part in self.parts)


def draw_object(rng: Rng, choice: ObjectChoice, transparent: bool) -> Asset:
    """Draw an object whose body is transparent (glass, clear or cloudy plastic) or is not.

    Raises:
        ValueError: nothing in ``choice`` can be such an object, or the drawn meshes are flawed (which names them).
    """
    weights = {f: w for f, w in choice.families.items() if w > 0 and choice.possible(f, transparent)}
    if choice.meshes and choice.meshes.possible(choice.materials, transparent):
        weights[FAMILY] = choice.meshes.weight
    if not weights:
        what = "transparent" if transparent else "opaque"
        raise ValueError(
            f"no {what} object possible: families {sorted(choice.families)} in materials {sorted(choice.materials)}; "
            f"give a weight above 0 to a family and to a {what} material group that it can be made of"
        )
    family = _pick(rng, weights)
    if choice.meshes and family == FAMILY:
        return checked(_of_the_user(rng, choice.meshes, choice.materials, transparent))
    material = draw_material(rng, _pick(rng, choice.possible(family, transparent)))
    drawn = VESSELS[family](rng) if family in VESSELS else SOLIDS[family](rng)
    parts = _vessel(rng, drawn, material, choice) if isinstance(drawn, Vessel) else _solid(rng, drawn, material, choice)
    return checked(Asset(family, tuple(parts), drawn.parameters))


def checked(asset: Asset) -> Asset:
    """The asset itself.

    Raises:
        ValueError: a part is not a closed solid of a finite size.
    """
    for part in asset.parts:
        if flaw := part.mesh.flaw():
            raise ValueError(f"{asset.family}: its {part.role} has {flaw}; drawn: {asset.parameters}")
    return asset


def _pick(rng: Rng, weights: Mapping[str, float]) -> str:
    share = np.array(list(weights.values()), float)
    return str(rng.choice(list(weights), p=share / share.sum()))


def _of_the_user(rng: Rng, meshes: MeshFolder, materials: Mapping[str, float], transparent: bool) -> Asset:
    name = _pick(rng, meshes.possible(materials, transparent))
    material = draw_material(rng, _pick(rng, meshes.groups(name, materials, transparent)))
    mesh, parameters = meshes.draw(rng, name)
    return Asset(FAMILY, (Part(mesh, "body", material),), parameters)


def _solid(rng: Rng, drawn: Solid, material: MaterialSpec, choice: ObjectChoice) -> list[Part]:
    parts = [Part(drawn.body, "body", material)]
    if drawn.lid is not None:
        other = _lid_material(rng, choice) if rng.random() < 0.5 else None
        parts.append(Part(drawn.lid, "lid", other or material))
    return parts


def _vessel(rng: Rng, vessel: Vessel, material: MaterialSpec, choice: ObjectChoice) -> list[Part]:
    parts = [Part(body(vessel, _relief(rng, material)), "body", material)]
    clear = material.group in TRANSPARENT
    if vessel.family == "test_tube":
        return _in_a_stand(rng, vessel, parts, choice)
    if (clear or vessel.family in ("mug", "bowl")) and rng.random() < choice.liquid:
        parts.append(Part(liquid(vessel, _level(rng, vessel)), "liquid", draw_liquid(rng)))
    if vessel.family in ("bottle", "jar") and rng.random() < 0.5:
        parts += _lid(rng, vessel, material, choice)
    paper = choice.materials.get("ordinary", 0) > 0 and "relief" not in material.parameters
    if vessel.family in ("bottle", "jar") and paper and rng.random() < 0.25:
        low, high = np.sort(rng.uniform([0.12, 0.3], [0.25, 0.5])) * vessel.height
        parts.append(Part(label(vessel, low, high, float(rng.uniform(0.25, 1.0))), "label", named(rng, "paper")))
    return parts


def _level(rng: Rng, vessel: Vessel) -> float:
    """How full: below a spout, whose wall the liquid would not follow, and below a lid's plug or a cork."""
    highest = {"bottle": 0.8, "jar": 0.75}.get(vessel.family, 0.68 if vessel.spout else 0.88)
    return float(rng.uniform(0.15, highest))


def _relief(rng: Rng, material: MaterialSpec) -> Relief | None:
    if "relief" not in material.parameters:
        return None
    pattern, count = str(material.parameters["relief"]), int(material.number("ribs"))
    return Relief(pattern, count, material.number("rib_depth"), int(rng.integers(2**31)))


def _lid_material(rng: Rng, choice: ObjectChoice) -> MaterialSpec | None:
    lids = ("ordinary", "polished_metal", "brushed_metal", "coloured_metal")
    weights = {g: w for g, w in choice.materials.items() if w > 0 and g in lids}
    return draw_material(rng, _pick(rng, weights)) if weights else None


def _lid(rng: Rng, vessel: Vessel, material: MaterialSpec, choice: ObjectChoice) -> list[Part]:
    kind = rng.choice(["cap", "knob", "cork"] if vessel.family == "jar" else ["cap", "cap", "cork"])
    if kind == "knob":
        return [Part(solids.knob_lid(rng, vessel), "lid", material)]
    if kind == "cork" and choice.materials.get("ordinary", 0) > 0:
        return [Part(solids.cork(rng, vessel), "lid", named(rng, "cork"))]
    made_of = _lid_material(rng, choice)
    return [Part(solids.screw_cap(rng, vessel), "lid", made_of)] if made_of else []


def _in_a_stand(rng: Rng, vessel: Vessel, parts: list[Part], choice: ObjectChoice) -> list[Part]:
    """A test tube in a stand, filled or not, or lying."""
    tube = parts[0]
    if choice.materials.get("ordinary", 0) <= 0 or rng.random() < 0.35:
        return [Part(_lying(tube.mesh), "body", tube.material)]
    if rng.random() < choice.liquid:
        parts.append(Part(liquid(vessel, _level(rng, vessel)), "liquid", draw_liquid(rng)))
    lifted = [Part(part.mesh.moved((0.0, 0.0, 0.004)), part.role, part.material) for part in parts]
    return [*lifted, Part(solids.stand(vessel), "stand", draw_material(rng, "ordinary"))]


def _lying(mesh: Mesh) -> Mesh:
    """Turned about the y axis to lie on z = 0, its middle at the origin."""
    x, y, z = mesh.vertices.T
    vertices = np.stack([z - 0.5 * z.max(), y, -x - (-x).min()], -1)
    return Mesh(vertices, mesh.faces)
