"""The bundled engine, as everything above it sees it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from dkt_ros.engines import EngineOptions, nano  # noqa: E402
from dkt_ros.frames import Clip, Frame, Intrinsics  # noqa: E402

BUNDLED_BYTES = 16 * 1024 * 1024


@pytest.fixture(scope="module")
def engine():
    threads = torch.get_num_threads()
    yield nano.load(EngineOptions(threads=1))
    torch.set_num_threads(threads)


def plane(width, height):
    """(H, W) metres of a table that leans away from the camera."""
    return (1.0 / (0.8 + 0.8 * np.mgrid[:height, :width][0] / height)).astype(np.float32)


def clip_of(frames, width=160, height=96, depth="plane"):
    rng = np.random.default_rng(5)
    camera = Intrinsics(width, width, (width - 1) / 2, (height - 1) / 2, width, height)
    picture = rng.integers(60, 200, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    rgb = np.ascontiguousarray(picture.repeat(4, 0).repeat(4, 1)[:height, :width])
    sensor = {"plane": plane(width, height), "invalid": np.full((height, width), np.nan, np.float32), None: None}[depth]
    return Clip(tuple(Frame(i * 33_000_000, "camera", rgb, camera, sensor) for i in range(frames)))


def check(prediction, frames):
    assert prediction.disparity.dtype == np.float32 and prediction.normals.dtype == np.float32
    assert prediction.disparity.shape[0] == frames and prediction.normals.shape == (*prediction.disparity.shape, 3)
    assert np.isfinite(prediction.disparity).all()
    np.testing.assert_allclose(np.linalg.norm(prediction.normals, axis=-1), 1, atol=1e-3)


@pytest.mark.parametrize("frames", sorted(nano.CARD.clip_lengths))
def test_every_listed_clip_length_is_answered(engine, frames):
    prediction = engine.predict(clip_of(frames))
    check(prediction, frames)
    assert prediction.disparity.shape[1:] == (96, 160) and prediction.kind == "affine"


@pytest.mark.parametrize("width, height", [(640, 480), (321, 193), (96, 160), (50, 30)])
def test_any_picture_size_is_answered_at_the_working_size(engine, width, height):
    prediction = engine.predict(clip_of(1, width, height))
    check(prediction, 1)
    h, w = prediction.disparity.shape[1:]
    assert h % 8 == 0 and w % 8 == 0 and abs(np.log(w / h * height / width)) < 0.1
    assert 0.7 < h * w / nano.AREA < 1.4


def test_frames_that_two_clips_share_are_computed_once_and_answered_alike(engine, monkeypatch):
    frames = clip_of(13).frames
    seen = []
    answer = engine._answer
    monkeypatch.setattr(engine, "_answer", lambda rgb, *rest: seen.append(len(rgb)) or answer(rgb, *rest))
    first = engine.predict(Clip(frames[:9]))
    second = engine.predict(Clip(frames[4:], overlap=5))
    assert seen == [9, 4] and second.same_units
    np.testing.assert_array_equal(second.disparity[:5], first.disparity[4:])
    alone = engine.predict(Clip(frames))
    np.testing.assert_allclose(second.disparity, alone.disparity[4:], atol=1e-5)


@pytest.mark.parametrize("depth", [None, "invalid"])
def test_without_any_depth_it_still_answers(engine, depth):
    check(engine.predict(clip_of(5, depth=depth)), 5)


def test_untrusted_depth_is_not_read(engine):
    clip = clip_of(1)
    nothing = engine.predict(clip, np.zeros((1, 96, 160), np.float32))
    np.testing.assert_array_equal(nothing.disparity, engine.predict(clip_of(1, depth=None)).disparity)
    assert np.abs(nothing.disparity - engine.predict(clip).disparity).max() > 0.01


def test_the_same_clip_twice_gives_the_same_answer(engine):
    first, second = engine.predict(clip_of(5)), engine.predict(clip_of(5))
    np.testing.assert_array_equal(first.disparity, second.disparity)
    np.testing.assert_array_equal(first.normals, second.normals)


def test_what_the_sensor_sees_well_comes_back(engine):
    """On an opaque plane the prediction is the sensor, up to one scale and shift, within 1 % in the median."""
    clip = clip_of(5)
    disparity = engine.predict(clip).disparity
    truth = np.stack([1 / frame.sensor_depth for frame in clip.frames])
    scale, shift = np.polyfit(disparity.ravel(), truth.ravel(), 1)
    assert scale > 0
    assert np.median(np.abs((scale * disparity + shift) / truth - 1)) < 0.01


def test_a_hole_is_filled_with_something_between_its_neighbours(engine):
    clip = clip_of(5)
    trust = np.ones((5, 96, 160), np.float32)
    trust[:, 40:50, 70:90] = 0
    disparity = engine.predict(clip, trust).disparity
    around = disparity[:, 35:55, 65:95]
    assert np.abs(disparity[:, 40:50, 70:90] - around.mean()).max() < 4 * around.std() + 0.2


def test_normals_face_the_camera(engine):
    normals = engine.predict(clip_of(5)).normals
    assert (normals[..., 2] < 0).mean() > 0.95


def test_clips_of_other_lengths_are_refused(engine):
    with pytest.raises(ValueError, match="nano: a clip of 4 frames"):
        engine.predict(clip_of(4))


def test_mixed_sizes_and_foreign_trust_are_refused(engine):
    mixed = Clip(clip_of(4).frames + clip_of(1, 80, 48).frames)
    with pytest.raises(ValueError, match="different sizes"):
        engine.predict(mixed)
    with pytest.raises(ValueError, match=r"trust \(1, 5, 5\)"):
        engine.predict(clip_of(1), np.ones((1, 5, 5), np.float32))


def test_zero_threads_are_refused():
    with pytest.raises(ValueError, match="threads = 0"):
        nano.load(EngineOptions(threads=0))


def test_the_weights_fit_the_repository_and_have_a_card():
    assert nano.WEIGHTS.stat().st_size <= BUNDLED_BYTES
    card = (nano.WEIGHTS.parent / "CARD.md").read_text()
    assert "Apache-2.0" in card and "fails" in card
