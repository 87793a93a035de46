"""What may be learned from: a right sequence passes, before and after its file; each mistake is found by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.frames import Intrinsics
from dkt_ros.training.render import consistency
from dkt_ros.training.render.validate import LIMITS, check_sequence, measurements
from dkt_ros.training.sequences import GLASS, ORDINARY, Sequence, load_sequence, save_sequence, sequence_path

from . import spheres


@pytest.fixture(scope="module")
def sequence() -> Sequence:
    return spheres.sequence()


def found(sequence: Sequence) -> set[str]:
    return {reason.split(":")[0] for reason in check_sequence(sequence)}


def test_a_right_sequence_passes_also_read_back_from_its_file(sequence: Sequence, tmp_path: Path) -> None:
    assert check_sequence(sequence) == []
    path = sequence_path(tmp_path, 0)
    save_sequence(path, sequence)
    assert check_sequence(load_sequence(path)) == []


def test_everything_is_measured_and_has_a_limit(sequence: Sequence) -> None:
    numbers = measurements(replace(sequence, stereo_depth=sequence.sensor_depth))
    assert set(numbers) == set(LIMITS)
    assert all(np.isfinite(value) for value in numbers.values()), numbers


def test_one_frame_is_enough_and_says_nothing_about_motion() -> None:
    assert check_sequence(spheres.sequence(frames=1)) == []


def _times(sequence: Sequence, factor: np.ndarray | float) -> Sequence:
    names = ("depth", "background_depth", "sensor_depth")
    return replace(sequence, **{name: (getattr(sequence, name) * factor).astype(np.float32) for name in names})


def _camera(sequence: Sequence, scale: float = 1.0, offset: float = 0.0) -> Sequence:
    c = sequence.intrinsics
    moved = Intrinsics(c.fx * scale, c.fy * scale, c.cx + offset, c.cy + offset, c.width, c.height)
    return replace(sequence, intrinsics=moved)


def _normals(sequence: Sequence, factor: object) -> Sequence:
    return replace(sequence, normals=(sequence.normals * np.asarray(factor)).astype(np.float16))


def _repeated(array: np.ndarray) -> np.ndarray:
    return np.repeat(array[:1], len(array), 0)


def _nan_frame(depth: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(depth))[:, None, None] == 1, np.nan, depth).astype(np.float32)


MISTAKES: dict[str, tuple[Callable[[Sequence], Sequence], set[str]]] = {
    "distance along the ray": (
        lambda s: _times(s, np.linalg.norm(consistency.rays(s.intrinsics), axis=-1)),
        {"plane", "view", "view 90", "flat angle"},
    ),
    "pixel corners": (lambda s: _camera(s, offset=0.5), {"view"}),
    "another lens": (lambda s: _camera(s, scale=1.03), {"view"}),
    "another unit": (lambda s: _times(s, 0.9), {"view"}),
    "normals flipped": (lambda s: _normals(s, -1), {"away", "flat angle", "angle"}),
    "normals in OpenGL axes": (lambda s: _normals(s, [1, -1, -1]), {"away", "flat angle"}),
    "normals mirrored": (lambda s: _normals(s, [-1, 1, 1]), {"angle", "angle 90"}),
    "normals not unit": (lambda s: _normals(s, 0.9), {"length"}),
    "normals of the world": (
        lambda s: replace(
            s, normals=np.einsum("tij,thwj->thwi", s.camera_to_world[:, :3, :3], s.normals).astype(np.float16)
        ),
        {"flat angle"},
    ),
    "depth a pixel aside": (lambda s: replace(s, depth=np.roll(s.depth, 1, 2)), {"same", "angle"}),
    "seen through glass": (lambda s: replace(s, depth=s.background_depth), {"behind", "angle"}),
    "background swapped": (lambda s: replace(s, depth=s.background_depth, background_depth=s.depth), {"before"}),
    "everything taken away": (
        lambda s: replace(
            s, background_depth=np.fmax(s.background_depth, s.depth + (s.instance > 0) * np.float32(0.1))
        ),
        {"same"},
    ),
    "poses frozen": (lambda s: replace(s, camera_to_world=_repeated(s.camera_to_world)), {"view", "motion"}),
    "poses inverted": (lambda s: replace(s, camera_to_world=np.linalg.inv(s.camera_to_world)), {"view"}),
    "poses a frame late": (lambda s: replace(s, camera_to_world=np.roll(s.camera_to_world, 1, 0)), {"view", "turn"}),
    "poses mirrored": (
        lambda s: replace(s, camera_to_world=s.camera_to_world * [[1, 1, -1, 1.0]]),
        {"rotation", "view"},
    ),
    "pictures frozen": (lambda s: replace(s, depth=_repeated(s.depth)), {"view", "same"}),
    "night": (lambda s: replace(s, rgb=s.rgb // 60), {"brightness", "black", "contrast"}),
    "burnt": (lambda s: replace(s, rgb=np.maximum(s.rgb, 252)), {"brightness", "burnt", "contrast"}),
    "flash": (
        lambda s: replace(s, rgb=np.where(np.arange(len(s))[:, None, None, None] == 2, s.rgb // 2, s.rgb)),
        {"flicker"},
    ),
    "a perfect sensor": (
        lambda s: replace(s, sensor_depth=s.depth),
        {"drawn sensor first surface", "drawn sensor noise"},
    ),
    "a blind sensor": (
        lambda s: replace(s, sensor_depth=np.where(s.instance == 0, s.sensor_depth, np.nan).astype(np.float32)),
        {"drawn sensor holes"},
    ),
    "bad stereo": (
        lambda s: replace(s, stereo_depth=np.where(np.arange(128) % 4, np.nan, s.sensor_depth).astype(np.float32)),
        {"rendered stereo other holes"},
    ),
    "no glass": (
        lambda s: replace(s, material=np.where(s.material == GLASS, ORDINARY, s.material).astype(np.uint8)),
        {"least transparent", "most transparent", "same"},
    ),
    "labels aside": (lambda s: replace(s, instance=np.roll(s.instance, 3, 2)), {"labels"}),
    "infinite depth": (
        lambda s: replace(s, depth=np.where(s.depth > 0.9, np.inf, s.depth).astype(np.float32)),
        {"arrays"},
    ),
    "an empty frame": (lambda s: replace(s, sensor_depth=_nan_frame(s.sensor_depth)), {"values"}),
    "normals without depth": (lambda s: replace(s, depth=_nan_frame(s.depth)), {"values"}),
    "time stands still": (lambda s: replace(s, stamps_ns=np.zeros_like(s.stamps_ns)), {"values"}),
    "a frame too few": (lambda s: replace(s, rgb=s.rgb[1:]), {"arrays"}),
    "unknown material": (lambda s: replace(s, material=s.material + np.uint8(9)), {"arrays"}),
    "poses not a number": (lambda s: replace(s, camera_to_world=s.camera_to_world * np.nan), {"values"}),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_found_by_its_name(sequence: Sequence, name: str) -> None:
    spoil, wanted = MISTAKES[name]
    missing = wanted - found(spoil(sequence))
    assert not missing, found(spoil(sequence))


def test_jumping_and_slow_cameras_are_told_apart(sequence: Sequence) -> None:
    poses = spheres.sequence(frames=31, width=32, height=20).camera_to_world[: len(sequence)].copy()
    assert not found(replace(sequence, camera_to_world=poses)) & {"motion", "step", "jump"}
    poses[3:, 0, 3] += 0.3
    assert found(replace(sequence, camera_to_world=poses)) >= {"step", "jump"}


def test_a_reason_says_what_is_wrong_and_by_how_much(sequence: Sequence) -> None:
    (reason,) = [r for r in check_sequence(_normals(sequence, 0.9)) if r.startswith("length")]
    assert "normal's length" in reason and "is 0.1" in reason and "allowed 0 to 0.005" in reason


def test_every_limit_can_be_broken() -> None:
    broken = set().union(*(wanted for _, wanted in MISTAKES.values())) | {"step", "jump"}
    never = {"drawn sensor other holes"} | {name for name in LIMITS if name.startswith("rendered stereo")}
    assert set(LIMITS) - broken <= never, "limits that no test breaks"
