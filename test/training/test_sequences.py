"""Rendered sequences on disk: what is written is what is read, and anything else is refused by name."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.frames import Intrinsics
from dkt_ros.training.sequences import (
    CLEAR_PLASTIC,
    GLASS,
    METAL,
    Sequence,
    SequenceError,
    load_sequence,
    save_sequence,
    sequence_path,
)

T, H, W = 3, 6, 8


@pytest.fixture()
def sequence() -> Sequence:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.4, 1.0, (T, H, W)).astype(np.float32)
    depth[0, 0, 0] = np.nan
    return Sequence(
        rgb=rng.integers(0, 256, (T, H, W, 3), np.uint8),
        depth=depth,
        background_depth=depth + np.float32(0.1),
        sensor_depth=depth + np.float32(0.01),
        normals=rng.normal(size=(T, H, W, 3)).astype(np.float16),
        material=rng.integers(0, 6, (T, H, W), np.uint8),
        instance=rng.integers(0, 9, (T, H, W), np.uint8),
        camera_to_world=np.tile(np.eye(4), (T, 1, 1)),
        intrinsics=Intrinsics(7.0, 7.0, (W - 1) / 2, (H - 1) / 2, W, H),
        stamps_ns=np.arange(T, dtype=np.int64) * 33_333_333,
        meta={"seed": 7, "objects": [{"family": "tumbler"}]},
    )


def test_what_was_saved_is_what_is_loaded(tmp_path: Path, sequence: Sequence) -> None:
    path = sequence_path(tmp_path / "new" / "folder", 7)
    save_sequence(path, sequence)
    loaded = load_sequence(path)
    assert path.name == "sequence_000007.npz"
    for field in fields(Sequence):
        np.testing.assert_equal(getattr(loaded, field.name), getattr(sequence, field.name), field.name)
    assert [p.name for p in path.parent.iterdir()] == [path.name], "no temporary file stays behind"


def test_masks_follow_the_material(sequence: Sequence) -> None:
    np.testing.assert_array_equal(
        sequence.transparent, (sequence.material == GLASS) | (sequence.material == CLEAR_PLASTIC)
    )
    np.testing.assert_array_equal(sequence.specular, sequence.material == METAL)


def test_frames_are_what_a_camera_would_give(sequence: Sequence) -> None:
    frames = sequence.frames()
    assert [f.stamp_ns for f in frames] == sequence.stamps_ns.tolist()
    assert all(f.transparent is None for f in frames), "a camera does not know what is glass"
    np.testing.assert_array_equal(frames[1].sensor_depth, sequence.sensor_depth[1])
    assert frames[0].size == (W, H) and frames[0].intrinsics == sequence.intrinsics


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9])
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, sequence: Sequence, keep: float) -> None:
    path = sequence_path(tmp_path, 7)
    save_sequence(path, sequence)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(SequenceError, match=rf"{path.name}.*render its seed again"):
        load_sequence(path)


def test_a_flipped_byte_is_noticed(tmp_path: Path, sequence: Sequence) -> None:
    path = sequence_path(tmp_path, 7)
    save_sequence(path, sequence)
    data = bytearray(path.read_bytes())
    data[300] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(SequenceError, match=path.name):
        load_sequence(path)


def test_a_foreign_npz_is_refused_with_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "other.npz"
    np.savez(path, rgb=np.zeros(3))
    with pytest.raises(SequenceError, match="no background_depth, camera_to_world, depth"):
        load_sequence(path)


def test_a_lone_array_and_a_pickle_are_refused(tmp_path: Path) -> None:
    lone, pickled = tmp_path / "lone.npy", tmp_path / "pickled.npz"
    np.save(lone, np.zeros(3))
    np.savez(pickled, **{f.name: np.array([object()]) for f in fields(Sequence)})
    with pytest.raises(SequenceError, match="single array"):
        load_sequence(lone)
    with pytest.raises(SequenceError, match=r"pickled\.npz"):
        load_sequence(pickled)


def test_arrays_of_wrong_shape_or_type_are_refused(tmp_path: Path, sequence: Sequence) -> None:
    path = sequence_path(tmp_path, 7)
    save_sequence(path, replace(sequence, instance=sequence.instance[:2]))
    with pytest.raises(SequenceError, match=r"instance is uint8\(2, 6, 8\), expected uint8\(3, 6, 8\)"):
        load_sequence(path)
    save_sequence(path, replace(sequence, depth=sequence.depth.astype(np.float64)))  # type: ignore[arg-type]
    with pytest.raises(SequenceError, match="depth is float64"):
        load_sequence(path)


def test_a_camera_of_another_size_is_refused(tmp_path: Path, sequence: Sequence) -> None:
    path = sequence_path(tmp_path, 7)
    save_sequence(path, replace(sequence, intrinsics=sequence.intrinsics.resized(16, 12)))
    with pytest.raises(SequenceError, match="intrinsics are of 16x12, pictures of 8x6"):
        load_sequence(path)


def test_a_missing_file_is_the_usual_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_sequence(tmp_path / "sequence_000001.npz")
