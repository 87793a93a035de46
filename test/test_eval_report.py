"""`dkt eval --out DIR`: one report for the same input, whatever it is compared with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dkt_ros import cli
from dkt_ros.choices import ENGINE_NAMES
from dkt_ros.commands import CommandError, against
from dkt_ros.engines import Engine, EngineOptions
from dkt_ros.evaluation.baselines import GROUPS
from dkt_ros.evaluation.running import without_out
from dkt_ros.files import written_whole
from dkt_ros.fills import CLASSICAL_FILLS
from dkt_ros.frames import Clip, Prediction
from dkt_ros.training.sequences import save_sequence

from . import rendered
from .scenes import ScriptedEngine

FRAMES = 10


class Bent(ScriptedEngine):
    """Another engine: what it says is bent, so that its numbers are its own; and its clips are shorter."""

    def __init__(self) -> None:
        super().__init__(changing=False)
        self.card = replace(self.card, name="dvd", clip_length=5, overlap=1)

    def predict(self, clip: Clip, trust: Any = None) -> Prediction:
        said = super().predict(clip, trust)
        return replace(said, disparity=(said.disparity**1.5).astype(np.float32))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, EngineOptions]]:
    """Which engines were loaded, with their options; "dvd" is ``Bent``, every other one knows the truth."""
    asked: list[tuple[str, EngineOptions]] = []

    def load(name: str, options: EngineOptions) -> Engine:
        asked.append((name, options))
        return Bent() if name == "dvd" else ScriptedEngine(changing=False)

    monkeypatch.setattr("dkt_ros.engines.load_engine", load)
    return asked


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTML has tests of its own, and takes seconds: here it says what it was given."""

    def write(path: Path, report: dict[str, Any], timing: dict[str, Any], galleries: Sequence[Any]) -> None:
        path.write_text(f"{' '.join(report['command'])}\n{sorted(timing)}\n{[each.name for each in galleries]}")

    monkeypatch.setattr("dkt_ros.evaluation.html.write_html", write)


@pytest.fixture
def tar(page: None, tmp_path: Path) -> Path:
    path = tmp_path / "000007.tar"
    save_sequence(path, rendered.sequence(FRAMES))
    return path


def evaluated(tar: Path, *options: str, out: str = "out") -> dict[str, Any]:
    """The report of one more run."""
    folder = tar.parent / out
    assert cli.main(["eval", str(tar), *options, "--out", str(folder)]) == 0
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    return report


def test_the_same_input_gives_the_same_bytes_wherever_they_go(tar: Path) -> None:
    """With the bundled engine itself."""
    save_sequence(tar, rendered.sequence(4))
    evaluated(tar, "--threads", "1", "--published", out="one")
    evaluated(tar, "--threads", "1", "--published", out="two")
    one, two = (tar.parent / name for name in ("one", "two"))
    assert (one / "report.json").read_bytes() == (two / "report.json").read_bytes()
    assert {path.name for path in one.iterdir()} == {"report.json", "report.html", "timing.json"}
    timing = json.loads((one / "timing.json").read_text())
    assert timing["path_seconds_per_frame"] > 0


