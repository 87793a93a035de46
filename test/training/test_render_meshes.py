"""The user's own meshes: what is read, what is refused and how it is told, and how they get into recipes and scenes."""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from dkt_ros.training.render import mesh_files
from dkt_ros.training.render.__main__ import main
from dkt_ros.training.render.assets_mesh import Mesh
from dkt_ros.training.render.job import Job, JobError, settle
from dkt_ros.training.render.materials_library import TRANSPARENT
from dkt_ros.training.render.mesh_files import MOST_FACES, MeshError, parse_mesh
from dkt_ros.training.render.mesh_hints import HINTS, MODEL_HINTS, read_hints
from dkt_ros.training.render.mesh_scan import scan, table
from dkt_ros.training.render.meshes import placed
from dkt_ros.training.render.objects import draw_object
from dkt_ros.training.render.recipe import RECIPES, SceneRecipe, load_scene_recipe, recipe_from_content

from .own_meshes import cup, good_folder, scaled, trimesh, write, y_up


def parsed(mesh: trimesh.Trimesh, suffix: str = ".obj") -> Mesh:
    data = mesh.export(file_type=suffix[1:])
    return parse_mesh(data.encode() if isinstance(data, str) else data, suffix)


def changed_glb(data: bytes, change: Callable[[dict], None]) -> bytes:
    """A .glb with another header; its binary chunk stays."""
    (length,) = struct.unpack("<I", data[12:16])
    header = json.loads(data[20 : 20 + length])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest


@pytest.fixture(scope="module")
def glb() -> bytes:
    return y_up(cup()).export(file_type="glb")


# Reading one file


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_a_closed_mesh_keeps_its_shape(suffix: str) -> None:
    mesh = parsed(cup(), suffix)
    assert mesh.flaw() == ""
    assert mesh.volume == pytest.approx(cup().volume, rel=1e-5)


def test_vertices_split_at_seams_are_one_again() -> None:
    split = cup()
    split.unmerge_vertices()
    assert len(split.vertices) == 3 * len(split.faces)
    assert len(parsed(split, ".glb").vertices) == len(cup().vertices)


def test_nodes_are_placed_and_joined() -> None:
    scene = trimesh.Scene([cup()])
    scene.add_geometry(cup(), transform=trimesh.transformations.translation_matrix([1, 0, 0]))
    mesh = parse_mesh(scene.export(file_type="glb"), ".glb")
    assert mesh.volume == pytest.approx(2 * cup().volume, rel=1e-5)
    assert np.ptp(mesh.vertices[:, 0]) == pytest.approx(1.08, abs=1e-3)


def test_flipped_winding_is_turned() -> None:
    inside_out = cup()
    inside_out.invert()
    assert parsed(inside_out).volume == pytest.approx(cup().volume, rel=1e-5)


def test_of_two_bodies_only_the_flipped_one_is_turned() -> None:
    other = cup().apply_translation([1, 0, 0])
    other.invert()
    mesh = parsed(trimesh.util.concatenate([cup(), other]))
    assert mesh.volume == pytest.approx(2 * cup().volume, rel=1e-5)


@pytest.mark.parametrize("flipped", [False, True])
def test_a_cavity_stays_one(flipped: bool) -> None:
    cavity = trimesh.creation.icosphere(radius=0.5)
    cavity.invert()
    ball = trimesh.util.concatenate([trimesh.creation.icosphere(radius=1.0), cavity])
    if flipped:
        ball.invert()
    full = trimesh.creation.icosphere(radius=1.0).volume
    assert parsed(ball).volume == pytest.approx(full * (1 - 0.5**3), rel=1e-3)


def open_cup() -> bytes:
    mesh = cup()
    mesh.update_faces(np.arange(len(mesh.faces)) > 4)
    return mesh.export(file_type="obj").encode()


def one_face_turned() -> bytes:
    mesh = cup()
    mesh.faces[7] = mesh.faces[7, ::-1]
    return mesh.export(file_type="obj").encode()


