"""The job with real worker processes, killed, starved and interrupted; only their renderer is a stand-in.

The last test renders with Blender and needs the environment of ``make render-env`` (or DKT_RENDER_PYTHON).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dkt_ros.training.render import crew
from dkt_ros.training.render.__main__ import main
from dkt_ros.training.render.contact_sheet import draw_sheet, sheet_path, sheet_seeds
from dkt_ros.training.render.job import Job, JobError, read_job, settle
from dkt_ros.training.render.recipe import load_scene_recipe
from dkt_ros.training.render.shards import Shard, parse_shard
from dkt_ros.training.sequences import load_sequence, sequence_files

ROOT = Path(__file__).parents[2]
PYTHON = Path(os.environ.get("DKT_RENDER_PYTHON", ROOT / ".venv-render/bin/python"))
RENDERER = f"{sys.executable} -m test.training.stand_in_renderer"

Trouble = Callable[..., None]


@pytest.fixture
def trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trouble:
    """Says what goes wrong from now on; see ``stand_in_renderer``."""
    notes = tmp_path / "notes"
    notes.mkdir()
    monkeypatch.setenv("DKT_STAND_IN_NOTES", str(notes))

    def set_trouble(**what: Any) -> None:
        monkeypatch.setenv("DKT_STAND_IN", json.dumps({name.replace("_", " "): value for name, value in what.items()}))

    return set_trouble


def arguments(out: Path, *more: str, count: int = 4, workers: int = 1) -> list[str]:
    job = f"dataset --recipe full --frames 2 --seed 1000 --count {count} --workers {workers}".split()
    return [*job, "--out", str(out), "--renderer", RENDERER, *more]


def seeds_in(out: Path) -> list[int]:
    """Seeds of the sequences on disk, each of them whole; nothing half-written beside them."""
    for path in sequence_files(out):
        load_sequence(path)
    left = {path.name for path in out.iterdir()} - {path.name for path in sequence_files(out)}
    assert left <= {"job.json", "sheets", "records", "logs"}
    return [int(path.stem) for path in sequence_files(out)]


def records(out: Path) -> dict[int, dict[str, Any]]:
    lines = [line for path in sorted((out / "records").glob("*.jsonl")) for line in path.read_text().splitlines()]
    return {record["seed"]: record for record in map(json.loads, lines)}


def test_everything_is_rendered_once_and_the_same_command_then_finds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    assert main(arguments(out, workers=2)) == 0
    assert seeds_in(out) == [1000, 1001, 1002, 1003]
    assert "4 rendered, 0 rejected, 0 failed, 0 already there" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in sequence_files(out)}
    assert main(["dataset", "--out", str(out)]) == 0, "the folder knows its job; nothing to render needs no renderer"
    assert "0 rendered, 0 rejected, 0 failed, 4 already there" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in sequence_files(out)}
    assert load_sequence(out / "001002.tar").meta["seed"] == 1002
    assert not list((out / "logs").glob("*")) or all(log.stat().st_size for log in (out / "logs").iterdir())


def test_what_went_wrong_is_named_and_counted_and_only_that_is_tried_again(
    tmp_path: Path, trouble: Trouble, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    trouble(reject=[1001], no_scene=[1002], raises=[1003], dies=[1004], dies_once=[1005])
    assert main(arguments(out, count=7)) == 1
    said = capsys.readouterr()
    assert "3 rendered, 2 rejected, 2 failed, 0 already there, 3 workers died" in said.out
    assert seeds_in(out) == [1000, 1005, 1006], "a dead worker's seed is tried a second time"
    found = records(out)
    assert {seed: found[seed]["outcome"] for seed in found} == {
        1001: "rejected", 1002: "rejected", 1003: "failed", 1004: "failed", 1005: "rendered",
    }  # fmt: skip
    assert "depth" in found[1001]["reasons"][0] and "no suitable scene" in found[1002]["reasons"][0]
    assert "the stand-in cannot do this one" in found[1003]["reasons"][0]
    for word in ("2 workers died over it", "SIGKILL", "last words", str(out / "logs")):
        assert word in found[1004]["reasons"][0] and word in said.err
    assert len(found[1005]["deaths"]) == 1 and "seed 1005 was rendered, but before: a worker was killed" in said.err

    trouble(reject=[1003])
    assert main(arguments(out, count=7)) == 0
    assert "1 rendered, 1 rejected, 0 failed, 3 already there, 2 rejected before" in capsys.readouterr().out
    assert seeds_in(out) == [1000, 1004, 1005, 1006]


def test_no_log_is_named_that_is_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(tmp_path, "--renderer", "sh -c 'kill -9 $$'", count=1)) == 1
    said = capsys.readouterr().err
    assert "SIGKILL" in said and "and said nothing" in said and "its log is" not in said
    assert not list((tmp_path / "logs").iterdir())


@pytest.mark.parametrize("beneath", ["", "data"])
def test_a_folder_that_cannot_be_one_is_named_with_the_remedy(
    tmp_path: Path, beneath: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert main(arguments(file / beneath)) == 2
    said = capsys.readouterr().err
    assert said == f"cannot write to {file / beneath}: {file} is a file; give another folder with --out\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("there", [False, True])
def test_a_folder_that_may_not_be_written_is_named_with_the_remedy(
    tmp_path: Path, there: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path if there else tmp_path / "data"
    tmp_path.chmod(0o555)
    try:
        assert main(arguments(out)) == 2
    finally:
        tmp_path.chmod(0o755)
    assert f"cannot write to {out}: Permission denied; give another folder with --out" in capsys.readouterr().err


def test_five_failures_in_a_row_end_the_job(
    tmp_path: Path, trouble: Trouble, capsys: pytest.CaptureFixture[str]
) -> None:
    trouble(raises=list(range(1000, 1100)))
    assert main(arguments(tmp_path / "data", count=100)) == 2
    said = capsys.readouterr().err
    assert "5 seeds failed in a row" in said and "the stand-in cannot do this one" in said
    assert len(records(tmp_path / "data")) == 5


def test_a_worker_is_replaced_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew, "PER_PROCESS", 2)
    assert main(arguments(tmp_path, workers=1)) == 0
    processes = [load_sequence(path).meta["process"] for path in sequence_files(tmp_path)]
    assert processes[0] == processes[1] != processes[2] == processes[3]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(folder)], capture_output=True
    ).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_job_with_nothing_half_written(
    small_disk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = small_disk / "data"
    assert main(arguments(out, count=30)) == 3
    said = capsys.readouterr().err
    assert "no space left" in said and str(out) in said and "run the same command to go on" in said
    whole = seeds_in(out)
    assert 0 < len(whole) < 30
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert main(arguments(out, count=30)) == 0, "room was made"
    assert len(seeds_in(out)) == 30


PLANE = """
import bpy, numpy as np
from types import SimpleNamespace
from dkt_ros.training.render import passes
from dkt_ros.training.render.camera import look_at
from dkt_ros.training.render.stage import install_camera

bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_plane_add(size=6)
poses = np.stack([look_at(np.array([x, -0.4, 0.5]), np.zeros(3), 0.5) for x in (0.0, 0.1, 0.2)])
path = SimpleNamespace(camera_to_world=poses, focal=0.85)
install_camera(path)
passes.configure(800, 600, 3, 1, 0)
try:
    passes.geometry(SimpleNamespace(path=path))
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}: run `make render-env`")
def test_blender_on_a_full_disk_is_told_from_other_failures(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)  # for less than two pictures
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TMPDIR": str(small_disk)}
    done = subprocess.run([str(PYTHON), "-c", PLANE], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert "No space left on device" in done.stdout, done.stderr
    assert not list(small_disk.glob("dkt_render_*"))


def test_a_quota_stops_the_job_likewise(tmp_path: Path, trouble: Trouble, capsys: pytest.CaptureFixture[str]) -> None:
    trouble(bytes=20_000)
    assert main(arguments(tmp_path / "data")) == 3
    assert "no space left" in capsys.readouterr().err
    assert seeds_in(tmp_path / "data") == []


@pytest.mark.parametrize("wanted", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_the_workers_and_leaves_whole_files_only(
    tmp_path: Path, trouble: Trouble, wanted: signal.Signals
) -> None:
    out = tmp_path / "data"
    trouble(seconds=0.2)
    command = [sys.executable, "-m", "dkt_ros.training.render", *arguments(out, count=500, workers=2)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        while len(list(out.glob("*.tar"))) < 2 and process.poll() is None:
            time.sleep(0.02)
        begun = time.monotonic()
        process.send_signal(wanted)
        _, said = process.communicate()
    assert process.returncode == 130 and "every file is whole, run the same command to go on" in said
    assert time.monotonic() - begun < 30
    assert 2 <= len(seeds_in(out)) < 500
    assert not _running(str(out)), "no worker outlives the job"


def test_a_killed_job_leaves_no_orphans_and_its_litter_is_swept(tmp_path: Path, trouble: Trouble) -> None:
    out = tmp_path / "data"
    trouble(seconds=0.2)
    command = [sys.executable, "-m", "dkt_ros.training.render", *arguments(out, count=500, workers=2)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        while not (out / "001000.tar").exists() and process.poll() is None:
            time.sleep(0.02)
        process.kill()
    for _ in range(600):
        if not _running(str(out)):
            break
        time.sleep(0.1)
    assert not _running(str(out)), "workers end when their parent is gone"
    litter = out / f".scratch-{os.uname().nodename}-{process.pid}-1"
    litter.mkdir(exist_ok=True)
    (litter / "001499.tar").write_bytes(b"a part of it")
    assert main(["dataset", "--out", str(out), "--shard", "1/500"]) == 0
    seeds_in(out)


def _running(word: str) -> list[str]:
    """Commands of the processes that name ``word``."""
    commands = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_text()
        except OSError:
            continue
        if word in command:
            commands.append(command)
    return commands


def test_a_file_cut_short_is_named_and_rendered_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(arguments(tmp_path, count=3))
    cut, empty = tmp_path / "001000.tar", tmp_path / "001002.tar"
    os.truncate(cut, cut.stat().st_size // 2)
    os.truncate(empty, 0)
    capsys.readouterr()
    assert main(arguments(tmp_path, count=3)) == 0
    said = capsys.readouterr()
    assert f"{cut} was cut short" in said.err and f"{empty} was cut short" in said.err
    assert "2 rendered, 0 rejected, 0 failed, 1 already there, 2 had been cut short" in said.out
    assert seeds_in(tmp_path) == [1000, 1001, 1002]


def test_another_job_in_the_same_folder_is_refused_and_the_difference_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(arguments(tmp_path, count=2))
    capsys.readouterr()
    assert main(arguments(tmp_path, "--samples", "77", count=2)) == 2
    said = capsys.readouterr().err
    assert "recipe.samples is 8 there and 77 here" in said and "recipe.frames" not in said and "--extend" not in said
    assert main(arguments(tmp_path, count=4)) == 2
    assert "seeds.count is 2 there and 4 here" in (said := capsys.readouterr().err) and "--extend" in said
    assert main(arguments(tmp_path, "--extend", "--seed", "9500", count=4)) == 2
    assert "all in between" in capsys.readouterr().err
    assert main(arguments(tmp_path, "--extend", count=4)) == 0
    assert seeds_in(tmp_path) == [1000, 1001, 1002, 1003] and read_job(tmp_path / "job.json").count == 4


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda job: job | {"generator": 1}, "version 1 of the generator"),
        (lambda job: job | {"recipe": job["recipe"] | {"clutter": 0.123}}, "changed by hand"),
        (lambda job: {"seeds": {}}, "not a job file"),
    ],
)
def test_a_job_file_that_is_not_ours_is_refused(tmp_path: Path, change: Callable[..., Any], words: str) -> None:
    job = Job(load_scene_recipe("full"), 1000, 3)
    assert settle(tmp_path, job) == job == read_job(tmp_path / "job.json")
    path = tmp_path / "job.json"
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    for wanted in (job, None):
        with pytest.raises(JobError, match=words) as refused:
            settle(tmp_path, wanted)
        assert str(path) in str(refused.value)


def test_many_machines_may_begin_the_same_job_at_once(tmp_path: Path) -> None:
    recipe = load_scene_recipe("full")
    jobs = [Job(replace(recipe, frames=2 + number % 2), 1000, 5) for number in range(32)]

    def begin(job: Job) -> Job | str:
        try:
            return settle(tmp_path / "data", job)
        except JobError as error:
            return str(error)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(begin, jobs))
    first = read_job(tmp_path / "data" / "job.json")
    for job, answer in zip(jobs, answers, strict=True):
        assert answer == first if job == first else "recipe.frames" in str(answer)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["job.json"]


def test_shards_are_equal_disjoint_and_everything() -> None:
    seeds = range(1000, 1103)
    shares = [Shard(index, 8).of(seeds) for index in range(1, 9)]
    assert sorted(seed for share in shares for seed in share) == list(seeds)
    assert {len(share) for share in shares} == {12, 13}
    assert parse_shard("3/16") == Shard(3, 16)
    for wrong in ("0/4", "5/4", "3", "a/b"):
        with pytest.raises(ValueError, match=r"1 to N|I/N"):
            parse_shard(wrong)


def test_two_shards_at_the_same_time_share_the_folder_and_its_contact_sheet(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "dkt_ros.training.render", *arguments(tmp_path, count=9, workers=1), "--shard"]
    jobs = [subprocess.Popen([*command, f"{index}/2"], cwd=ROOT, stdout=subprocess.PIPE) for index in (1, 2)]
    said = [job.communicate()[0].decode() for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0]
    assert "5 rendered" in said[0] and "4 rendered" in said[1]
    assert seeds_in(tmp_path) == list(range(1000, 1009))
    processes = [load_sequence(path).meta["process"] for path in sequence_files(tmp_path)]
    assert len(set(processes[::2])) == 1 and len(set(processes)) == 2
    sheet = cv2.imread(str(sheet_path(tmp_path, sheet_seeds(1000))))
    assert draw_sheet(tmp_path, sheet_seeds(1000)) == []
    np.testing.assert_array_equal(sheet, cv2.imread(str(sheet_path(tmp_path, sheet_seeds(1000)))), "all nine are on it")


def test_a_contact_sheet_shows_its_scenes_and_names_what_it_cannot_show(tmp_path: Path) -> None:
    main(arguments(tmp_path, count=6))
    sheet = cv2.imread(str(tmp_path / "sheets" / "001000-001049.png"))
    assert sheet is not None
    picture = cv2.resize(load_sequence(tmp_path / "001000.tar").rgb[0], (160, 120), interpolation=cv2.INTER_AREA)
    found = cv2.matchTemplate(sheet, picture[..., ::-1].copy(), cv2.TM_SQDIFF)
    assert (found < 1000).sum() == 12, "first and middle frame of six scenes, all alike here"
    data = bytearray((tmp_path / "001003.tar").read_bytes())
    data[2000] ^= 1
    (tmp_path / "001003.tar").write_bytes(data)
    (fault,) = draw_sheet(tmp_path, sheet_seeds(1000))
    assert "001003" in fault
    smaller = cv2.imread(str(tmp_path / "sheets" / "001000-001049.png"))
    assert smaller.shape[0] < sheet.shape[0], "five scenes are one row"


def test_validate_names_every_bad_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(tmp_path)]) == 2 and "no SSSSSS.tar" in capsys.readouterr().err
    main(arguments(tmp_path, count=3))
    capsys.readouterr()
    assert main(["validate", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "real" in said and "3 good, 0 bad" in said and "noise: 1-sigma disparity error" in said
    os.truncate(tmp_path / "001001.tar", 5000)
    assert main(["validate", str(tmp_path)]) == 1
    said_now = capsys.readouterr()
    assert "001001.tar" in said_now.err and "2 good, 1 bad" in said_now.out
    assert f"then `dataset --out {tmp_path}` renders them again" in said_now.out
    (tmp_path / "job.json").unlink()
    assert main(["validate", str(tmp_path)]) == 1
    assert "renders them again" not in capsys.readouterr().out, "nobody knows of what recipe they were"


def test_help_teaches_at_once_and_without_blender() -> None:
    code = (
        "import sys; from dkt_ros.training.render.__main__ import main\n"
        "try: main(['dataset', '--help'])\n"
        "finally: print('slow:', {'numpy', 'cv2', 'yaml', 'tqdm', 'ray', 'bpy'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("--recipe full", "--shard", "--cluster", "held-out 9500..9599", "exit status", "slow: set()"):
        assert word in " ".join(done.stdout.split())


@pytest.mark.parametrize(("recipe", "first"), [("full", 1000), ("unseen", 9600)])
def test_what_training_must_never_see_begins_where_training_refuses_it(tmp_path: Path, recipe: str, first: int) -> None:
    trouble = ["dataset", "--recipe", recipe, "--out", str(tmp_path), "--count", "1", "--renderer", "true"]
    main(trouble)  # the renderer ends at once, so nothing is rendered; the job is written down before
    assert json.loads((tmp_path / "job.json").read_text())["seeds"]["first"] == first


def test_without_blender_it_names_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ImportError):
        import bpy  # noqa: F401
    assert main(["dataset", "--recipe", "full", "--out", str(tmp_path), "--workers", "1"]) == 2
    said = capsys.readouterr().err
    assert "make render-env" in said and sys.executable in said
    assert seeds_in(tmp_path) == []


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (["--recipe", "full", "--size", "160"], "WIDTHxHEIGHT"),
        (["--recipe", "full", "--frames", "0"], "at least 1"),
        (["--recipe", "full", "--shard", "0/4"], "1 to N"),
        (["--size", "160x96"], "--recipe"),
        (["--seed", "0"], "--recipe"),
        ([], "job.json"),
        (["--recipe", "nonesuch"], "nonesuch"),
    ],
)
def test_wrong_arguments_are_refused_by_name(
    tmp_path: Path, wrong: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status: Any = main(["dataset", "--out", str(tmp_path / "data"), *wrong])
    except SystemExit as ended:
        status = ended.code
    assert status == 2 and words in capsys.readouterr().err
    assert not sequence_files(tmp_path)


@pytest.mark.skipif(not PYTHON.exists(), reason=f"no {PYTHON}: run `make render-env`")
def test_blender_renders_a_small_job_that_passes_the_validator(tmp_path: Path) -> None:
    command = (
        "-m dkt_ros.training.render dataset --recipe full --seed 9003 --count 2 --size 64x48 --frames 2 --samples 1"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [str(PYTHON), *command.split(), "--workers", "2", "--out", str(tmp_path)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 rendered" in done.stdout
    assert seeds_in(tmp_path) == [9003, 9004]
    assert main(["validate", str(tmp_path)]) == 0
