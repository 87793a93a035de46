"""The ``dkt`` command: help at once, results whole or absent, errors that name the thing and the remedy."""

import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from dkt_ros import cli
from dkt_ros.evaluation.bag_writer import write_sequence

from . import rendered
from .scenes import HEIGHT, WIDTH, ScriptedEngine

HEAVY = ("torch", "diffusers", "transformers", "peft", "rclpy", "open3d", "matplotlib", "cv2", "numpy", "rosbags")


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """The scene's own engine in place of the trained one."""
    scripted = ScriptedEngine(normals=True)
    monkeypatch.setattr("dkt_ros.engines.load_engine", lambda name, options=None: scripted)
    return scripted


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return write_sequence(rendered.sequence(13), tmp_path / "my_bag")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["demo", "--help"], ["run", "--help"], ["eval", "--help"], ["doctor", "--help"]]
)
def test_help_teaches_by_example_and_imports_nothing_heavy(arguments: list[str]) -> None:
    program = (
        "import sys\nfrom dkt_ros.cli import main\ntry:\n    main(sys.argv[1:])\nexcept SystemExit: pass\n"
        f"print('HEAVY:', [m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("HEAVY: []"), done.stdout[-200:]
    assert "  dkt " in done.stdout.split("positional arguments")[0].split("options:")[0]


def test_run_on_a_bag_gives_metres(engine: ScriptedEngine, bag: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "out"
    assert cli.main(["run", str(bag), "--out", str(out)]) == 0
    with np.load(out / "depth.npz", allow_pickle=False) as result:
        assert set(result.files) == {"stamps_ns", "depth", "normals", "provenance", "scale_and_shift", "meta"}
        assert result["depth"].shape == (13, HEIGHT, WIDTH) and result["depth"].dtype == np.float32
        truth = rendered.sequence(13).depth
        np.testing.assert_allclose(np.nanmedian(np.abs(result["depth"] - truth)), 0, atol=0.01)
        assert result["normals"].shape == (13, HEIGHT, WIDTH, 3)
        assert list(np.diff(result["stamps_ns"])) == [100_000_000] * 12
        assert set(np.unique(result["provenance"])) <= {0, 1, 2}
        meta = json.loads(str(result["meta"]))
    assert (meta["unit"], meta["engine"], meta["input"]) == ("metres along Z", "scripted", "my_bag")
    assert (meta["intrinsics"]["fx"], meta["intrinsics"]["width"]) == (70.0, WIDTH)
    assert sorted(path.name for path in out.iterdir()) == ["depth.npz", "preview.mp4"]
    assert "13 frames, metres along Z" in capsys.readouterr().out


@pytest.fixture(params=["video", "folder"])
def rgb_only(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    pictures = rendered.sequence(7).rgb[..., ::-1]
    if request.param == "folder":
        (tmp_path / "pictures").mkdir()
        for index, picture in enumerate(pictures):
            cv2.imwrite(str(tmp_path / "pictures" / f"{index:03d}.png"), picture)
        return tmp_path / "pictures"
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (WIDTH, HEIGHT))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write MP4")
    for picture in pictures:
        writer.write(np.ascontiguousarray(picture))
    writer.release()
    return tmp_path / "clip.mp4"


def test_run_without_a_sensor_gives_disparity(engine: ScriptedEngine, rgb_only: Path, tmp_path: Path) -> None:
    assert cli.main(["run", str(rgb_only), "--fps", "10", "--out", str(tmp_path / "out")]) == 0
    with np.load(tmp_path / "out" / "depth.npz", allow_pickle=False) as result:
        assert "depth" not in result.files and result["disparity"].shape == (7, HEIGHT, WIDTH)
        assert list(result["stamps_ns"][:2]) == [0, 100_000_000]
        assert (result["provenance"] == 0).all()
        assert json.loads(str(result["meta"]))["unit"] == "relative disparity, larger is nearer"


def test_ctrl_c_leaves_no_half_written_file(bag: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def stop(calls: int) -> None:
        if calls == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr("dkt_ros.engines.load_engine", lambda name, options=None: ScriptedEngine(broken=stop))
    out = tmp_path / "out"
    assert cli.main(["run", str(bag), "--out", str(out)]) == 130
    assert list(out.iterdir()) == []
    assert "no half-written file" in capsys.readouterr().err


def test_a_later_failure_keeps_the_earlier_result(
    engine: ScriptedEngine, bag: Path, tmp_path: Path, monkeypatch
) -> None:
    out = tmp_path / "out"
    assert cli.main(["run", str(bag), "--out", str(out)]) == 0
    before = (out / "depth.npz").read_bytes()
    monkeypatch.setattr(os, "replace", lambda *names: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    assert cli.main(["run", str(bag), "--out", str(out)]) == 1
    assert (out / "depth.npz").read_bytes() == before
    assert sorted(path.name for path in out.iterdir()) == ["depth.npz", "preview.mp4"]


def test_pictures_that_change_size_are_counted_not_lost_silently(
    engine: ScriptedEngine, tmp_path: Path, capsys
) -> None:
    for index in range(12):
        side = 60 if index != 6 else 30
        cv2.imwrite(str(tmp_path / f"{index:03d}.png"), np.zeros((side, 80, 3), np.uint8))
    (tmp_path / "003.png").write_bytes(b"not a picture")
    assert cli.main(["run", str(tmp_path), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "1 times: pictures of another size than the first one" in said and "1 times: 003.png: not a picture" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "absent.mp4", "--out", "o"], "absent.mp4: no such file or folder"),
        (["run", "empty", "--out", "o"], "empty: neither a bag nor pictures"),
        (["run", "notes.txt", "--out", "o"], "notes.txt: no video that OpenCV can read"),
        (["run", "my_bag", "--out", "o", "--image", "/nope"], "topic '/nope' is not in the bag; it has /camera/"),
        (["run", "my_bag", "--out", "o", "--clip-length", "7"], "clip_length 7: engine 'scripted' accepts 1, 5, 9, 13"),
        (["run", "my_bag", "--out", "o", "--fps", "0"], "--fps 0"),
        (["eval", "absent"], "absent: no such file or folder"),
        (["eval", "my_bag", "--near", "2"], "range 2.0..1.5 m"),
        (["demo", "--bag", "absent"], "absent: no such file or folder"),
    ],
)
def test_errors_name_the_thing_and_the_remedy(
    arguments: list[str], words: str, engine: ScriptedEngine, bag: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("hello")
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"dkt {arguments[0]}: ") and words in said and said.count("\n") == 1


def test_eval_on_a_bag_prints_the_table_and_writes_every_number(
    engine: ScriptedEngine, bag: Path, tmp_path: Path, capsys
) -> None:
    scores, pictures = tmp_path / "scores.json", tmp_path / "pictures"
    assert cli.main(["eval", str(bag), "--json", str(scores), "--pictures", str(pictures)]) == 0
    said = capsys.readouterr().out
    assert "| ours " in said and "13 of 13 frames of 1 video" in said and "bar: 0.50" in said
    read = json.loads(scores.read_text())
    ours, sensor = (read["mean"][name]["C"]["transparent"]["rel"] for name in ("ours", "raw sensor"))
    assert ours < sensor / 2  # the scripted engine knows the truth
    assert (pictures / "my_bag.png").exists()


def test_eval_on_a_cut_off_bag_says_so_once_and_scores_the_rest(engine: ScriptedEngine, tmp_path: Path, capsys) -> None:
    sequence = rendered.sequence(60)
    sequence.depth[:] += np.random.default_rng(1).normal(0, 0.01, sequence.depth.shape)
    folder = write_sequence(sequence, tmp_path / "my_bag")
    (file,) = folder.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: int(0.8 * file.stat().st_size)])
    assert cli.main(["eval", str(folder), "--json", str(tmp_path / "scores.json")]) == 0
    said = capsys.readouterr()
    assert said.err.count("mcap recover") == 1 and str(folder) in said.err
    read = json.loads((tmp_path / "scores.json").read_text())
    assert 5 < read["videos"][0]["answered"] < 60 and read["problems"]


def test_doctor_says_what_is_there_and_the_command_for_what_is_not(capsys, monkeypatch) -> None:
    from importlib.metadata import PackageNotFoundError

    from dkt_ros.commands import doctor

    cli.main(["doctor"])
    assert "numpy" in capsys.readouterr().out

    def nothing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", nothing)
    assert cli.main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "MISSING  torch" in said and "pip install torch" in said and "`dkt demo` cannot run here" in said
