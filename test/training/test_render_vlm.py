"""The filter: pictures of meshes, what counts as an answer, what follows from it, and a real model asked end to end."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from dkt_ros.training.render.__main__ import main
from dkt_ros.training.render.assets_mesh import Mesh
from dkt_ros.training.render.mesh_files import parse_mesh
from dkt_ros.training.render.mesh_hints import HINTS, MODEL_HINTS, WORDS, read_hints
from dkt_ros.training.render.mesh_preview import Uint8, preview
from dkt_ros.training.render.mesh_scan import scan
from dkt_ros.training.render.meshes import placed
from dkt_ros.training.render.vlm import QUESTION, ModelError, judge, load_model, parse_answer, write_answers

from ..hub import Hub, Repository, serving
from .own_meshes import cup, good_folder, trimesh, write, y_up


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cup and a bowl without a material, a box whose material the user says, and an open mesh."""
    folder = good_folder(tmp_path / "meshes")
    write(folder / "bowl.glb", y_up(cup().apply_scale([2, 2, 0.6])))
    sheet = trimesh.creation.box()
    sheet.update_faces(np.arange(len(sheet.faces)) > 1)
    write(folder / "open.obj", sheet)
    (folder / HINTS).write_text("files: {deep/box.obj: {material: metal, unit: mm}}")
    return folder


