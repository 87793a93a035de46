"""The ``dkt`` command: help at once, results whole or absent, errors that name the thing and the remedy."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dkt_ros import cli
from dkt_ros.evaluation.bag_writer import write_sequence
from dkt_ros.sources import open_source

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
    assert not out.exists()
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
    assert "1x pictures of another size than the first one, left out" in said
    assert "1x 003.png: not a picture" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "absent.mp4", "--out", "o"], "absent.mp4: no such file or folder"),
        (["run", "empty", "--out", "o"], "empty: neither a bag nor pictures"),
        (["run", "notes.txt", "--out", "o"], "notes.txt: no video that OpenCV can read"),
        (["run", "009000.tar", "--out", "o"], "if it is a rendered sequence: `dkt eval 009000.tar` reads it"),
        (["run", "broken", "--out", "o"], "broken: no frame could be read"),
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
    (tmp_path / "009000.tar").write_bytes(bytes(1024))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "0.png").write_bytes(b"not a picture")
    assert cli.main(arguments) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"dkt {arguments[0]}: ") and words in said and said.count("\n") == 1
    assert not (tmp_path / "o").exists()


def picture_video(path: Path, size: tuple[int, int], count: int, seed: int = 0) -> Path:
    """A folder of pictures of one noisy scene, or where ``path`` ends in .mp4, a video of it."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.integers(0, 255, (12, 16, 3), np.uint8), size, interpolation=cv2.INTER_CUBIC)
    if path.suffix == ".mp4":
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 10.0, size)
        if not writer.isOpened():
            pytest.skip("this OpenCV cannot write MP4")
        for _ in range(count):
            writer.write(coarse)
        writer.release()
        return path
    path.mkdir()
    for index in range(count):
        cv2.imwrite(str(path / f"{index:04d}.png"), coarse)
    return path


@pytest.mark.parametrize("size", [(60, 80), (97, 61), (33, 131)])
@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_short_portrait_and_odd_inputs_come_out_whole_from_the_bundled_engine(size, count, tmp_path: Path) -> None:
    folder = picture_video(tmp_path / "pictures", size, count)
    assert cli.main(["run", str(folder), "--out", str(tmp_path / "out"), "--threads", "1"]) == 0
    with np.load(tmp_path / "out" / "depth.npz", allow_pickle=False) as result:
        assert result["disparity"].shape == (count, size[1], size[0])
        assert np.isfinite(result["disparity"]).all() and np.isnan(result["scale_and_shift"]).all()
        assert result["normals"].shape == (count, size[1], size[0], 3)
    assert (tmp_path / "out" / "preview.mp4").exists()


def test_a_constant_prediction_gives_disparity_and_no_metres(bag: Path, tmp_path: Path, monkeypatch) -> None:
    class Flat(ScriptedEngine):
        def predict(self, clip, trust=None):
            prediction = super().predict(clip, trust)
            return replace(prediction, disparity=np.full_like(prediction.disparity, self.calls))

    monkeypatch.setattr("dkt_ros.engines.load_engine", lambda name, options=None: Flat())
    assert cli.main(["run", str(bag), "--out", str(tmp_path / "out")]) == 0
    with np.load(tmp_path / "out" / "depth.npz", allow_pickle=False) as result:
        assert "depth" not in result.files
        np.testing.assert_allclose(result["disparity"], 1.0)  # the level of the first clip is kept


