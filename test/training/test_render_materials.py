"""The material library within physical bounds, and what Blender makes of it."""

from __future__ import annotations

import json
import os
import subprocess
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.training.render.materials_library import (
    GROUPS,
    LIBRARY,
    LIQUIDS,
    OPAQUE,
    TRANSPARENT,
    MaterialSpec,
    Substance,
    draw_liquid,
    draw_material,
    named,
    specify,
)
from dkt_ros.training.sequences import CERAMIC, CLEAR_PLASTIC, GLASS, LIQUID, METAL, ORDINARY

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("DKT_RENDER_PYTHON", ROOT / ".venv-render/bin/python"))
needs_blender = pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}: run `make render-env`")

KINDS = {
    "clear_glass": {GLASS},
    "tinted_glass": {GLASS},
    "frosted_glass": {GLASS},
    "ribbed_glass": {GLASS},
    "clear_plastic": {CLEAR_PLASTIC},
    "cloudy_plastic": {CLEAR_PLASTIC},
    "polished_metal": {METAL},
    "brushed_metal": {METAL},
    "coloured_metal": {METAL},
    "ceramic": {CERAMIC},
    "ordinary": {ORDINARY},
    "liquid": {LIQUID, ORDINARY},
}


def specs(substance: Substance, count: int = 20) -> list[MaterialSpec]:
    return [specify(np.random.default_rng([4, seed]), substance) for seed in range(count)]


def test_the_library_has_every_group_and_at_least_thirty_materials_of_different_names() -> None:
    names = [substance.name for substance in (*LIBRARY, *LIQUIDS)]
    assert len(LIBRARY) >= 30 and len(set(names)) == len(names)
    groups = Counter(substance.group for substance in LIBRARY)
    assert set(groups) == set(GROUPS) == set(KINDS) - {"liquid"} and min(groups.values()) >= 3
    assert all(substance.kind in KINDS[substance.group] for substance in (*LIBRARY, *LIQUIDS))
    assert {substance.group for substance in LIQUIDS} == {"liquid"}


@pytest.mark.parametrize("substance", (*LIBRARY, *LIQUIDS), ids=lambda substance: substance.name)
def test_parameters_stay_within_physical_bounds(substance: Substance) -> None:
    for spec in specs(substance):
        assert 1.3 <= spec.number("ior") <= 2
        for name in ("roughness", "transmission", "anisotropy", "coat", "sheen"):
            assert 0 <= spec.number(name) <= 1, name
        assert all(0 < channel <= 1 for channel in spec.colour("colour"))
        assert all(0 <= channel < 1500 for channel in spec.colour("absorption"))
        assert (spec.number("transmission") > 0.5) == (spec.kind in (GLASS, CLEAR_PLASTIC, LIQUID))
        if "relief" in spec.parameters:
            assert spec.group == "ribbed_glass" and 0 < spec.number("rib_depth") <= 0.003
        assert json.loads(json.dumps(spec.parameters)).keys() == spec.parameters.keys()


def test_groups_are_what_their_names_say() -> None:
    drawn = {group: [s for e in LIBRARY if e.group == group for s in specs(e)] for group in GROUPS}

    def light_left(spec: MaterialSpec, metres: float) -> np.ndarray:
        return np.exp(-metres * np.array(spec.colour("absorption")))

    for spec in drawn["clear_glass"]:
        assert spec.number("roughness") == 0 and light_left(spec, 0.01).min() > 0.7
    for spec in drawn["tinted_glass"]:
        assert light_left(spec, 0.01).min() < 0.75 and np.ptp(spec.colour("absorption")) > 1
    assert min(s.number("roughness") for s in drawn["frosted_glass"]) >= 0.15
    assert all("relief" in s.parameters for s in drawn["ribbed_glass"])
    assert max(s.number("roughness") for s in drawn["clear_plastic"]) <= 0.1
    assert max(s.number("transmission") for s in drawn["cloudy_plastic"]) < 0.98
    assert max(s.number("roughness") for s in drawn["polished_metal"]) < 0.2
    assert min(s.number("roughness") for s in drawn["brushed_metal"]) >= 0.2
    assert all(s.number("coat") >= 0.5 for s in drawn["ceramic"] if s.name != "unglazed clay")