def test_what_differs_from_run_to_run_stands_beside_the_report(tar: Path, loaded, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", ["/somewhere/dkt", "eval", str(tar), "--out", "out", "--near=0.4"])
    report = evaluated(tar, "--near=0.4")
    timing = json.loads((tar.parent / "out" / "timing.json").read_text())
    assert report["command"] == ["dkt", "eval", str(tar), "--near=0.4"] and report["limits"]["near_m"] == 0.4
    assert timing["command"] == ["dkt", "eval", str(tar), "--out", "out", "--near=0.4"]
    assert "--out out" in (page := (tar.parent / "out" / "report.html").read_text()) and "000007" in page
    assert {"path_seconds_per_frame", "evaluation_seconds"} <= set(timing)
    assert "seconds" not in (tar.parent / "out" / "report.json").read_text()


def test_the_folder_is_no_part_of_the_command_that_the_report_names() -> None:
    for words in (["--out", "a"], ["--out=a"], ["--ou", "a"]):
        assert without_out(["dkt", "eval", "bag", *words, "--overlap", "5"]) == ["dkt", "eval", "bag", "--overlap", "5"]


def test_another_engine_has_the_numbers_that_it_has_alone(tar: Path, loaded) -> None:
    both = evaluated(tar, "--against", "raw,dvd", "--published", out="both")
    alone = evaluated(tar, "--engine", "dvd", "--against", "raw", "--published", out="alone")
    here, there = (report["videos"][0]["scores"] for report in (both, alone))
    assert here["dvd"] == there["ours"] and here["dvd, network alone"] == there["ours, network alone"]
    assert here["ours"] != here["dvd"] and here["dvd"]["temporal"]["C"]["seams"] == 2
    curves, others = (report["videos"][0]["curves"] for report in (both, alone))
    assert curves["rel"]["dvd"] == others["rel"]["ours"] and curves["coverage"]["dvd"] == others["coverage"]["ours"]
    assert list(both["rows"]) == ["raw sensor", "ours", "dvd", "ours, network alone", "dvd, network alone"]
    assert both["engines"]["dvd"]["clip_length"] == 5 and both["engines"]["ours"]["engine"] == "scripted"


def test_every_engine_can_be_compared_with_and_gets_its_own_weights(tar: Path, loaded, capsys) -> None:
    (tar.parent / "w").mkdir()
    words = f"dvd={tar.parent / 'w'}:more,depthlab,completion,dkt"
    report = evaluated(tar, "--against", words, "--threads", "1", "--device", "cpu", "--overlap", "3")
    assert [name for name, _ in loaded] == ["nano", "dvd", "depthlab", "completion", "dkt"]
    dvd = loaded[1][1]
    assert dvd == EngineOptions(weights=(tar.parent / "w", Path("more")), threads=1, device="cpu")
    assert report["engines"]["dvd"]["overlap"] == 1 and report["engines"]["ours"]["overlap"] == 3
    assert all(f"| {name} " in capsys.readouterr().out or name in report["rows"] for name in ENGINE_NAMES[1:])


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        ("none", []),
        ("raw", ["raw sensor"]),
        ("plane", ["plane fit"]),
        ("fills,raw", ["raw sensor", *(name for name in CLASSICAL_FILLS if name != "plane fit")]),
    ],
)
def test_only_what_was_asked_for_is_compared_with(tar: Path, loaded, words: str, methods: list[str]) -> None:
    scores = evaluated(tar, "--against", words)["videos"][0]["scores"]
    assert {name for name in scores if "known mask" not in name} == {"ours", "ours, network alone", *methods}


def test_the_names_are_those_of_the_baselines() -> None:
    assert tuple(GROUPS) == against.BASELINES


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("raw,teapot", "'teapot': no such baseline or engine; there are raw, fills, plane, nano, dkt, dvd, depthlab"),
        ("none,raw", "'none': no such baseline or engine"),
        ("", "'': no such baseline or engine"),
        ("raw=x", "'raw=x': no such baseline or engine"),
        ("dvd=a,dvd=b", "names engine dvd twice"),
    ],
)
def test_what_cannot_be_compared_with_is_told_at_once(tar: Path, loaded, capsys, words: str, said: str) -> None:
    with pytest.raises(CommandError, match=said):
        against.parse(words)
    assert cli.main(["eval", str(tar), "--against", words]) == 1 and said in capsys.readouterr().err
    assert loaded == []