class Says:
    """Answers in turn, and keeps what it was shown."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.shown: list[Uint8] = []

    def __call__(self, picture: Uint8, question: str) -> str:
        assert all(word in question for word in WORDS)
        self.shown.append(picture)
        return self.answers.pop(0)


def asked(folder: Path, ask: Says, **options: bool) -> str:
    """What ``filter`` does apart from the model; the answers are on disk after every one."""

    def keep(answers: dict[str, tuple[str, str]]) -> None:
        write_answers(folder, "a model", answers)

    return str(judge(scan(folder), read_hints(folder), ask, keep=keep, **options))


def groups(folder: Path) -> dict[str, tuple[str, ...]]:
    return {finding.name: finding.entry.groups for finding in scan(folder) if finding.entry}


# Pictures


def test_a_preview_shows_the_mesh_from_four_sides() -> None:
    cone = trimesh.creation.cone(radius=1, height=2)
    picture = preview(placed(scan_one(cone), "z", 0.1), 64)
    assert picture.shape == (128, 128, 3)
    assert picture.dtype == np.uint8
    drawn = (picture[..., 0] < 245).reshape(2, 64, 2, 64).transpose(0, 2, 1, 3).reshape(4, 64, 64)
    from_the_side, from_above = drawn[0], drawn[3]
    # Of the side view of a cone, the triangle is half of its box; from above it is a disc, pi/4 of it.
    assert filled(from_the_side) == pytest.approx(0.55, abs=0.07)
    assert filled(from_above) == pytest.approx(0.75, abs=0.08)
    top = np.flatnonzero(from_the_side.any(1))[0]
    assert from_the_side[top].sum() <= 3  # its tip is up


def scan_one(mesh: trimesh.Trimesh) -> Mesh:
    return parse_mesh(mesh.export(file_type="obj").encode(), ".obj")


def filled(drawn: np.ndarray) -> float:
    """Share of its bounding box that a shape fills."""
    rows, columns = np.flatnonzero(drawn.any(1)), np.flatnonzero(drawn.any(0))
    return float(drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].mean())


def test_what_is_in_front_hides_what_is_behind_whatever_the_order() -> None:
    far, near = trimesh.creation.box((1, 1, 1)), trimesh.creation.icosphere(radius=0.3).apply_translation([2, 0, 0])
    pictures = [
        preview(placed(scan_one(trimesh.util.concatenate(both)), "z", 0.1), 64) for both in ((far, near), (near, far))
    ]
    assert np.array_equal(*pictures)
    assert len(np.unique(pictures[0])) > 8


# Answers


@pytest.mark.parametrize("text", ["glass", " Glass.\n", '"GLASS"', "**glass**", "'glass'."])
def test_a_word_is_an_answer(text: str) -> None:
    assert parse_answer(text) == "glass"


@pytest.mark.parametrize(
    "text", ["", "wood", "not glass", "glass or plastic", "It is made of glass.", "glass glass", "glasses", "{glass}"]
)
def test_anything_else_is_none(text: str) -> None:
    assert parse_answer(text) is None


def test_answers_become_materials_and_the_user_comes_first(folder: Path) -> None:
    ask = Says("plastic", "Glass.")
    told = asked(folder, ask)
    assert len(ask.shown) == 2
    assert not np.array_equal(*ask.shown)
    assert "2 asked (1 glass, 1 plastic), 0 of them gave no usable answer; 0 answered before, 1 said in" in told
    assert "open.obj: not watertight" in told
    assert groups(folder) == {
        "bowl.glb": WORDS["plastic"], "cup.glb": WORDS["glass"], "deep/box.obj": WORDS["metal"]
    }  # fmt: skip
    # The user's own line, written later, counts more; the default does not.
    (folder / HINTS).write_text("default: {material: ordinary, height: 0.1}\nfiles: {cup.glb: {material: ceramic}}")
    assert groups(folder) == {"bowl.glb": WORDS["plastic"], "cup.glb": ("ceramic",), "deep/box.obj": ("ordinary",)}


def test_no_usable_answer_is_counted_and_the_hint_counts(folder: Path) -> None:
    (folder / HINTS).write_text("default: {material: ceramic}\nfiles: {deep/box.obj: {material: metal, unit: mm}}")
    told = asked(folder, Says("It looks like glass to me", "unsure"))
    assert "2 asked (1 unsure), 1 of them gave no usable answer" in told
    assert "bowl.glb: said 'It looks like glass to me'" in told
    assert groups(folder) == {"bowl.glb": ("ceramic",), "cup.glb": ("ceramic",), "deep/box.obj": WORDS["metal"]}


def test_what_was_answered_is_not_asked_again_unless_the_file_changed(folder: Path) -> None:
    asked(folder, Says("plastic", "glass"))
    assert "0 asked (no answer), 0 of them gave no usable answer; 2 answered before" in asked(folder, Says())
    write(folder / "cup.glb", y_up(cup().apply_scale(1.1)))
    assert "cup.glb" not in groups(folder)  # what was said of another mesh does not count
    assert "1 asked (1 metal)" in asked(folder, Says("metal"))
    assert "2 asked (2 ceramic)" in asked(folder, Says("ceramic", "ceramic"), overwrite=True)
    assert groups(folder)["bowl.glb"] == ("ceramic",)


def test_an_interruption_loses_no_answer_and_hints_are_never_written(folder: Path) -> None:
    before = (folder / HINTS).read_bytes()
    with pytest.raises(IndexError):
        asked(folder, Says("plastic"))  # and no second answer
    assert read_hints(folder).answers["bowl.glb"][0] == "plastic"
    assert (folder / HINTS).read_bytes() == before
    assert "1 asked (1 glass), 0 of them gave no usable answer; 1 answered before" in asked(folder, Says("glass"))


def test_a_damaged_file_of_answers_is_named(folder: Path) -> None:
    (folder / MODEL_HINTS).write_text("files: {cup.glb: {material: wood}}")
    with pytest.raises(ValueError, match=r"hints.model.yaml: cup.glb: material is 'wood'; known: glass"):
        scan(folder)


# A real model


@pytest.fixture(scope="module")
def vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="the filter needs transformers: pip install 'dkt_ros[vlm]'")
    from .tiny_vlm import save_vlm

    return save_vlm(tmp_path_factory.mktemp("vlm"), "Glass.")


def test_the_command_asks_a_real_model(folder: Path, vlm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["filter", str(folder), "--model", str(vlm), "--device", "cpu"]) == 0
    assert "2 asked (2 glass)" in capsys.readouterr().out
    written = yaml.safe_load((folder / MODEL_HINTS).read_text())
    assert written["model"] == str(vlm)
    assert {name: entry["material"] for name, entry in written["files"].items()} == {
        "bowl.glb": "glass", "cup.glb": "glass"
    }  # fmt: skip
    assert main(["meshes", str(folder)]) == 1  # the open one
    assert "frosted_glass (hints.model.yaml)" in capsys.readouterr().out


def test_a_model_that_talks_is_cut_short_and_counted(
    folder: Path, tmp_path: Path, vlm: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from .tiny_vlm import save_vlm

    talker = save_vlm(tmp_path / "talker", "I see one two three four five six seven eight nine")
    said = load_model(talker, "cpu")(np.zeros((64, 64, 3), np.uint8), QUESTION)
    assert said == "I see one two three four five six"
    assert main(["filter", str(folder), "--model", str(talker), "--device", "cpu"]) == 1
    assert "2 of them gave no usable answer" in capsys.readouterr().out


def test_what_is_no_model_is_named(tmp_path: Path, vlm: Path) -> None:
    from .tiny_vlm import save_vlm

    with pytest.raises(ModelError, match="no vision-language model that transformers can load"):
        load_model(tmp_path)
    with pytest.raises(ModelError, match="no chat template"):
        load_model(save_vlm(tmp_path / "mute", "glass", chat=False))
    cut = tmp_path / "cut"
    cut.mkdir()
    for path in vlm.iterdir():
        data = path.read_bytes()
        (cut / path.name).write_bytes(data[: len(data) // 2] if path.suffix == ".safetensors" else data)
    with pytest.raises(ModelError, match=r"cut: no vision-language model"):
        load_model(cut)
    (cut / "model.safetensors").rename(cut / "pytorch_model.bin")  # pickles are never read
    with pytest.raises(ModelError, match=r"model\.safetensors"):
        load_model(cut)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "nowhere"], "no folder nowhere with a model in it$"),
        (["--model", "some/model"], "to download it from the hub: --fetch"),
        (["--model", "../model", "--fetch", "x"], "needs the hub's name of a model"),
    ],
)
def test_a_wrong_model_is_named(
    folder: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["filter", str(folder), *arguments]) == 2
    assert re.search(said, capsys.readouterr().err.strip())


def test_a_model_is_fetched_only_when_asked_for_and_confirmed(folder: Path, tmp_path: Path, vlm: Path) -> None:
    files = {path.name: path.read_bytes() for path in vlm.iterdir()} | {"old.bin": b"\x80\x02", "code.py": b"boom("}
    hub = Hub({"some/vlm": Repository({"b" * 40: files}, {"main": "b" * 40}, "apache-2.0")})

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        command = [sys.executable, "-m", "dkt_ros.training.render", "filter", str(folder), "--model", "some/vlm"]
        return subprocess.run(
            [*command, "--fetch", str(tmp_path / "got"), *more], capture_output=True, text=True,
            stdin=subprocess.DEVNULL, env={**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / ".hf")},
        )  # fmt: skip

    with serving(hub):
        refused = run()
        assert refused.returncode == 2, refused.stderr
        assert "licence: apache-2.0" in refused.stderr
        assert "not confirmed" in refused.stderr
        assert not list((tmp_path / "got").glob("*.safetensors"))
        done = run("--yes")
    assert done.returncode == 0, done.stderr
    assert "2 asked (2 glass)" in done.stdout
    got = {path.name for path in (tmp_path / "got").iterdir()}
    assert "model.safetensors" in got
    assert not got & {"old.bin", "code.py"}
