"""Sequences on disk: what is written is what is read, to the stated error, and nothing else can be written."""

from __future__ import annotations

import os
import subprocess
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.frames import Intrinsics
from dkt_ros.training import sequences as module
from dkt_ros.training.sequences import (
    CLEAR_PLASTIC,
    GLASS,
    LIQUID,
    MATERIAL_NAMES,
    METAL,
    Sequence,
    SequenceError,
    frame_count,
    load_sequence,
    load_video,
    save_sequence,
    sequence_files,
    sequence_path,
)

from .toy import toy_sequence

T, H, W = 3, 7, 10
ROOT = Path(__file__).parents[2]
RENDER_PYTHON = Path(os.environ.get("DKT_RENDER_PYTHON", ROOT / ".venv-render/bin/python"))


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def poses(rng: np.random.Generator) -> np.ndarray:
    result = np.tile(np.eye(4), (T, 1, 1))
    for pose in result:
        turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        pose[:3, :3] = turn * np.sign(np.linalg.det(turn))
        pose[:3, 3] = rng.normal(size=3)
    return result


@pytest.fixture()
def sequence() -> Sequence:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.4, 1.0, (T, H, W)).astype(np.float32)
    background = depth + np.float32(0.1)
    background[1, 3, 3] = 40.0
    normals = unit(rng.normal(size=(T, H, W, 3))).astype(np.float16)
    sensor, stereo = np.round(depth, 3), np.round(background, 3)
    for array in (depth, background, normals, sensor, stereo):
        array[0, 0, :2] = np.nan
    return Sequence(
        rgb=rng.integers(0, 256, (T, H, W, 3), np.uint8),
        depth=depth,
        background_depth=background,
        sensor_depth=sensor,
        stereo_depth=stereo,
        normals=normals,
        material=rng.integers(0, 7, (T, H, W), np.uint8),
        instance=rng.integers(0, 9, (T, H, W), np.uint8),
        camera_to_world=poses(rng),
        intrinsics=Intrinsics(11.3, 12.7, 3.1, 4.6, W, H),
        stamps_ns=np.arange(T, dtype=np.int64) * 33_333_333,
        meta={"seed": 7, "objects": [{"family": "tumbler", "width": 0.07}]},
    )


def test_what_was_saved_is_what_is_loaded(tmp_path: Path, sequence: Sequence) -> None:
    path = sequence_path(tmp_path / "new" / "folder", 7)
    save_sequence(path, sequence)
    loaded = load_sequence(path)
    assert path.name == "000007.tar"
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no temporary file stays behind"
    for name in ("rgb", "material", "instance", "stamps_ns", "meta", "sensor_depth", "stereo_depth"):
        np.testing.assert_equal(getattr(loaded, name), getattr(sequence, name), name)
    for name in ("depth", "background_depth"):
        array, original = getattr(loaded, name), getattr(sequence, name)
        step = np.nanmax(sequence.background_depth, axis=(1, 2), keepdims=True) / 65535
        np.testing.assert_array_equal(np.isnan(array), np.isnan(original))
        assert np.nanmax(np.abs(array - original) / step) < 0.51, "one far surface coarsens no other frame"
    np.testing.assert_array_equal(np.isnan(loaded.normals), np.isnan(sequence.normals))
    cosine = (unit(loaded.normals.astype(float)) * unit(sequence.normals.astype(float))).sum(-1)
    assert np.degrees(np.arccos(np.nanmin(np.clip(cosine, -1, 1)))) < 0.45
    np.testing.assert_allclose(loaded.camera_to_world, sequence.camera_to_world, atol=1e-14)
    for field in fields(Intrinsics):
        assert getattr(loaded.intrinsics, field.name) == pytest.approx(getattr(sequence.intrinsics, field.name), 1e-14)
    for field in fields(Sequence):
        value = getattr(sequence, field.name)
        assert type(getattr(loaded, field.name)) is type(value)
        assert getattr(getattr(loaded, field.name), "dtype", None) == getattr(value, "dtype", None), field.name


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (33, 70)])
def test_pictures_may_have_any_size_and_nothing_need_be_known(tmp_path: Path, size: tuple[int, int]) -> None:
    height, width = size
    nothing = np.full((2, height, width), np.nan, np.float32)
    whole = toy_sequence(1, frames=2, height=33, width=70)
    cut = {
        field.name: getattr(whole, field.name)[:, :height, :width]
        for field in fields(Sequence)
        if field.name in ("rgb", "normals", "material", "instance")
    }
    cut |= {"depth": nothing, "background_depth": nothing, "sensor_depth": nothing}
    sequence = replace(whole, **cut, intrinsics=Intrinsics(40, 40, 0, 0, width, height))
    save_sequence(tmp_path / "000001.tar", sequence)
    loaded = load_sequence(tmp_path / "000001.tar")
    assert loaded.depth.shape == nothing.shape and np.isnan(loaded.depth).all() and np.isnan(loaded.sensor_depth).all()
    assert loaded.stereo_depth is None and len(loaded) == 2


