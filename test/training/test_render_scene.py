"""What scenes are made of: recipes and their mistakes, exclusions, settings and their clearances. No Blender."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from dkt_ros.training.render.clutter import draw_clutter
from dkt_ros.training.render.draws import draw_assets, draw_name
from dkt_ros.training.render.geometry import Mesh, block, cylinder, frame_around, in_rounded_rectangle, tub, tube
from dkt_ros.training.render.materials_library import GROUPS
from dkt_ros.training.render.objects import FAMILIES
from dkt_ros.training.render.recipe import (
    CAMERAS,
    LIGHTS,
    RECIPES,
    SETTINGS,
    load_scene_recipe,
    recipe_from_content,
)
from dkt_ros.training.render.settings import draw_setting
from dkt_ros.training.sequences import CLEAR_PLASTIC

FULL, UNSEEN = load_scene_recipe("full"), load_scene_recipe("unseen")


def changed(**values: Any) -> dict[str, Any]:
    """The content of ``full`` with values changed, by keys like ``objects__count``; None takes the key away."""
    content = yaml.safe_load((RECIPES / "full.yaml").read_text())
    for name, value in values.items():
        *outer, key = name.split("__")
        place = content
        for part in outer:
            place = place[part]
        if value is None:
            del place[key]
        else:
            place[key] = value
    return content


def test_full_leaves_out_what_unseen_is_about() -> None:
    assert set(FAMILIES) - set(FULL.objects.families) == {"mug"}
    assert set(GROUPS) - set(FULL.objects.materials) == {"ribbed_glass"}
    assert set(LIGHTS) - set(FULL.light) == {"sky"} and set(UNSEEN.light) == {"sky"}
    assert set(FULL.settings) == set(SETTINGS) and set(FULL.camera) == set(CAMERAS)
    assert UNSEEN.objects.required_families == ("mug",) and UNSEEN.objects.required_materials == ("ribbed_glass",)
    assert FULL.objects.count == (2, 12)


def test_many_draws_keep_to_the_recipe() -> None:
    rng = np.random.default_rng(0)
    scenes = [draw_assets(rng, FULL.objects, 0.4) for _ in range(40)]
    counts = {len(scene) for scene in scenes}
    assert min(counts) == 2 and max(counts) == 12
    everything = [asset for scene in scenes for asset in scene]
    assert {asset.family for asset in everything} == set(FULL.objects.families)
    assert {part.material.group for asset in everything for part in asset.parts if part.role == "body"} == set(
        FULL.objects.materials
    )
    for scene in scenes:
        assert sum(asset.kind >= CLEAR_PLASTIC for asset in scene) >= len(scene) / 2
    assert sum(draw_name(rng, FULL.light) == "sky" for _ in range(500)) == 0


def test_every_unseen_scene_has_a_mug_and_ribbed_glass() -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        scene = draw_assets(rng, UNSEEN.objects, 0.4)
        assert any(asset.family == "mug" for asset in scene)
        assert any(asset.parts[0].material.group == "ribbed_glass" for asset in scene)


def test_what_is_required_may_be_opaque() -> None:
    required = {"required_families": ["can", "flask"], "required_materials": ["ceramic"], "count": [3, 3]}
    recipe = recipe_from_content(changed(**{f"objects__{key}": value for key, value in required.items()}))
    rng = np.random.default_rng(3)
    for _ in range(3):
        can, flask, ceramic = draw_assets(rng, recipe.objects, 0.4)
        assert (can.family, flask.family, ceramic.parts[0].material.group) == ("can", "flask", "ceramic")


def test_what_does_not_fit_under_the_shelf_is_not_drawn() -> None:
    rng = np.random.default_rng(2)
    heights = [asset.height for _ in range(5) for asset in draw_assets(rng, FULL.objects, 0.15)]
    assert max(heights) <= 0.15 and len(heights) > 20


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"colour": 1}, "unknown key colour"),
        ({"objects__count": None}, "objects lacks count"),
        ({"light": None}, "the recipe lacks light"),
        ({"light": {"moon": 1}}, "light names moon"),
        ({"settings": {"table": 0}}, "settings leaves nothing to draw"),
        ({"settings": ["table"]}, "must map names to weights"),
        ({"camera": {"circle": -1}}, "camera.circle is -1"),
        ({"camera": {"circle": "often"}}, "'often', not a number"),
        ({"objects__families": {"teapot": 1}}, "objects.families names teapot"),
        ({"objects__materials": {"wood": 1}}, "known: clear_glass"),
        ({"objects__count": [5, 2]}, "the first is greater"),
        ({"objects__count": [2, 2.5]}, "must be a whole number"),
        ({"objects__count": 4}, "must be [least, greatest]"),
        ({"objects__liquid": 1.5}, "objects.liquid is 1.5, must be 0 to 1"),
        ({"objects__required_families": ["mug"]}, "names mug, which has no weight"),
        ({"size": "160"}, "must be WIDTHxHEIGHT"),
        ({"size": "160x8"}, "must be 16 to 4096"),
        ({"frames": 0}, "frames is 0"),
        ({"frames": True}, "not a number"),
        ({"rate": float("nan")}, "not a number"),
        ({"objects": 3}, "objects is 3, not a mapping"),
    ],
)
def test_a_wrong_recipe_is_refused_by_name(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(changed(**wrong)))
    with pytest.raises(ValueError) as refused:
        load_scene_recipe(path)
    assert said in str(refused.value) and "mine.yaml" in str(refused.value)


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="bundled: full, unseen"):
        load_scene_recipe("fool")
    (tmp_path / "torn.yaml").write_text("light: {area: 1")
    with pytest.raises(ValueError, match="is not YAML"):
        load_scene_recipe(tmp_path / "torn.yaml")


def test_the_digest_names_the_content_and_survives_a_round_trip() -> None:
    again = recipe_from_content(FULL.content())
    assert again == FULL and again.digest == FULL.digest
    assert replace(FULL, name="other").digest == FULL.digest
    assert replace(FULL, samples=16).digest != FULL.digest != UNSEEN.digest


def edges(mesh: Mesh) -> dict[tuple[int, int], int]:
    count: dict[tuple[int, int], int] = {}
    for face in mesh.faces:
        for a, b in zip(face, face[1:] + face[:1], strict=True):
            count[a, b] = count.get((a, b), 0) + 1
    return count


def volume(mesh: Mesh) -> float:
    total = 0.0
    for face in mesh.faces:
        for i in range(1, len(face) - 1):
            a, b, c = mesh.vertices[[face[0], face[i], face[i + 1]]]
            total += float(np.dot(a, np.cross(b, c))) / 6
    return total


LINE = np.column_stack([np.linspace(0, 0.1, 8), 0.02 * np.sin(np.linspace(0, 3, 8)), np.zeros(8)])


@pytest.mark.parametrize(
    ("mesh", "size"),
    [
        (block((-1, -2, 0), (1, 2, 3), "x"), 24.0),
        (cylinder(0.1, 0.2, "x"), np.pi * 0.1**2 * 0.2),
        (tube(LINE, 0.004, "x"), None),
        (tub((0.2, 0.1), 0.02, [(0.005, 0), (0.005, 0.1), (0, 0.1), (0, 0.005), (-0.002, 0.004)], "x"), None),
    ],
    ids=["block", "cylinder", "tube", "tub"],
)
def test_meshes_are_closed_and_face_outward(mesh: Mesh, size: float | None) -> None:
    found = edges(mesh)
    assert all(n == 1 and (b, a) in found for (a, b), n in found.items())
    assert volume(mesh) > 0
    if size is not None:
        assert abs(volume(mesh) / size - 1) < 0.02


def test_a_frame_covers_its_rectangle_but_for_the_hole() -> None:
    mesh = frame_around((0.2, 0.15), 0.05, (0.6, 0.35), 0.1, "x")
    area = 0.0
    for face in mesh.faces:
        x, y = mesh.vertices[list(face), 0], mesh.vertices[list(face), 1]
        signed = 0.5 * float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
        assert signed > -1e-12, "faces up"
        area += signed
    hole = 4 * 0.2 * 0.15 - (4 - np.pi) * 0.05**2
    assert abs(area - (4 * 0.6 * 0.35 - hole)) < 0.001


@pytest.mark.parametrize("kind", SETTINGS)
def test_settings_leave_room_and_can_be_seen_into(kind: str) -> None:
    for seed in range(25):
        setting = draw_setting(np.random.default_rng(seed), kind)
        assert setting.kind == kind and setting.headroom > 0.2
        assert (setting.free > 0.1).all() and setting.elevation[0] < setting.elevation[1] - 3
        assert any(mesh.solid for mesh in setting.meshes)
        for mesh in setting.meshes:
            assert np.isfinite(mesh.vertices).all()
        # Nothing but a tap reaches over the floor that objects may cover, and the floor is there.
        for mesh in setting.meshes:
            above = mesh.vertices[(mesh.vertices[:, 2] > setting.floor + 0.001) & (mesh.vertices[:, 2] < 0.2)]
            inside = [in_rounded_rectangle(p[:2], setting.free - 0.006, setting.corner) for p in above]
            assert kind == "sink" or not any(inside)
        reach = np.stack([np.abs(mesh.vertices[:, :2]).max(0) for mesh in setting.meshes if mesh.solid]).max(0)
        assert (setting.free <= reach).all()


def test_points_in_a_rounded_rectangle() -> None:
    points = [(0.0, 0.0), (0.99, 0.0), (0.0, -0.49), (0.99, 0.49), (-0.9, 0.4), (1.01, 0.0)]
    assert [in_rounded_rectangle(p, (1.0, 0.5), 0.2) for p in points] == [True, True, True, False, True, False]
    assert in_rounded_rectangle((0.99, 0.49), (1.0, 0.5), 0.0)


@pytest.mark.parametrize("kind", ["bin", "sink"])
def test_from_its_least_elevation_the_middle_of_a_deep_floor_is_seen_over_the_wall(kind: str) -> None:
    for seed in range(30):
        setting = draw_setting(np.random.default_rng(seed), kind)
        deep = setting.parameters["height" if kind == "bin" else "depth"]
        over = setting.parameters["half_y"] * np.tan(np.radians(setting.elevation[0]))
        assert over > deep


def test_clutter_keeps_clear_of_the_objects_and_on_the_table() -> None:
    rng = np.random.default_rng(4)
    outer = np.array([0.6, 0.5])
    things = [thing for _ in range(20) for thing in draw_clutter(rng, 8, 0.2, outer, 0.01, 0.1)]
    assert len(things) > 40
    for thing in things:
        assert np.hypot(thing.vertices[:, 0], thing.vertices[:, 1]).min() > 0.2
        assert thing.vertices[:, 2].min() > 0.0099 and np.ptp(thing.vertices[:, 2]) <= 0.1
        assert (np.abs(thing.vertices[:, :2].mean(0)) < outer).all()
