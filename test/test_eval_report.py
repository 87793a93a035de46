"""`dkt eval --out DIR`: one report, the same for the same input; what is printed; what is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dkt_ros import cli
from dkt_ros.bags import Bag
from dkt_ros.engines import EngineOptions
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.bag_writer import write_sequence
from dkt_ros.evaluation.running import without_out
from dkt_ros.files import written_whole
from dkt_ros.training.sequences import save_sequence

from . import rendered
from .eval_runs import FRAMES, evaluated, script_engines, sequence_tar
from .scenes import HEIGHT, WIDTH


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, EngineOptions]]:
    return script_engines(monkeypatch)


@pytest.fixture
def tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return sequence_tar(tmp_path, monkeypatch)


def test_the_same_input_gives_the_same_bytes_wherever_they_go(tar: Path, monkeypatch) -> None:
    """With the bundled engine itself, in two processes whose linear algebra has one thread and two; pictures are so
    large that it would share them out."""
    sequence, rng = rendered.sequence(3), np.random.default_rng(0)
    pictures = ("rgb", "depth", "background_depth", "sensor_depth", "normals", "material", "instance")
    large = {name: getattr(sequence, name).repeat(3, 1).repeat(3, 2) for name in pictures}
    large["sensor_depth"] += rng.normal(0, 0.003, large["sensor_depth"].shape).astype(np.float32)
    intrinsics = sequence.intrinsics.resized(3 * WIDTH, 3 * HEIGHT)
    save_sequence(tar, replace(sequence, **large, intrinsics=intrinsics))
    one, two = (tar.parent / name for name in ("one", "two"))
    words = ["eval", str(tar), "--threads", "1", "--published", "--against", "raw,plane", "--out"]
    monkeypatch.setattr(sys, "argv", ["dkt", *words, str(one)])
    assert cli.main([*words, str(one)]) == 0  # ``conftest`` sees to it that this process has one
    environment = {**os.environ, "OMP_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    program = [sys.executable, "-m", "dkt_ros.cli", *words, str(two)]
    subprocess.run(program, env=environment, check=True, capture_output=True)
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
    assert cli.main(["eval", str(tar), "--out", "/proc/no"]) == 1
    assert "cannot write to /proc/no: " in capsys.readouterr().err
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


def test_results_can_be_written_back_as_a_bag(tar: Path, loaded, capsys) -> None:
    bag, results = write_sequence(rendered.sequence(3), tar.parent / "bag"), tar.parent / "results"
    assert cli.main(["eval", str(bag), "--against", "none", "--bag", str(results)]) == 0
    with Bag(results) as written:
        depth = [message.time_ns for message in written.messages(["/dkt_perception/depth/image"])]
        assert len(depth) == 3 and {topics.IMAGE, topics.TRUE_DEPTH} <= set(written.topics)
    before = len(loaded)
    assert cli.main(["eval", str(bag), "--bag", str(results)]) == 1
    assert f"bag {results}: exists already" in capsys.readouterr().err and len(loaded) == before


def test_of_several_recordings_there_are_all_result_bags_or_none(tar: Path, loaded, capsys) -> None:
    folder, results = tar.parent / "tars", tar.parent / "results"
    for name in ("a.tar", "b.tar"):
        save_sequence(folder / name, rendered.sequence(2))
    words = ["eval", str(folder), "--against", "none", "--bag", str(results)]
    assert cli.main(words) == 0 and {path.name for path in results.iterdir()} == {"a", "b"}
    shutil.rmtree(results)
    (folder / "b.tar").write_bytes((folder / "b.tar").read_bytes()[:2000])
    assert cli.main(words) == 1 and "b.tar" in capsys.readouterr().err and not results.exists()


def test_a_person_at_a_terminal_sees_what_is_done(tar: Path, loaded, capsys, monkeypatch) -> None:
    save_sequence(tar.with_name("000008.tar"), rendered.sequence(2))
    words = ["eval", str(tar.parent), "--against", "none"]
    assert cli.main(words) == 0 and capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert cli.main(words) == 0
    said = capsys.readouterr().err
    assert said.startswith(
        f"dkt eval: looking at {tar.parent}\ndkt eval: rendered sequences, 2 recordings; loading nano"
    )
    assert "reading 000007 (1 of 2)" in said and "000008 (2 of 2):   0%" in said


def test_sigterm_leaves_no_empty_folder(tar: Path, loaded, monkeypatch) -> None:
    out = tar.parent / "out"

    def stop(*given: object, **options: object) -> None:
        assert out.is_dir()
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("goes on")

    monkeypatch.setattr("dkt_ros.evaluation.running.evaluate", stop)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a program that ran here earlier may have left its own
    try:
        with pytest.raises(SystemExit, match="143"):
            cli.main(["eval", str(tar), "--out", str(out)])
        assert not out.exists() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def test_parameters_of_the_node_are_for_the_node(tar: Path, loaded, capsys) -> None:
    assert cli.main(["eval", str(tar), "--node-parameter", "max_age:=0.0"]) == 1
    assert "--node-parameter: there is no node in this process; give --through node" in capsys.readouterr().err
    assert cli.main(["eval", str(tar), "--through", "node", "--node-parameter", "max_age"]) == 1
    assert "--node-parameter 'max_age': must be NAME:=VALUE" in capsys.readouterr().err


def test_topics_are_chosen_of_bags_only(tar: Path, loaded, capsys) -> None:
    assert cli.main(["eval", str(tar), "--truth", "/true/depth"]) == 1
    assert f"{tar}: no bag; leave out the options that choose topics of a bag" in capsys.readouterr().err
    bag = write_sequence(rendered.sequence(3), tar.parent / "bag")
    assert cli.main(["eval", str(bag), "--truth", "/no/such"]) == 1
    assert "/no/such" in capsys.readouterr().err
    for option in ("--every", "--first"):
        assert cli.main(["eval", str(bag), option, "0"]) == 1
        assert f"{option} 0: must be 1 or more" in capsys.readouterr().err
    assert cli.main(["eval", str(bag), "--subset", "test"]) == 1
    assert "there is no subset to choose here, only of a published set" in capsys.readouterr().err
    notes = tar.with_name("notes.txt")
    notes.write_text("no bag")
    assert cli.main(["eval", str(notes)]) == 1
    assert f"{notes}: neither a bag (" in capsys.readouterr().err
    assert loaded == []


def test_a_full_disk_is_told_with_the_remedy(tar: Path, loaded, capsys, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dkt_ros.evaluation.videos.Spool.append", full)
    assert cli.main(["eval", str(tar)]) == 1
    said = capsys.readouterr().err
    assert "000007.tar: temporary files fill the disk of " in said and "set TMPDIR to another one" in said


def test_the_node_without_ros_is_told_at_once(tar: Path, loaded, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "rclpy", None)
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