def test_options_reach_the_engine_as_they_were_given(bag: Path, tmp_path: Path, monkeypatch) -> None:
    from dkt_ros.engines import EngineOptions

    given = {}

    def load(name, options=None):
        given[name] = options
        return ScriptedEngine()

    monkeypatch.setattr("dkt_ros.engines.load_engine", load)
    run = ["run", str(bag), "--out", str(tmp_path / "out")]
    assert cli.main(run) == 0
    options = "--weights w --profile reference --steps 3 --mode windowed --device cpu --precision bfloat16 --threads 1"
    more = "--vae tiny_both --compile --stitching eval --normals-axes=-x+y-z"
    assert cli.main([*run, "--engine", "dkt", *options.split(), *more.split()]) == 0
    assert given["nano"] == EngineOptions()
    assert given["dkt"] == EngineOptions(
        Path("w"), "reference", 3, "windowed", "cpu", "bfloat16", 1, "tiny_both", True, "eval", "-x+y-z"
    )
    assert cli.main([*run, "--engine", "dvd", "--weights", "base", "out/weights.safetensors"]) == 0
    assert given["dvd"].weights == (Path("base"), Path("out/weights.safetensors"))


def test_an_option_that_the_engine_does_not_have_is_one_line(bag: Path, tmp_path: Path, capsys) -> None:
    assert cli.main(["run", str(bag), "--out", str(tmp_path / "out"), "--steps", "5"]) == 1
    said = capsys.readouterr().err
    assert said == "dkt run: steps = 5: engine 'nano' has no such choice; leave it out\n"
    weights = tmp_path / "my.safetensors"
    run = ["run", str(bag), "--out", str(tmp_path / "out"), "--weights", str(weights)]
    assert cli.main(run) == 1
    assert capsys.readouterr().err == f"dkt run: {weights}: no such weight file or folder\n"
    weights.touch()
    assert cli.main(run) == 1
    assert "for a file that training wrote, choose engine completion (or dkt, dvd)" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("engine", ["dkt", "dvd", "depthlab"])
def test_missing_weights_are_one_line_that_names_them(engine: str, bag: Path, tmp_path: Path, capsys) -> None:
    run = ["run", str(bag), "--out", str(tmp_path / "out"), "--engine", engine, "--device", "cpu"]
    for more, words in (([], "weights"), (["--weights", str(tmp_path / "nowhere")], str(tmp_path / "nowhere"))):
        assert cli.main([*run, *more]) == 1
        said = capsys.readouterr().err
        assert said.startswith("dkt run: ") and words in said and said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_cut_is_counted_and_nothing_is_stitched_across_it(engine: ScriptedEngine, tmp_path: Path, capsys) -> None:
    folder = picture_video(tmp_path / "pictures", (WIDTH, HEIGHT), 6)
    for picture in picture_video(tmp_path / "others", (WIDTH, HEIGHT), 6, seed=1).iterdir():
        picture.rename(folder / f"x{picture.name}")
    run = ["run", str(folder), "--out", str(tmp_path / "out")]
    assert cli.main(run) == 0
    assert "scene cuts: 1; nothing is stitched across them" in capsys.readouterr().out
    assert [clip.starts for clip in engine.clips].count(True) == 2
    with np.load(tmp_path / "out" / "depth.npz", allow_pickle=False) as result:
        assert json.loads(str(result["meta"]))["cuts"] == 1 and len(result["disparity"]) == 12
    assert cli.main([*run, "--no-cuts"]) == 0
    assert "scene cuts" not in capsys.readouterr().out


def test_videos_without_a_frame_are_refused_and_leave_nothing(engine: ScriptedEngine, tmp_path: Path, capsys) -> None:
    whole = picture_video(tmp_path / "whole.mp4", (160, 120), 30).read_bytes()
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    picture_video(tmp_path / "none.mp4", (160, 120), 0)
    out = tmp_path / "out"
    for name, words in (("empty", "the file is empty"), ("cut", "cut off; copy it again"), ("none", "")):
        assert cli.main(["run", str(tmp_path / f"{name}.mp4"), "--out", str(out)]) == 1
        said = capsys.readouterr().err
        assert said.startswith("dkt run: ") and f"{name}.mp4" in said and words in said and said.count("\n") == 1
        assert not out.exists() or not list(out.iterdir())