def test_an_engine_without_its_weights_is_told_with_its_name(tar: Path, capsys) -> None:
    assert cli.main(["eval", str(tar), "--against", "dvd"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("dkt eval: --against dvd: engine 'dvd' needs weights") and "--against dvd=PATH" in said


def test_curves_have_one_number_a_frame(tar: Path, loaded) -> None:
    report = evaluated(tar, "--clip-length", "5", "--overlap", "1")
    curves, scores = (report["videos"][0][name] for name in ("curves", "scores"))
    assert curves["frame"] == list(range(FRAMES)) and curves["clip_starts"] == [5, 9]
    assert curves["time_s"] == pytest.approx(0.1 * np.arange(FRAMES))
    best = report["best_classical_fill"]
    assert set(curves["rel"]) == {"raw sensor", best, "ours", "ours, network alone"} == set(curves["coverage"])
    for name in ("scale", "shift", "residual", "inliers"):
        assert len(curves[name]) == FRAMES and None not in curves[name]
    assert curves["scale"] == pytest.approx([1.0] * FRAMES, abs=0.01)
    for method in ("raw sensor", "ours", best):
        for region in ("all", "transparent"):
            frames = np.array(curves["rel"][method][region], float)
            assert frames.mean() == pytest.approx(scores[method]["C"][region]["frame_mean"]["rel"], rel=1e-9)
    assert curves["coverage"]["raw sensor"][0] < curves["coverage"][best][0] == 1.0
    assert curves["rel"]["ours, network alone"]["all"] == [None] * FRAMES
    assert None not in curves["rel_aligned"]["ours, network alone"]["all"]


def test_without_a_sensor_there_are_no_metres_and_no_curves_of_them(tar: Path, loaded) -> None:
    curves = evaluated(tar, "--no-sensor-depth", "--against", "none")["videos"][0]["curves"]
    assert curves["scale"] == curves["coverage"]["ours"] == curves["rel"]["ours"]["all"] == [None] * FRAMES
    assert max(curves["rel_aligned"]["ours"]["all"]) < 1e-3


def test_every_fit_and_every_count_is_printed(tar: Path, loaded, capsys) -> None:
    report = evaluated(tar)
    said = capsys.readouterr().out
    fit = report["videos"][0]["scores"]["raw sensor"]["A"]["alignment"]
    (row,) = (line for line in said.splitlines() if f" {fit['pixels']} |" in line and "raw sensor" in line)
    assert f" {fit['scale']:.4g} |" in row and f" {fit['shift']:.4g} |" in row
    leaf = report["videos"][0]["scores"]["raw sensor"]["C"]["transparent"]
    assert f" {leaf['pixels']} / {leaf['reference_pixels']} |" in row and leaf["pixels"] < leaf["reference_pixels"]
    assert "ours, C: its own fit to the sensor" in said and f"in {FRAMES} of {FRAMES} frames" in said
    assert "TAE in %" in said and "path: " in said


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_done(tar: Path, loaded, capsys) -> None:
    assert cli.main(["eval", str(tar), "--out", str(tar / "deeper")]) == 1
    assert f"cannot write to {tar / 'deeper'}: {tar} is a file; give another folder" in capsys.readouterr().err
    assert loaded == []


def test_nothing_to_score_is_told_with_the_range_that_there_is(tar: Path, loaded, capsys) -> None:
    assert cli.main(["eval", str(tar), "--near", "2", "--far", "3", "--out", str(tar.parent / "out")]) == 1
    said = capsys.readouterr().err
    assert "000007: no ground truth within 2.0 to 3.0 m; it lies within 0.582 to 1 m: give --near and --far" in said
    assert not (tar.parent / "out").exists()
    sequence = rendered.sequence(3)
    sequence.depth[:] = np.nan
    save_sequence(tar, sequence)
    assert cli.main(["eval", str(tar)]) == 1
    assert "none of its 3 frames has any" in capsys.readouterr().err


def test_a_full_disk_is_told_with_the_remedy(tar: Path, loaded, capsys, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dkt_ros.evaluation.videos.Spool.append", full)
    assert cli.main(["eval", str(tar)]) == 1
    said = capsys.readouterr().err
    assert "000007.tar: temporary files fill the disk of " in said and "set TMPDIR to another one" in said


def test_the_node_without_ros_is_told_at_once(tar: Path, loaded, capsys, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rclpy", None)
    assert cli.main(["eval", str(tar), "--through", "node"]) == 1
    assert "--through node: " in (said := capsys.readouterr().err) and "ROS 2" in said


def test_ctrl_c_while_writing_leaves_what_was_there(tar: Path, loaded, monkeypatch) -> None:
    out = tar.parent / "out"
    evaluated(tar, "--against", "none")
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def stopped(path: Path, *_: object) -> None:
        with written_whole(path) as temporary:
            temporary.write_text("<html>")
            raise KeyboardInterrupt

    monkeypatch.setattr("dkt_ros.evaluation.html.write_html", stopped)
    assert cli.main(["eval", str(tar), "--near", "0.7", "--against", "none", "--out", str(out)]) == 130
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert cli.main(["eval", str(tar), "--against", "none", "--out", str(tar.parent / "new")]) == 130
    assert not (tar.parent / "new").exists()
