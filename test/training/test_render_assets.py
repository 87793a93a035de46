"""Every drawn object: closed, standing, of a believable size, and of what was allowed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from dkt_ros.training.render.assets_families import VESSELS
from dkt_ros.training.render.assets_mesh import Mesh, joined
from dkt_ros.training.render.assets_solids import SOLIDS
from dkt_ros.training.render.materials_library import GROUPS, OPAQUE, TRANSPARENT
from dkt_ros.training.render.objects import FAMILIES, ONLY, Asset, ObjectChoice, Part, checked, draw_object
from dkt_ros.training.sequences import CLEAR_PLASTIC, LIQUID, ORDINARY

EVERYTHING = ObjectChoice(dict.fromkeys(FAMILIES, 1.0), dict.fromkeys(GROUPS, 1.0), 0.6)
DRAWS = 16

#: Least and greatest height in metres that a family must come near to over many draws, and must not exceed.
HEIGHTS = {
    "tumbler": (0.05, 0.18),
    "stemware": (0.12, 0.25),
    "beaker": (0.035, 0.19),
    "flask": (0.045, 0.27),
    "bottle": (0.1, 0.345),
    "jar": (0.025, 0.21),
    "bowl": (0.014, 0.1),
    "vase": (0.075, 0.29),
    "mug": (0.035, 0.145),
    "pitcher": (0.08, 0.25),
    "test_tube": (0.01, 0.2),
    "plate": (0.003, 0.045),
    "box": (0.02, 0.12),
    "superquadric": (0.025, 0.11),
    "block": (0.01, 0.145),
    "can": (0.015, 0.225),
}


def cube(side: float = 0.05) -> Mesh:
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (0, 2)], float) * side / 2
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Mesh(corners, np.array(faces))


def draws(family: str, count: int = DRAWS) -> list[Asset]:
    """Half of them transparent where the family can be, from seeds of its own."""
    choice = replace(EVERYTHING, families={family: 1.0})
    assets = []
    for seed in range(count):
        transparent = bool(seed % 2)
        if choice.possible(family, transparent):
            assets.append(draw_object(np.random.default_rng([7, seed]), choice, transparent))
    return assets


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[Asset]]:
    return {family: draws(family) for family in FAMILIES}


def test_a_mesh_knows_its_volume_and_its_flaws() -> None:
    good = cube()
    assert good.flaw() == "" and good.volume == pytest.approx(0.05**3)
    assert "watertight" in Mesh(good.vertices, good.faces[:-1]).flaw()
    assert "inward" in Mesh(good.vertices, good.faces[:, ::-1]).flaw()
    one_turned = good.faces.copy()
    one_turned[0] = one_turned[0, ::-1]
    assert "watertight" in Mesh(good.vertices, one_turned).flaw()
    assert "size of 0.0e+00 m" in Mesh(good.vertices * [1, 1, 0], good.faces).flaw()
    assert "finite" in Mesh(np.where(good.vertices == 0, np.nan, good.vertices), good.faces).flaw()
    assert "no face uses" in Mesh(np.concatenate([good.vertices, [[0, 0, 0.01]]]), good.faces).flaw()
    assert "do not exist" in Mesh(good.vertices[:-1], good.faces).flaw()
    two = joined(good, good.moved((0.2, 0.0, 0.0)))
    assert two.flaw() == "" and two.volume == pytest.approx(2 * good.volume)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_part_is_closed_and_the_object_stands_on_the_ground(family: str, drawn: dict[str, list[Asset]]) -> None:
    assert len(drawn[family]) >= DRAWS // 2
    for asset in drawn[family]:
        for part in asset.parts:
            assert part.mesh.flaw() == "", f"{part.role} of {asset.parameters}"
        lowest = min(float(part.mesh.vertices[:, 2].min()) for part in asset.parts)
        assert -1e-6 < lowest < 1e-3, asset.parameters
        assert 0.005 < asset.radius < 0.13


@pytest.mark.parametrize("family", FAMILIES)
def test_sizes_are_believable_and_spread(family: str, drawn: dict[str, list[Asset]]) -> None:
    heights = [asset.height for asset in drawn[family]]
    low, high = HEIGHTS[family]
    assert low <= min(heights) and max(heights) <= high
    assert max(heights) - min(heights) > 0.35 * (high - low)
    assert np.std([asset.radius for asset in drawn[family]]) > 0.08 * np.mean([asset.radius for asset in drawn[family]])


def test_a_shape_looks_like_nothing_drawn_before(drawn: dict[str, list[Asset]]) -> None:
    for family, assets in drawn.items():
        shapes = {(round(a.height, 6), round(a.radius, 6)) for a in assets}
        assert len(shapes) == len(assets), family


def test_all_kinds_within_the_families_are_drawn() -> None:
    kinds = {str(VESSELS["stemware"](np.random.default_rng(s)).parameters["kind"]) for s in range(60)}
    assert kinds == {"wine", "flute", "coupe", "martini", "goblet"}
    kinds = {str(SOLIDS["block"](np.random.default_rng(s)).parameters["kind"]) for s in range(60)}
    assert kinds == {"cuboid", "prism", "cylinder", "frustum", "cone"}
    roles = Counter(p.role for f in ("jar", "bottle", "box", "test_tube") for a in draws(f, 30) for p in a.parts)
    assert set(roles) == {"body", "lid", "liquid", "label", "stand"} and min(roles.values()) >= 4


def test_the_same_seed_draws_the_same_object_and_another_seed_does_not() -> None:
    one, same, other = (draw_object(np.random.default_rng(s), EVERYTHING, True) for s in (5, 5, 6))
    assert (one.family, one.parameters) == (same.family, same.parameters)
    for a, b in zip(one.parts, same.parts, strict=True):
        assert a.mesh.vertices.tobytes() == b.mesh.vertices.tobytes() and a.material == b.material
    assert (one.family, one.parameters) != (other.family, other.parameters)


def test_only_what_has_a_weight_is_drawn_and_the_body_is_as_transparent_as_asked() -> None:
    choice = ObjectChoice(
        {"tumbler": 1.0, "bowl": 3.0, "mug": 0.0}, {"clear_glass": 1.0, "ceramic": 1.0, "ribbed_glass": 0.0}, 0.0
    )
    families: Counter[str] = Counter()
    for seed in range(60):
        transparent = bool(seed % 2)
        asset = draw_object(np.random.default_rng(seed), choice, transparent)
        families[asset.family] += 1
        assert {part.role for part in asset.parts} == {"body"}
        assert asset.parts[0].material.group == ("clear_glass" if transparent else "ceramic")
        assert (asset.kind >= CLEAR_PLASTIC) == transparent and not asset.upright
    assert set(families) == {"tumbler", "bowl"} and 33 < families["bowl"] < 57


def test_lids_labels_and_stands_are_of_allowed_groups_too() -> None:
    choice = ObjectChoice({"jar": 1.0, "box": 1.0, "bottle": 1.0, "test_tube": 1.0}, {"clear_glass": 1.0}, 0.0)
    groups = {p.material.group for s in range(24) for p in draw_object(np.random.default_rng(s), choice, True).parts}
    assert groups == {"clear_glass"}


def test_families_are_made_of_what_they_are_made_of_in_life() -> None:
    assert set(ONLY) <= set(FAMILIES) and all(set(groups) <= set(GROUPS) for groups in ONLY.values())
    for family in FAMILIES:
        assert EVERYTHING.possible(family, True) or EVERYTHING.possible(family, False)
    assert not EVERYTHING.possible("flask", False) and not EVERYTHING.possible("can", True)
    assert "ribbed_glass" not in EVERYTHING.possible("superquadric", True)
    assert set(TRANSPARENT) | set(OPAQUE) == set(GROUPS)


@pytest.mark.parametrize(
    ("families", "materials", "liquid_share", "word"),
    [
        ({"teapot": 1.0}, {"ceramic": 1.0}, 0.0, "no family 'teapot'; known: tumbler"),
        ({"mug": 1.0}, {"wax": 1.0}, 0.0, "no material 'wax'; known: clear_glass"),
        ({"mug": -1.0}, {"ceramic": 1.0}, 0.0, "weight -1.0 of family 'mug'"),
        ({"mug": 1.0}, {"ceramic": float("nan")}, 0.0, "weight nan"),
        ({"mug": 1.0}, {"ceramic": 1.0}, 1.5, "liquid is 1.5"),
    ],
)
def test_a_wrong_choice_is_refused(
    families: dict[str, float], materials: dict[str, float], liquid_share: float, word: str
) -> None:
    with pytest.raises(ValueError, match=word):
        ObjectChoice(families, materials, liquid_share)


def test_a_choice_that_leaves_nothing_is_refused_with_the_remedy() -> None:
    choice = ObjectChoice({"flask": 1.0}, {"clear_glass": 1.0, "ceramic": 1.0}, 0.0)
    with pytest.raises(ValueError, match=r"no opaque object possible.*give a weight above 0"):
        draw_object(np.random.default_rng(0), choice, False)


def test_a_flawed_asset_is_refused_by_name() -> None:
    part = draw_object(np.random.default_rng(1), EVERYTHING, True).parts[0]
    torn = Part(Mesh(part.mesh.vertices, part.mesh.faces[1:]), "body", part.material)
    with pytest.raises(ValueError, match=r"tumbler: its body has edges .*not watertight"):
        checked(Asset("tumbler", (torn,), {}))
    point = Part(Mesh(0 * part.mesh.vertices, part.mesh.faces), "lid", part.material)
    with pytest.raises(ValueError, match="its lid has a size of"):
        checked(Asset("jar", (point,), {}))


def test_caps_corks_and_box_lids_touch_nothing(drawn: dict[str, list[Asset]]) -> None:
    """A lid that cuts into its vessel would refract wrongly; the gap is below a millimetre."""
    for family in ("bottle", "jar", "box"):
        for asset in drawn[family]:
            for lid in (part.mesh for part in asset.parts if part.role == "lid"):
                gap = nearest(asset.parts[0].mesh, lid, turned=family != "box")
                assert 1e-5 < gap < 0.0016, (asset.family, asset.parameters, gap)


def nearest(a: Mesh, b: Mesh, turned: bool) -> float:
    """Metres between the vertices of two meshes; of solids of revolution between their outlines."""
    clouds = []
    for mesh in (a, b):
        near = mesh.vertices[mesh.vertices[:, 2] > b.vertices[:, 2].min() - 0.002]
        if turned:
            near = np.stack([np.hypot(near[:, 0], near[:, 1]), near[:, 2]], -1)
        clouds.append(np.unique(near.round(5), axis=0))
    return float(min(np.linalg.norm(clouds[1] - p, axis=1).min() for p in clouds[0]))


def test_liquid_is_marked_and_keeps_the_object_upright() -> None:
    choice = ObjectChoice({"tumbler": 1.0}, {"clear_glass": 1.0}, 1.0)
    kinds = Counter()
    for seed in range(30):
        asset = draw_object(np.random.default_rng(seed), choice, True)
        assert [part.role for part in asset.parts] == ["body", "liquid"] and asset.upright
        kinds[asset.parts[1].material.kind] += 1
    assert set(kinds) == {LIQUID, ORDINARY} and kinds[LIQUID] > kinds[ORDINARY]
