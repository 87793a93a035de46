"""A known plane as the anchor of a camera without a depth sensor."""

import numpy as np
import pytest

from dkt_ros.engines import EngineCard
from dkt_ros.frames import Clip, Frame, Intrinsics, Prediction
from dkt_ros.metric import ScaleSettings
from dkt_ros.perception import Perception, PerceptionSettings
from dkt_ros.plane import plane_from_matrix


def looking_down(height: float, degrees: float) -> np.ndarray:
    """Pose of a table's frame (z up) in the optical frame of a camera ``height`` m above it; 90 looks straight down."""
    pitch = np.radians(degrees)
    # Columns: the table's x, y, z in optical coordinates (x right, y down, z forward).
    up = np.array([0.0, -np.cos(pitch), -np.sin(pitch)])
    right = np.array([1.0, 0.0, 0.0])
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(up, right), up], 1)
    pose[:3, 3] = -height * up
    return pose


def test_the_plane_of_a_pose_is_its_up_and_the_height_of_the_camera():
    *normal, height = plane_from_matrix(looking_down(0.7, 30))
    np.testing.assert_allclose(normal, [0, -np.cos(np.pi / 6), -0.5], atol=1e-12)
    assert height == pytest.approx(0.7)


def test_where_the_frame_lies_on_the_plane_does_not_matter():
    pose = looking_down(0.7, 30)
    moved = pose.copy()
    moved[:3, 3] += pose[:3, :3] @ [0.3, -0.2, 0]
    np.testing.assert_allclose(plane_from_matrix(moved), plane_from_matrix(pose), atol=1e-12)


def test_a_camera_below_has_a_negative_height():
    assert plane_from_matrix(looking_down(-0.2, 30))[3] == pytest.approx(-0.2)


@pytest.mark.parametrize(
    "broken", [np.eye(3), np.full((4, 4), np.nan), np.diag([1.0, 1, 2, 1]), np.diag([1, 1, -1, 1])]
)
def test_what_is_no_pose_is_refused_in_words(broken):
    with pytest.raises(ValueError, match="pose of the plane"):
        plane_from_matrix(broken)


CAMERA = Intrinsics(90.0, 90.0, 79.5, 59.5, 160, 120)


def table_scene(pose: np.ndarray, covered: float, seed: int = 0) -> np.ndarray:
    """(H, W) float64 true 1/z: the table, ``covered`` (share of the picture) by boxes of different heights."""
    random = np.random.default_rng(seed)
    *normal, height = plane_from_matrix(pose)
    v, u = np.mgrid[0 : CAMERA.height, 0 : CAMERA.width]
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones(u.shape)], -1)
    table = -(rays @ normal) / height
    inverse, on_table = table.copy(), np.ones(table.shape, bool)
    while (~on_table).mean() < covered:
        top, left = random.integers(0, CAMERA.height - 15), random.integers(0, CAMERA.width - 20)
        box = (slice(top, top + random.integers(12, 30)), slice(left, left + random.integers(15, 40)))
        # A box's top is parallel to the table, its front is not.
        tilt = np.linspace(0, random.uniform(-0.1, 0.3), inverse[box].shape[0])[:, None]
        inverse[box] = np.maximum(inverse[box], table[box] * (height / (height - random.uniform(0.04, 0.2))) + tilt)
        on_table[box] = False
    return inverse