def test_draws_vary_and_repeat_with_the_seed() -> None:
    for substance in LIBRARY:
        assert len({str(spec.parameters) for spec in specs(substance)}) > 12, substance.name
        assert specs(substance, 3) == specs(substance, 3)


@pytest.mark.parametrize("group", GROUPS)
def test_all_materials_of_a_group_are_drawn(group: str) -> None:
    rng = np.random.default_rng(5)
    found = {draw_material(rng, group).name for _ in range(150)}
    assert found == {substance.name for substance in LIBRARY if substance.group == group}


def test_liquids_are_mostly_clear_and_often_water() -> None:
    rng = np.random.default_rng(6)
    names = Counter(draw_liquid(rng).name for _ in range(400))
    assert set(names) == {liquid.name for liquid in LIQUIDS} and 120 < names["water"] < 200


def test_unknown_names_are_refused_with_the_known_ones() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"no material group 'wax'; known: clear_glass"):
        draw_material(rng, "wax")
    with pytest.raises(ValueError, match=r"no material 'unobtainium'; known: soda-lime glass.*water"):
        named(rng, "unobtainium")
    assert named(rng, "milk").kind == ORDINARY and set(TRANSPARENT).isdisjoint(OPAQUE)


BODIES = """
import json
import bpy, numpy as np
from dkt_ros.training.render.assets_families import VESSELS
from dkt_ros.training.render.assets_body import body
from dkt_ros.training.render.assets_filling import liquid
from dkt_ros.training.render.bodies import make_body
from dkt_ros.training.render.materials_library import LIBRARY, LIQUIDS, named, specify
from dkt_ros.training.render.materials import shaded
from dkt_ros.training.render.objects import FAMILIES, Asset, Part, draw_object, ObjectChoice

bpy.ops.wm.read_factory_settings(use_empty=True)
rng = np.random.default_rng(1)
vessel = VESSELS["mug"](rng)
meshes = [body(vessel), liquid(vessel, 0.6)]
parts = (Part(meshes[0], "body", named(rng, "amber glass")), Part(meshes[1], "liquid", named(rng, "tea")))
mug = make_body(Asset("mug", parts, {}), 7)
materials = [slot.material for slot in mug.material_slots]
inside = [m.node_tree.nodes["Material Output"].inputs["Volume"].links for m in materials]
polygons = mug.data.polygons
slots = np.empty(len(polygons), np.int32)
polygons.foreach_get("material_index", slots)
same = sum(tuple(polygons[i].vertices) == tuple(face[face >= 0]) for i, face in enumerate(meshes[0].faces))
invalid = mug.data.validate(verbose=False)
every = [shaded(specify(rng, substance)) for substance in (*LIBRARY, *LIQUIDS)]
loose = [m.name for m in every if not m.node_tree.nodes["Material Output"].inputs["Surface"].is_linked]
kinds = [m.pass_index for m in every] == [s.kind for s in (*LIBRARY, *LIQUIDS)]
answer = {
    "number": mug.pass_index, "codes": [m.pass_index for m in materials], "names": [m.name for m in materials],
    "absorbs": [len(links) for links in inside], "faces": np.bincount(slots).tolist(),
    "wanted": [len(mesh.faces) for mesh in meshes], "same": same, "invalid": invalid,
    "density": inside[0][0].from_node.inputs["Density"].default_value,
    "absorption": max(parts[0].material.parameters["absorption"]),
    "linked": mug.name in bpy.context.scene.collection.objects, "loose": loose, "kinds": kinds, "count": len(every),
}
print("ANSWER" + json.dumps(answer))
"""


@needs_blender
def test_a_mug_of_tea_in_blender_has_a_slot_and_a_pass_index_per_part() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(PYTHON), "-c", BODIES], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout.split("ANSWER")[1].splitlines()[0])
    assert answer["number"] == 7 and answer["linked"] and not answer["invalid"]
    assert answer["codes"] == [GLASS, LIQUID] and answer["names"] == ["amber glass", "tea"]
    assert answer["absorbs"] == [1, 1] and answer["density"] == pytest.approx(answer["absorption"], rel=1e-4)
    assert answer["faces"] == answer["wanted"] and answer["same"] == answer["wanted"][0]
    assert answer["kinds"] and answer["loose"] == [] and answer["count"] == len(LIBRARY) + len(LIQUIDS)