def test_the_same_sequence_gives_the_same_bytes(tmp_path: Path, sequence: Sequence) -> None:
    save_sequence(tmp_path / "a" / "000007.tar", sequence)
    save_sequence(tmp_path / "b" / "000007.tar", replace(sequence))
    assert (tmp_path / "a" / "000007.tar").read_bytes() == (tmp_path / "b" / "000007.tar").read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"depth": np.float32(0)}, "^depth holds 0.0 m, expected 1e-06 to 500000 m, or NaN"),
        ({"depth": np.float32(-1)}, "^depth holds -1.0 m"),
        ({"background_depth": np.float32(np.inf)}, "background_depth holds inf m"),
        ({"sensor_depth": np.float32(70)}, "sensor_depth holds 70.0 m, expected 0.001 to 65.535 m"),
        ({"stereo_depth": np.float32(1e-4)}, "stereo_depth holds"),
        ({"material": np.uint8(7)}, "material 7: there are 0 to 6"),
    ],
)
def test_what_cannot_be_written_leaves_the_old_file(
    tmp_path: Path, sequence: Sequence, change: dict, says: str
) -> None:
    path = sequence_path(tmp_path, 7)
    save_sequence(path, sequence)
    before = path.read_bytes()
    ((name, value),) = change.items()
    wrong = getattr(sequence, name).copy()
    wrong[-1, 2, 2] = value
    with pytest.raises(ValueError, match=says):
        save_sequence(path, replace(sequence, **{name: wrong}))
    with pytest.raises(ValueError):
        save_sequence(path, replace(sequence, meta={"seed": 7, "light": float("nan")}))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


def test_arrays_of_wrong_shape_or_type_are_refused(tmp_path: Path, sequence: Sequence) -> None:
    path = sequence_path(tmp_path, 7)
    for change, says in (
        ({"instance": sequence.instance[:2]}, r"instance is uint8\(2, 7, 10\), expected uint8\(3, 7, 10\)"),
        ({"depth": sequence.depth.astype(np.float64)}, "depth is float64"),
        ({"stereo_depth": sequence.depth[0]}, "stereo_depth is float32"),
        ({"depth": sequence.depth[0]}, r"depth has shape \(7, 10\)"),
        ({"intrinsics": sequence.intrinsics.resized(16, 12)}, "intrinsics are of 16x12, pictures of 10x7"),
    ):
        with pytest.raises(ValueError, match=says):
            save_sequence(path, replace(sequence, **change))
    assert not path.exists()


def test_masks_follow_the_material(sequence: Sequence) -> None:
    clear = [CLEAR_PLASTIC, GLASS, LIQUID]
    np.testing.assert_array_equal(sequence.transparent, np.isin(sequence.material, clear))
    np.testing.assert_array_equal(sequence.specular, sequence.material == METAL)
    assert [MATERIAL_NAMES[code] for code in clear] == ["clear plastic", "glass", "liquid"]


def test_frames_are_what_a_camera_would_give(sequence: Sequence) -> None:
    frames = sequence.frames()
    assert [f.stamp_ns for f in frames] == sequence.stamps_ns.tolist()
    assert all(f.transparent is None for f in frames), "a camera does not know what is glass"
    np.testing.assert_array_equal(frames[1].sensor_depth, sequence.sensor_depth[1])
    assert frames[0].size == (W, H) and frames[0].intrinsics == sequence.intrinsics


def test_some_frames_can_be_read_alone(tmp_path: Path, sequence: Sequence, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sequence_path(tmp_path, 7)
    save_sequence(path, sequence)
    part = load_sequence(path, [2, 0])
    np.testing.assert_array_equal(part.rgb, sequence.rgb[[2, 0]])
    np.testing.assert_array_equal(part.sensor_depth, sequence.sensor_depth[[2, 0]])
    np.testing.assert_array_equal(part.stamps_ns, sequence.stamps_ns[[2, 0]])
    assert part.meta == sequence.meta
    with pytest.raises(IndexError, match=r"000007\.tar: frames 1 to 3 asked for, there are 0 to 2"):
        load_video(path, range(1, 4))
    with pytest.raises(IndexError, match="none asked for"):
        load_video(path, [])
    monkeypatch.setattr(module.SequenceReader, "fields", None)
    assert frame_count(path) == T


def test_files_are_listed_in_order_without_those_being_written(tmp_path: Path, sequence: Sequence) -> None:
    for seed in (12, 3):
        save_sequence(sequence_path(tmp_path, seed), sequence)
    (tmp_path / ".000004.17.partial.tar").touch()
    (tmp_path / "job.json").touch()
    assert [path.name for path in sequence_files(tmp_path)] == ["000003.tar", "000012.tar"]
    assert sequence_files(tmp_path / "absent") == []


@pytest.mark.skipif(not RENDER_PYTHON.exists(), reason=f"no {RENDER_PYTHON}: run `make render-env`")
def test_the_renderers_environment_writes_what_ours_reads(tmp_path: Path) -> None:
    code = f"""import sys
from dkt_ros.training.sequences import save_sequence
from test.training.toy import toy_sequence
save_sequence({str(tmp_path / "000005.tar")!r}, toy_sequence(5))
assert "torch" not in sys.modules
"""
    done = subprocess.run([str(RENDER_PYTHON), "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded = load_sequence(tmp_path / "000005.tar")
    np.testing.assert_array_equal(loaded.rgb, toy_sequence(5).rgb)


def test_a_missing_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_sequence(tmp_path / "000001.tar")


def test_an_old_npz_is_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(SequenceError, match=r"sequence_000001\.npz: sequences are tars now.*render its seed again"):
        load_video(tmp_path / "sequence_000001.npz")
