"""Camera paths: they show the objects, move smoothly, and each kind moves as it should. No Blender."""

from __future__ import annotations

import numpy as np
import pytest

from dkt_ros.training.render import paths
from dkt_ros.training.render.camera import Path, direction, look_at, project, sees, turned
from dkt_ros.training.render.paths import View, draw_path
from dkt_ros.training.render.recipe import CAMERAS

TARGETS = np.array([[0.0, 0.0, 0.05], [0.08, 0.02, 0.04], [-0.05, 0.07, 0.06]])
TABLE = View(np.array([0.0, 0.0, 0.05]), 0.15, TARGETS, (20, 75), (0, 180))
SHELF = View(np.array([0.0, 0.0, 0.05]), 0.15, TARGETS, (2, 30), (-90, 38), 1.0)
BOXES = TARGETS[:, None] + 0.03 * np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])


def draw(kind: str, seed: int, frames: int = 13, view: View = TABLE) -> Path:
    return draw_path(np.random.default_rng(seed), kind, frames, 30.0, view)


def places(path: Path) -> np.ndarray:
    return path.camera_to_world[:, :3, 3]


def angles(path: Path) -> np.ndarray:
    """(T-1,) degrees between successive frames."""
    turn = path.camera_to_world[:, :3, :3]
    cosine = (np.einsum("tij,tij->t", turn[1:], turn[:-1]) - 1) / 2
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


def elevations(path: Path) -> np.ndarray:
    """(T,) degrees below the horizon at which the camera looks."""
    return np.degrees(np.arcsin(-path.camera_to_world[:, 2, 2]))


@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize("view", [TABLE, SHELF], ids=["table", "shelf"])
def test_every_kind_gives_rigid_continuous_poses_that_look_at_the_objects(kind: str, view: View) -> None:
    for seed in range(40):
        path = draw(kind, seed, view=view)
        turn = path.camera_to_world[:, :3, :3]
        np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turn.shape), atol=1e-12)
        assert np.linalg.det(turn).min() > 0 and path.kind == kind
        assert np.linalg.norm(np.diff(places(path), axis=0), axis=1).max() < 0.06, "metres a frame"
        assert angles(path).max() < 5, "degrees a frame"
        seen = np.stack([project(TARGETS, pose, path.focal, 160 / 96) for pose in path.camera_to_world])
        assert (np.abs(seen[..., :2]) < 1).all(-1).any(1).all() and (seen[..., 2] > 0).all()


@pytest.mark.parametrize("kind", CAMERAS)
def test_one_frame_is_a_path_too(kind: str) -> None:
    assert draw(kind, 1, frames=1).camera_to_world.shape == (1, 4, 4)


@pytest.mark.parametrize("kind", CAMERAS)
def test_the_camera_keeps_to_the_open_side(kind: str) -> None:
    for seed in range(40):
        offset = places(draw(kind, seed, view=SHELF)) - SHELF.centre
        # A wrist looks at one object, a hand wanders: some centimetres beside the sector are allowed.
        assert (offset[:, 1] < -0.1).all(), "in front of the shelf, which is open toward -y"
        assert (offset[:, 2] > -0.1).all()


def test_the_long_circle_is_the_published_one_and_short_clips_are_slower() -> None:
    long = draw("circle", 3, frames=120)
    offset = places(long) - TABLE.centre
    azimuth = np.degrees(np.unwrap(np.arctan2(offset[:, 1], offset[:, 0])))
    assert abs(abs(azimuth[-1] - azimuth[0]) - 3 * 119) < 15
    assert abs(np.abs(np.diff(azimuth)).mean() - 3) < 0.15
    reach = np.linalg.norm(offset, axis=1)
    assert 0.005 < np.std(reach) / np.mean(reach) < 0.1, "sinusoidal perturbation"
    arcs = [draw("circle", seed).parameters["arc_deg"] for seed in range(40)]
    assert min(arcs) >= 0.6 * 12 and max(arcs) <= 2.0 * 12


def test_a_hand_trembles_at_four_to_twelve_hertz_and_drifts_below_one() -> None:
    time = np.arange(600) / 30.0
    hertz = np.fft.rfftfreq(600, 1 / 30)
    for make, low, high in ((paths.tremor, 3.8, 12.2), (paths.drift, 0.0, 1.2)):
        signal = np.concatenate([make(np.random.default_rng(seed), time, 0.001) for seed in range(10)], axis=1)
        power = (np.abs(np.fft.rfft(signal * np.hanning(600)[:, None], axis=0)) ** 2).sum(1)
        inside = (hertz >= low) & (hertz <= high)
        assert power[inside].sum() > 0.98 * power.sum()
        assert abs(signal.std() / 0.001 - 1) < 0.15, "the amplitude is one standard deviation"


def test_a_hand_moves_slowly_but_never_stands_still() -> None:
    for seed in range(40):
        step = np.linalg.norm(np.diff(places(draw("handheld", seed)), axis=0), axis=1)
        assert 1e-4 < step.mean() < 0.015


def test_a_wrist_looks_down_from_near_and_comes_nearer_from_rest_to_rest() -> None:
    nearer = 0
    for seed in range(60):
        path = draw("wrist", seed, frames=25)
        distance = np.linalg.norm(places(path)[:, None] - TARGETS, axis=-1).min(1)
        assert distance.min() > 0.15 and distance.max() < 0.6
        assert path.parameters["nearest"] >= 0.2 and path.parameters["farthest"] <= 0.55
        assert elevations(path).min() > 30
        nearer += distance[-1] < distance[0]
        # Slow at both ends: the fastest step lies in the middle.
        step = np.linalg.norm(np.diff(places(path), axis=0), axis=1)
        if path.parameters["farthest"] - path.parameters["nearest"] > 0.08:
            assert 5 <= int(np.argmax(np.convolve(step, np.ones(3) / 3, "valid"))) <= 16
    assert nearer > 35


def test_a_path_that_shows_too_little_or_comes_too_near_is_refused() -> None:
    def at(distance: float, aside: float) -> Path:
        pose = look_at(np.array([0.0, -distance, 0.05]), np.array([aside, 0.0, 0.05]))
        return Path("circle", pose[None], 0.8, {})

    assert sees(at(0.5, 0.0), 160 / 96, BOXES, 1.0)
    assert not sees(at(0.5, 0.6), 160 / 96, BOXES, 0.8)
    assert not sees(at(0.12, 0.0), 160 / 96, BOXES, 0.1)


def test_looking_straight_down_has_a_defined_right_side() -> None:
    for azimuth in (0.0, 2.0, -1.0):
        place = 0.3 * direction(azimuth, np.pi / 2)
        pose = look_at(place, np.zeros(3), 0.0, azimuth)
        np.testing.assert_allclose(pose[:3, 2], [0, 0, -1], atol=1e-12)
        np.testing.assert_allclose(pose[:3, 0], [-np.sin(azimuth), np.cos(azimuth), 0], atol=1e-12)


def test_turned_is_the_rotation_by_its_vector() -> None:
    pose = look_at(np.array([0.3, -0.4, 0.5]), np.zeros(3))
    quarter = turned(pose, np.array([0.0, 0.0, np.pi / 2]))
    np.testing.assert_allclose(quarter[:3, 0], pose[:3, 1], atol=1e-12)
    np.testing.assert_allclose(quarter[:3, 2], pose[:3, 2], atol=1e-12)
    assert turned(pose, np.zeros(3)) is pose
