"""`dkt eval` on the folders of published sets: what is said, what is written, what is left out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("OpenEXR", reason="OpenEXR is not installed: pip install OpenEXR")
pytest.importorskip("scipy", reason="scipy is not installed: pip install scipy")

from dkt_ros import cli

from .datasets import trees
from .scenes import ScriptedEngine


@pytest.fixture(autouse=True)
def engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that knows another scene: here it only has to answer."""
    monkeypatch.setattr("dkt_ros.engines.load_engine", lambda name, options=None: ScriptedEngine())


def test_the_report_says_what_was_taken_and_by_which_protocol(tmp_path: Path, capsys) -> None:
    for scene in ("set1/scene1", "set2/scene1"):
        trees.clearpose(tmp_path / "set", scene, frames=range(6))
    arguments = ["eval", str(tmp_path / "set"), "--every", "2", "--far", "2", "--out", str(tmp_path / "out")]
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert "Dataset: ClearPose (subset test, every 2): DKT's: one scale and shift per video" in said.out
    assert "1 of the 27 scenes of the subset test are there" in said.out and "within 0.3 to 2.0 m" in said.out
    assert "true normals: axes" in said.err
    read = json.loads((tmp_path / "out" / "report.json").read_text())
    assert read["dataset"]["selection"] == {"subset": "test", "camera": "", "every": 2, "first": 0}
    assert [video["name"] for video in read["videos"]] == ["set2_scene1"]
    assert read["videos"][0]["frames"] == 3 and read["videos"][0]["counts"] == {"frames": 3}
    assert read["mean"]["raw sensor"]["C"]["all"]["mae_m"] == pytest.approx(0.1, abs=1e-3)


def test_the_range_is_that_of_the_set(tmp_path: Path, capsys) -> None:
    assert cli.main(["eval", str(trees.std(tmp_path, frames=(0,)))]) == 0
    said = capsys.readouterr().out
    assert "within 0.2 to 2.0 m" in said and "Dataset: STD (subset test): DKT's" in said
    assert cli.main(["eval", str(tmp_path), "--near", "3"]) == 1
    assert "range 3.0..2.0 m" in capsys.readouterr().err


def test_one_picture_that_cannot_be_read_does_not_end_the_rest(tmp_path: Path, capsys) -> None:
    trees.cleargrasp(tmp_path, numbers=(1, 2))
    broken = tmp_path / "real-test/d435/000000001-normals.exr"
    broken.write_bytes(broken.read_bytes()[:100])
    assert cli.main(["eval", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("real-test_d435_000000001: no frame could be read") == 1
    read = json.loads((tmp_path / "out" / "report.json").read_text())
    assert len(read["videos"]) == 1 and "000000001-normals.exr" in read["problems"][0]
    other = tmp_path / "real-test/d435/000000002-mask.png"
    other.write_bytes(b"")
    assert cli.main(["eval", str(tmp_path)]) == 1
    assert "ClearGrasp: nothing could be read" in capsys.readouterr().err


def test_a_wrong_layout_is_told_before_a_model_is_loaded(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr("dkt_ros.engines.load_engine", lambda *_: pytest.fail("loaded"))
    trees.clearpose(tmp_path)
    (tmp_path / "set2/scene1/000003-depth.png").unlink()
    assert cli.main(["eval", str(tmp_path)]) == 1
    assert (
        "ClearPose: " in (said := capsys.readouterr().err) and "lacks 000003-depth.png; found 000003-color.png" in said
    )
    assert cli.main(["eval", str(tmp_path), "--subset", "heavy"]) == 1
    assert "ClearPose has no subset 'heavy'; it has test, occlusion" in capsys.readouterr().err