class PlaneOracle:
    """The true inverse depth of each frame, noisy, under a scale and a shift of each clip's own."""

    card = EngineCard("oracle", "affine", (1, 5, 9), False, False, "Apache-2.0", "for tests")

    def __init__(self, scenes: list[np.ndarray]) -> None:
        self._scenes, self._random = scenes, np.random.default_rng(0)

    def predict(self, clip: Clip, trust=None) -> Prediction:
        inverse = np.stack([self._scenes[frame.stamp_ns // 100_000_000] for frame in clip.frames])
        inverse = inverse * (1 + 0.003 * self._random.normal(size=inverse.shape))
        scale, shift = self._random.uniform(0.7, 1.4), self._random.uniform(-0.2, 0.2)
        return Prediction(((inverse - shift) / scale).astype(np.float32))


def estimates(poses, scenes, said=None, intrinsics: Intrinsics | None = CAMERA, settings=None, sensor=None):
    """What the path makes of an RGB camera whose table is ``said`` (default: the true one)."""
    frames = [
        Frame(
            index * 100_000_000,
            "camera",
            np.full((CAMERA.height, CAMERA.width, 3), 128, np.uint8),
            intrinsics,
            None if sensor is None else sensor[index],
            plane=plane_from_matrix(pose),
        )
        for index, pose in enumerate(poses if said is None else said)
    ]
    return list(Perception(PlaneOracle(scenes), settings).run(frames))


def error(found, scenes) -> float:
    """Largest median relative error of depth over the frames."""
    return max(np.nanmedian(np.abs(each.depth * inverse - 1)) for each, inverse in zip(found, scenes, strict=True))


@pytest.mark.parametrize("covered", [0.0, 0.4, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_a_camera_without_depth_gets_metres_from_its_table(covered, seed):
    poses = [looking_down(0.7, 40)] * 13
    scenes = [table_scene(poses[0], covered, seed)] * 13
    found = estimates(poses, scenes)
    assert all(each.fit.accepted and each.fit.anchor == "plane" and each.fit.reason == "" for each in found)
    assert error(found, scenes) < 0.01


def test_the_plane_of_every_frame_counts_when_the_camera_moves():
    poses = [looking_down(0.6 + 0.02 * index, 35 + index) for index in range(13)]
    scenes = [table_scene(pose, 0.3) for pose in poses]
    assert error(estimates(poses, scenes), scenes) < 0.01
    assert error(estimates(poses, scenes, said=[poses[0]] * 13), scenes) > 0.02


def test_a_height_that_is_wrong_scales_depth_by_as_much():
    poses = [looking_down(0.7, 40)] * 9
    scenes = [table_scene(poses[0], 0.3)] * 9
    found = estimates(poses, scenes, said=[looking_down(0.75, 40)] * 9)
    assert np.median(found[-1].depth * scenes[-1]) == pytest.approx(0.75 / 0.7, abs=0.01)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (looking_down(0.7, 130), "plane: "),
        (looking_down(-0.7, 40), "plane: 0 trusted pixels"),
        (looking_down(0.7, -60), "plane: 0 trusted pixels"),
    ],
)
def test_a_plane_that_the_picture_contradicts_is_refused_in_words(said, why):
    poses = [looking_down(0.7, 40)] * 9
    found = estimates(poses, [table_scene(poses[0], 0.3)] * 9, said=[said] * 9)
    assert all(each.depth is None and not each.fit.accepted and each.fit.reason.startswith(why) for each in found)


def test_a_plane_turned_on_its_side_is_refused():
    poses = [looking_down(0.7, 40)] * 9
    turn = np.eye(4)
    turn[:2, :2] = [[0, -1], [1, 0]]
    found = estimates(poses, [table_scene(poses[0], 0.5)] * 9, said=[turn @ poses[0]] * 9)
    assert all(each.depth is None and each.fit.reason.startswith("plane: ") for each in found)


def test_a_wrong_pitch_is_not_noticed_and_bends_depth():
    poses = [looking_down(0.7, 40)] * 9
    scenes = [table_scene(poses[0], 0.0)] * 9
    found = estimates(poses, scenes, said=[looking_down(0.7, 45)] * 9)
    assert found[-1].fit.accepted and error(found, scenes) > 0.03


def test_seen_from_straight_above_a_table_has_one_depth_and_is_refused():
    poses = [looking_down(0.7, 90)] * 9
    found = estimates(poses, [table_scene(poses[0], 0.3)] * 9)
    assert all("scale and shift cannot be told apart" in each.fit.reason for each in found)


def test_without_intrinsics_a_plane_is_of_no_use():
    poses = [looking_down(0.7, 40)] * 9
    assert all(each.depth is None for each in estimates(poses, [table_scene(poses[0], 0.3)] * 9, intrinsics=None))


def test_the_sensor_comes_before_the_plane_and_the_plane_before_a_fixed_scale():
    poses = [looking_down(0.7, 40)] * 9
    scenes = [table_scene(poses[0], 0.3)] * 9
    fixed = PerceptionSettings(scale=ScaleSettings(fixed_scale=3.0))
    sensor = [(1 / scene).astype(np.float32) for scene in scenes]
    silent = [np.full(scene.shape, np.nan, np.float32) for scene in scenes]
    high = [looking_down(0.9, 40)] * 9
    assert estimates(poses, scenes, high, sensor=sensor)[-1].fit.anchor == "sensor"
    blind = estimates(poses, scenes, sensor=silent, settings=fixed)[-1]
    assert blind.fit.anchor == "plane" and "instead of the sensor: 0 trusted pixels" in blind.fit.reason
    assert estimates(poses, scenes, settings=fixed)[-1].fit.anchor == "plane"
    below = estimates(poses, scenes, [looking_down(-0.7, 40)] * 9, settings=fixed)[-1]
    assert below.fit.anchor == "fixed" and below.fit.reason.startswith("fixed scale: plane: 0")