def two_that_share_an_edge() -> bytes:
    both = [trimesh.creation.box(), trimesh.creation.box().apply_translation([1, 1, 0])]
    return trimesh.util.concatenate(both).export(file_type="obj").encode()


def flat() -> bytes:
    mesh = cup()
    mesh.vertices[:, 2] = 0
    return mesh.export(file_type="obj").encode()


def not_a_number() -> bytes:
    lines = cup().export(file_type="obj").splitlines()
    number = next(i for i, line in enumerate(lines) if line.startswith("v "))
    lines[number] = "v nan 0 0"
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("make", "suffix", "said"),
    [
        (open_cup, ".obj", r"not watertight: \d+ of \d+ edges have a face on one side only; close it"),
        (two_that_share_an_edge, ".obj", "not watertight: 1 of 35 edges join more than two faces"),
        (one_face_turned, ".obj", "disagree at 3 of .* about which side is outside"),
        (flat, ".obj", "of no thickness"),
        (not_a_number, ".obj", "1 vertices are not finite"),
        (lambda: b"v 0 0 0\n" * 3, ".obj", "no faces"),
        (lambda: b"o nothing\n", ".obj", "no faces|cannot be read"),
        (lambda: b"f 1 2 3\n", ".obj", "no faces|cannot be read"),
        (lambda: b"v 0 0 0\nf 1 2 900\nf 1 2 3\n", ".obj", "cannot be read|do not exist"),
        (lambda: bytes(range(256)) * 4, ".obj", "no faces|cannot be read"),
        (lambda: bytes(range(256)) * 4, ".glb", "does not begin as a .glb does"),
    ],
)
def test_flaws_are_named(make: Callable[[], bytes], suffix: str, said: str) -> None:
    with pytest.raises(MeshError, match=said):
        parse_mesh(make(), suffix)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_too_many_faces_are_refused_with_their_number(monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    assert MOST_FACES == 200_000
    faces = len(cup().faces)
    monkeypatch.setattr(mesh_files, "MOST_FACES", faces - 1)
    with pytest.raises(MeshError, match=f"{faces} faces; at most {faces - 1}: reduce it"):
        parsed(cup(), suffix)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
def test_a_cut_glb_is_refused(glb: bytes, share: float) -> None:
    with pytest.raises(MeshError, match=r"cut short|damaged"):
        parse_mesh(glb[: int(share * len(glb))], ".glb")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: h["buffers"][0].update(uri="../secret.bin"), "in another file .'../secret.bin'.*not read"),
        (lambda h: h["accessors"][0].update(count=10**10), "3333333333 faces; at most 200000"),
        (lambda h: h["accessors"][1].update(count=10**10), "it states 1000.* at most"),
        (lambda h: h["accessors"][0].update(count="many"), "header cannot be read"),
        (lambda h: h.update(extensionsRequired=["KHR_draco_mesh_compression"]), "compressed .KHR_draco"),
        (
            lambda h: h["meshes"][0]["primitives"].extend(h["meshes"][0]["primitives"] * 10**4),
            r"\d+ faces; at most 200000",
        ),
        (lambda h: h.update(nodes=h["nodes"] * 10**4), r"\d+ nodes; at most 2000: join them"),
        (lambda h: h.update(accessors=[]), "header cannot be read"),
    ],
)
def test_a_hostile_glb_is_refused_unread(glb: bytes, change: Callable[[dict], None], said: str) -> None:
    with pytest.raises(MeshError, match=said):
        parse_mesh(changed_glb(glb, change), ".glb")


def test_random_damage_is_a_mesh_error_or_a_closed_mesh(glb: bytes) -> None:
    rng = np.random.default_rng(0)
    for _ in range(25):
        data = bytearray(glb)
        for at in rng.integers(0, len(data), 6):
            data[at] = rng.integers(256)
        try:
            assert not (mesh := parse_mesh(bytes(data), ".glb")).flaw().startswith("edges")
            assert np.isfinite(mesh.vertices).all()
        except MeshError:
            pass