#: A real full disk needs root; a limit on the size of a file makes the very same calls fail.
FULL = """
import resource, sys
import numpy as np
from dkt_ros import cli
from test.scenes import ScriptedEngine
import dkt_ros.engines
dkt_ros.engines.load_engine = lambda name, options=None: ScriptedEngine()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
sys.exit(cli.main(["run", sys.argv[2], "--out", sys.argv[3]]))
"""


@pytest.mark.parametrize("limit", [5_000, 100_000, 200_000])
@pytest.mark.parametrize("before", [False, True])
def test_a_full_disk_leaves_no_half_written_result(limit: int, before: bool, bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"

    def run(limit: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", FULL, str(limit), str(bag), str(out)]
        return subprocess.run(command, capture_output=True, text=True)

    if before:
        assert run(10**9).returncode == 0
    kept = {path.name: path.read_bytes() for path in out.iterdir()} if before else {}
    done = run(limit)
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith(f"dkt run: cannot write to {out}: ") and said.endswith("give another folder with --out")
    assert out.exists() == before, "a folder made for nothing does not stay"
    assert ({path.name: path.read_bytes() for path in out.iterdir()} if before else {}) == kept


ARRAYS = """
import resource, sys
from pathlib import Path
import numpy as np
from dkt_ros.array_file import ArrayFile
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
noise = np.random.default_rng(0).integers(0, 255, (50, 1000), np.uint8)
with ArrayFile(Path(sys.argv[2]) / "depth.npz") as arrays:
    for frame in noise:
        arrays.append("first", frame)
        arrays.append("second", frame)
"""


@pytest.mark.parametrize("limit", [10_000, 60_000])
def test_arrays_that_fit_one_by_one_but_not_together_leave_nothing(limit: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", ARRAYS, str(limit), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stderr.splitlines()[-1].startswith("OSError")
    assert list(tmp_path.iterdir()) == []


PREVIEW = """
import resource, sys
from pathlib import Path
import numpy as np
import cv2
from dkt_ros.frames import Estimate, Frame
from dkt_ros.preview import Preview
if sys.argv[1] == "pictures":
    class Closed:
        def __init__(self, *how): pass
        fourcc = staticmethod(lambda *letters: 0)
        def isOpened(self): return False
    cv2.VideoWriter = Closed
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
rng = np.random.default_rng(0)
with Preview(Path(sys.argv[3]), 10.0) as preview:
    for index in range(20):
        rgb = rng.integers(0, 255, (60 + 60 * index * (sys.argv[1] == "pictures"), 80, 3), np.uint8)
        nothing = np.zeros(rgb.shape[:2], np.uint8)
        noise = rng.random(rgb.shape[:2], np.float32)
        preview.add(Estimate(Frame(index, "", rgb), noise, None, None, "none", nothing, noise, None))
"""


@pytest.mark.parametrize("kind", ["video", "pictures"])
def test_a_preview_that_cannot_be_written_whole_is_not_there(kind: str, tmp_path: Path) -> None:
    def run(limit: int) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PREVIEW, kind, str(limit), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True)

    done = run(20_000)
    assert done.returncode == 1 and "OSError" in done.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
    assert run(10**9).returncode == 0
    (result,) = tmp_path.iterdir()
    assert result.name == ("preview.mp4" if kind == "video" else "preview")
    assert run(20_000).returncode == 1 and list(tmp_path.iterdir()) == [result], "what was there before stays"
    if kind == "pictures":
        assert len(list(result.iterdir())) == 20


def test_memory_that_is_too_small_is_one_line(bag: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    import torch

    def full(calls: int) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

    monkeypatch.setattr("dkt_ros.engines.load_engine", lambda name, options=None: ScriptedEngine(broken=full))
    assert cli.main(["run", str(bag), "--out", str(tmp_path / "out")]) == 1
    said = capsys.readouterr().err.strip().splitlines()
    assert said[0] == "out of GPU memory: from now on the model sees 5 frames at once instead of 9"
    assert said[-1].startswith("dkt run: out of GPU memory, and nothing is left to give up") and len(said) == 2
    assert not (tmp_path / "out").exists()


def test_numbers_in_names_count_as_numbers(engine: ScriptedEngine, tmp_path: Path) -> None:
    for number in (10, 9, 100, 2):
        picture = np.full((HEIGHT, WIDTH, 3), number, np.uint8)
        assert cv2.imwrite(str(tmp_path / f"view{number}.png"), picture)
    source = open_source(tmp_path)
    assert [int(frame.rgb[0, 0, 0]) for frame in source.frames()] == [2, 9, 10, 100]


def test_a_file_where_results_are_to_go_is_told_before_a_model_is_loaded(bag: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / "taken").write_text("mine")
    assert cli.main(["run", str(bag), "--engine", "none", "--out", str(tmp_path / "taken" / "below")]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'taken'} is a file; give another folder with --out" in said and "free space" not in said


def test_ctrl_c_inside_a_library_that_makes_another_error_of_it(bag: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def load(name, options=None):
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        except KeyboardInterrupt:
            raise RuntimeError("could not determine the shape") from None

    monkeypatch.setattr("dkt_ros.engines.load_engine", load)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert cli.main(["run", str(bag), "--out", str(tmp_path / "out")]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "dkt run: stopped; no half-written file is left\n"


def test_what_an_engine_refuses_on_the_way_is_one_line(bag: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    def refuse(calls: int) -> None:
        raise ValueError("count = 9, but only 8 frames came; count the recording's frames first")

    monkeypatch.setattr("dkt_ros.engines.load_engine", lambda name, options=None: ScriptedEngine(broken=refuse))
    assert cli.main(["run", str(bag), "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.strip() == (
        "dkt run: count = 9, but only 8 frames came; count the recording's frames first"
    )
    assert not (tmp_path / "out").exists()


def test_the_colours_of_the_preview_are_a_choice(engine: ScriptedEngine, rgb_only: Path, tmp_path: Path) -> None:
    pixels = []
    for colours in ("turbo", "spectral"):
        out = tmp_path / colours
        assert cli.main(["run", str(rgb_only), "--out", str(out), "--colours", colours]) == 0
        pixels.append(cv2.VideoCapture(str(out / "preview.mp4")).read()[1])
    left, right = (
        np.abs(np.subtract(*(each[:, half] for each in map(np.float32, pixels))))
        for half in (slice(0, WIDTH - 8), slice(WIDTH + 8, None))
    )
    assert left.mean() < 8 < right.mean(), "the pictures are the same, the depth has other colours"


def test_eval_on_a_bag_prints_the_table_and_writes_every_number(
    engine: ScriptedEngine, bag: Path, tmp_path: Path, capsys
) -> None:
    assert cli.main(["eval", str(bag), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "| ours " in said and "13 of 13 frames of 1 video" in said and "bar: 0.50" in said
    read = json.loads((tmp_path / "out" / "report.json").read_text())
    ours, sensor = (read["mean"][name]["C"]["transparent"]["rel"] for name in ("ours", "raw sensor"))
    assert ours < sensor / 2  # the scripted engine knows the truth


def test_eval_on_a_cut_off_bag_says_so_once_and_scores_the_rest(engine: ScriptedEngine, tmp_path: Path, capsys) -> None:
    sequence = rendered.sequence(60)
    sequence.depth[:] += np.random.default_rng(1).normal(0, 0.01, sequence.depth.shape)
    folder = write_sequence(sequence, tmp_path / "my_bag")
    (file,) = folder.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: int(0.8 * file.stat().st_size)])
    assert cli.main(["eval", str(folder), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert said.err.count("mcap recover") == 1 and str(folder) in said.err
    read = json.loads((tmp_path / "out" / "report.json").read_text())
    assert 5 < read["videos"][0]["answered"] < 60 and read["problems"]


def test_a_reader_who_has_had_enough_is_no_error() -> None:
    command = f"{shlex.quote(sys.executable)} -m dkt_ros.cli models list | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


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