@pytest.mark.parametrize("up", ["x", "y", "z", "-x", "-y", "-z"])
def test_every_axis_can_point_up(up: str) -> None:
    spike = trimesh.creation.cone(radius=0.02, height=0.1)
    axis = np.eye(3)["xyz".index(up[-1])] * (-1 if up[0] == "-" else 1)
    turned = spike.copy().apply_transform(trimesh.geometry.align_vectors([0, 0, 1], axis))
    mesh = placed(parsed(turned), up, 0.2)
    assert mesh.flaw() == ""  # a mirrored one would look inward
    top = mesh.vertices[mesh.vertices[:, 2].argmax()]
    assert top == pytest.approx([0, 0, 0.2], abs=1e-3)
    assert mesh.vertices.min(0) == pytest.approx([-0.04, -0.04, 0], abs=1e-3)


# A folder


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two good ones, and one of everything that can be wrong."""
    folder = good_folder(tmp_path_factory.mktemp("mixed") / "meshes")
    outside = write(folder.parent / "outside.obj", scaled(cup(), 1.0))
    (folder / "link.obj").symlink_to(outside)
    (folder / "linked").symlink_to(folder.parent)
    (folder / "open.obj").write_bytes(open_cup())
    (folder / "cut.glb").write_bytes((folder / "cup.glb").read_bytes()[:900])
    (folder / "empty.glb").touch()
    (folder / "drawing.stl").write_text("solid")
    (folder / "notes.txt").write_text("not a mesh")
    write(folder / "millimetres.obj", scaled(cup(), 1000))
    (folder / "hints.yaml").write_text((folder / "hints.yaml").read_text() + "  absent.glb: {weight: 2}\n")
    return folder


def test_every_flawed_file_is_named_and_the_others_are_used(mixed: Path) -> None:
    findings = {finding.name: finding for finding in scan(mixed)}
    assert {name for name, finding in findings.items() if finding.entry} == {"cup.glb", "deep/box.obj"}
    told = {name: finding.flaw for name, finding in findings.items() if not finding.entry}
    words = {
        "link.obj": "symbolic link", "linked": "symbolic link", "open.obj": "not watertight", "cut.glb": "cut short",
        "empty.glb": "empty file", "drawing.stl": "not read; export it as .glb", "absent.glb": "no such file",
        "millimetres.obj": r"100 m across, must be 0.01 to 0.4; say how large .* unit: mm",
    }  # fmt: skip
    assert told.keys() == words.keys()
    for name, word in words.items():
        assert re.search(word, told[name]), (name, told[name])
    shown = table(mixed, list(findings.values()))
    assert "2 meshes can be used, 8 cannot" in shown
    assert all(name in shown for name in findings)


@pytest.fixture
def opened() -> Iterator[list[str]]:
    """Paths of all files that are opened from now on, by whatever code."""
    paths: list[str] = []
    watching = [True]
    sys.addaudithook(lambda event, args: paths.append(str(args[0])) if watching and event == "open" else None)
    yield paths
    watching.clear()


def test_what_a_file_names_is_never_opened(tmp_path: Path, opened: list[str]) -> None:
    folder = tmp_path / "meshes"
    (tmp_path / "secret.mtl").write_text("newmtl secret\nmap_Kd secret.png\n")
    text = cup().export(file_type="obj")
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "cup.obj").write_text(f"mtllib ../../secret.mtl\nusemtl secret\n{text}")
    textured = changed_glb(y_up(cup()).export(file_type="glb"), lambda h: h.update(images=[{"uri": "../secret.png"}]))
    (folder / "cup.glb").write_bytes(textured)
    (folder / "hints.yaml").write_text("default: {material: glass}")
    opened.clear()
    assert all(finding.entry for finding in scan(folder))
    assert {Path(path).name for path in opened if "secret" in path} == set()
    assert {Path(path).name for path in opened if str(tmp_path) in path} == {"cup.obj", "cup.glb", HINTS, MODEL_HINTS}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("default: [glass]", "default is .* not a mapping"),
        ("defaults: {}", "unknown key defaults; known: default, files"),
        ("default: {material: wood}", "default: material 'wood' is none .* known: glass, plastic"),
        ("default: {material: ribbed_glass}", "'ribbed_glass' is none that a mesh can be made of"),
        ("default: {material: []}", "empty list"),
        ("files: {a.glb: {height: 0}}", "a.glb: height is 0, must be metres above 0"),
        ("files: {a.glb: {height: [0.2, 0.1]}}", "height is .0.2, 0.1."),
        ("files: {a.glb: {height: .nan}}", "nan is not a number"),
        ("files: {a.glb: {height: 0.1, unit: mm}}", "height and unit"),
        ("files: {a.glb: {unit: km}}", "unit is 'km'; known: m, cm, mm, in"),
        ("files: {a.glb: {up: w}}", "up is 'w'"),
        ("files: {a.glb: {weight: 0}}", "weight is 0, must be above 0"),
        ("files: {a.glb: {colour: red}}", "unknown key colour"),
        ("files: {a: [", "is not YAML"),
    ],
)
def test_wrong_hints_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "hints.yaml").write_text(text)
    with pytest.raises(ValueError, match=said) as error:
        read_hints(tmp_path)
    assert "hints.yaml" in str(error.value)


def test_without_a_material_a_mesh_is_not_used(tmp_path: Path) -> None:
    write(tmp_path / "cup.glb", y_up(cup()))
    (finding,) = scan(tmp_path)
    assert "nothing says what it is made of" in finding.flaw
    assert finding.mesh is not None  # so that `filter` can show it


# In a recipe


def recipe_with(folder: Path, at: Path, meshes: object, **objects: object) -> Path:
    content = yaml.safe_load((RECIPES / "full.yaml").read_text())
    content["objects"].update(meshes=meshes, **objects)
    at.write_text(yaml.safe_dump(content))
    return at


@pytest.fixture
def recipe(mixed: Path, tmp_path: Path) -> SceneRecipe:
    return load_scene_recipe(recipe_with(mixed, tmp_path / "own.yaml", {"folder": str(mixed), "weight": 1e9}))


def test_drawn_objects_are_the_meshes_in_their_materials(recipe: SceneRecipe) -> None:
    seen = set()
    for seed in range(12):
        asset = draw_object(np.random.default_rng(seed), recipe.objects.choice, transparent=seed % 2 == 0)
        material = asset.parts[0].material
        assert asset.family == "mesh"
        assert (material.group in TRANSPARENT) == (seed % 2 == 0)
        height = {"cup.glb": 0.1, "deep/box.obj": 0.04}[str(asset.parameters["file"])]
        assert asset.height == pytest.approx(height, rel=1e-5)
        json.dumps(asset.parameters)
        seen.add((asset.parameters["file"], material.group.rpartition("_")[2]))
    assert seen == {("cup.glb", "glass"), ("deep/box.obj", "metal")}


def test_the_set_of_meshes_decides_the_digest_and_its_place_does_not(mixed: Path, tmp_path: Path) -> None:
    folder = good_folder(tmp_path / "a")
    path = recipe_with(folder, tmp_path / "own.yaml", "a")  # relative to the recipe's file
    first = load_scene_recipe(path)
    assert load_scene_recipe(path).digest == first.digest
    folder.rename(tmp_path / "b")
    assert load_scene_recipe(recipe_with(folder, path, str(tmp_path / "b"))).digest == first.digest
    write(tmp_path / "b" / "cup.glb", scaled(y_up(cup()), 1.001))
    assert load_scene_recipe(path).digest != first.digest
    assert load_scene_recipe("full").content()["objects"].get("meshes") is None


def test_a_job_reads_its_meshes_back_and_notices_a_changed_file(tmp_path: Path) -> None:
    folder = good_folder(tmp_path / "meshes")
    recipe = load_scene_recipe(recipe_with(folder, tmp_path / "own.yaml", {"folder": "meshes", "weight": 1e9}))
    back = recipe_from_content(json.loads(json.dumps(recipe.content())))
    assert back.objects.meshes == recipe.objects.meshes
    assert back.digest == recipe.digest
    first, second = (draw_object(np.random.default_rng(3), r.objects.choice, True) for r in (recipe, back))
    assert np.array_equal(first.parts[0].mesh.vertices, second.parts[0].mesh.vertices)
    other = good_folder(tmp_path / "other")
    write(other / "cup.glb", scaled(y_up(cup()), 1.001))
    content = recipe.content()
    content["objects"]["meshes"]["folder"] = str(other)
    with pytest.raises(MeshError, match=r"cup.glb is not the file that the job began with"):
        draw_object(np.random.default_rng(3), recipe_from_content(content).objects.choice, True)
    (other / "cup.glb").unlink()
    with pytest.raises(MeshError, match=r"cup.glb cannot be read"):
        draw_object(np.random.default_rng(3), recipe_from_content(content).objects.choice, True)


def test_a_job_goes_on_with_the_same_meshes_and_is_refused_with_others(tmp_path: Path) -> None:
    folder = good_folder(tmp_path / "meshes")
    path = recipe_with(folder, tmp_path / "own.yaml", "meshes")
    settle(tmp_path / "out", Job(load_scene_recipe(path), 0, 1))
    folder.rename(tmp_path / "moved")
    recipe_with(folder, path, "moved")
    job = settle(tmp_path / "out", Job(load_scene_recipe(path), 0, 1))
    assert job.recipe.objects.meshes
    assert set(job.recipe.objects.meshes.files) == {"cup.glb", "deep/box.obj"}
    write(tmp_path / "moved" / "cup.glb", scaled(y_up(cup()), 1.001))
    with pytest.raises(JobError, match=r"recipe.objects.meshes.files.cup.glb.sha256 is \w+ there and \w+ here"):
        settle(tmp_path / "out", Job(load_scene_recipe(path), 0, 1))


@pytest.mark.parametrize(
    ("meshes", "said"),
    [
        ("nowhere", "no folder .*nowhere"),
        (3, "objects.meshes is 3, must be a folder"),
        ({"folder": "meshes", "weights": 2}, "must be a folder, or"),
        ({"folder": "meshes", "weight": 0}, "weight is 0, must be a number above 0"),
        ({"folder": "bad"}, "no mesh that can be used.*open.obj  skipped: not watertight"),
        ({"folder": "meshes", "weight": 1.0, "files": {"../cup.glb": {}}}, "objects.meshes is damaged"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path: Path, meshes: object, said: str) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "open.obj").write_bytes(open_cup())
    path = recipe_with(good_folder(tmp_path / "meshes"), tmp_path / "own.yaml", meshes)
    with pytest.raises(ValueError, match=f"(?s)own.yaml: .*{said}"):
        load_scene_recipe(path)


def test_meshes_of_materials_that_the_recipe_leaves_out_are_told(tmp_path: Path) -> None:
    good_folder(tmp_path / "meshes")
    path = recipe_with(tmp_path, tmp_path / "own.yaml", "meshes", materials={"clear_glass": 1, "ordinary": 1})
    meshes = load_scene_recipe(path).objects.meshes
    assert meshes
    assert "no weight to the materials of: deep/box.obj" in meshes.report


# The command


def test_the_command_prints_the_table_and_draws_a_picture(
    mixed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["meshes", str(mixed), "--picture", str(tmp_path / "all.png")]) == 1
    out = capsys.readouterr().out
    assert "2 meshes can be used, 8 cannot" in out
    assert re.search(
        r"cup.glb +\d+ faces  0.100 m high  clear_glass, tinted_glass, frosted_glass .hints.yaml, def", out
    )
    picture = cv2.imread(str(tmp_path / "all.png"))
    assert picture.shape == (192, 3 * 192, 3)  # the cup, the box and the one of millimetres
    assert (picture < 200).mean() > 0.05


def test_the_command_without_anything_usable_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meshes", str(tmp_path)]) == 2
    assert "no mesh that can be used" in capsys.readouterr().err
    assert main(["meshes", str(tmp_path / "nowhere")]) == 2
    assert "no folder" in capsys.readouterr().err
