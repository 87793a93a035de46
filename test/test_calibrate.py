"""Fitting the confidence: the weights come back, forbidden signs do not, and the file reads back as written."""

import numpy as np
import pytest

from benchmarks.calibrate import Scene, Watched, Wrong, as_text, collect, fitted, logistic
from dkt_ros.confidence import FEATURES, KINDS, read_calibration
from dkt_ros.evaluation.protocols import Range
from dkt_ros.frames import Clip

from . import rendered
from .scenes import ScriptedEngine


def drawn(bias, weights, count=40_000, seed=0):
    random = np.random.default_rng(seed)
    rows = random.random((count, len(weights))) * 2
    odds = bias + rows @ np.array(weights)
    return rows, (random.random(count) < 1 / (1 + np.exp(-odds))).astype(np.float64)


def test_weights_come_back_from_what_they_made():
    rows, right = drawn(1.0, (-2.0, 0.5, 0.0))
    bias, weights = logistic(rows, right, (-1, 1, 0), np.ones(len(rows)))
    assert bias == pytest.approx(1.0, abs=0.1)
    np.testing.assert_allclose(weights, (-2.0, 0.5, 0.0), atol=0.1)


def test_what_an_uncertain_scale_makes_wrong_is_not_laid_on_the_features():
    rows, right = drawn(1.0, (-2.0, 0.5))
    random = np.random.default_rng(3)
    scale_right = random.uniform(0.3, 1, len(rows))
    right = right * (random.random(len(rows)) < scale_right)
    bias, weights = logistic(rows, right, (-1, 1), scale_right)
    np.testing.assert_allclose((bias, *weights), (1.0, -2.0, 0.5), atol=0.15)


def test_a_weight_that_is_given_stays_and_the_rest_is_fitted_beside_it():
    rows, right = drawn(1.0, (-2.0, -0.5))
    bias, weights = logistic(rows, right, (-1, -1), np.ones(len(rows)), {1: -1.0})
    assert weights[1] == -1.0 and bias > 1.2 and weights[0] == pytest.approx(-2.0, abs=0.15)


def test_a_weight_of_the_wrong_sign_becomes_nothing_and_the_rest_is_fitted_without_it():
    rows, right = drawn(0.0, (-2.0, 1.0))
    _, weights = logistic(rows, right, (-1, -1), np.ones(len(rows)))
    assert weights[1] == 0.0 and weights[0] < -1.5


def test_a_feature_that_never_changes_and_one_that_decides_alone_are_no_trouble():
    rows, right = drawn(0.0, (-2.0,))
    rows = np.c_[rows, np.full(len(rows), 0.7), 10.0 * right]
    bias, weights = logistic(rows, right, (-1, 0, 1), np.ones(len(rows)))
    assert np.isfinite([bias, *weights]).all() and weights[1] == 0.0 and weights[2] > 0


def test_the_weights_of_clips_and_of_residual_come_from_videos_and_from_wrong_models(tmp_path):
    samples, videos, wrong = {}, {}, {}
    for kind, names in KINDS.items():
        still = [0.0 if name == "clips" else -0.5 if FEATURES[name] < 0 else 0.5 for name in names]
        rows, right = drawn(1.0, still, seed=1)
        rows[:, [name == "clips" for name in names]] = 0
        samples[kind] = ([rows], [right], [np.ones(len(rows))])
        moving = [-1.0 if name == "clips" else weight for name, weight in zip(names, still, strict=True)]
        rows, right = drawn(0.5, moving, seed=2)
        videos[kind] = ([rows], [right], [np.ones(len(rows))])
        off = [-1.5 if name == "residual" else weight for name, weight in zip(names, still, strict=True)]
        rows, right = drawn(1.0, off, seed=3)
        wrong[kind] = ([rows], [right], [np.ones(len(rows))])
    calibration = fitted(samples, videos, wrong)
    assert calibration.weights["inferred"]["residual"] == pytest.approx(-1.5, abs=0.15)
    assert calibration.weights["plane"]["residual"] == pytest.approx(-0.5, abs=0.15)
    for kind in ("inferred", "plane", "fixed"):
        assert calibration.weights[kind]["clips"] == pytest.approx(-1.0, abs=0.15)
    path = tmp_path / "mine.yaml"
    path.write_text(as_text(calibration, ["how", "it was made"]))
    assert path.read_text().startswith("# how\n# it was made\nmeasured: {bias: ")
    assert read_calibration(path) == calibration


def test_a_short_sequence_is_played_there_and_back():
    scene = Scene(rendered.sequence(3).frames(), [0, 1, 2])
    played = scene.played(8)
    assert played.truth == [0, 1, 2, 1, 0, 1, 2, 1]
    stamps = [frame.stamp_ns for frame in played.frames]
    assert stamps == sorted(set(stamps))
    assert played.frames[4].rgb is scene.frames[0].rgb and Scene(scene.frames[:1], [0]).played(3).truth == [0, 0, 0]


def test_each_pixel_that_is_scored_gives_its_features_and_whether_it_was_right():
    scene = rendered.sequence(5)
    samples = {}
    collect(Watched(ScriptedEngine(changing=False)), Scene(scene.frames(), list(scene.depth)), Range(), 500, samples, 0)
    assert set(samples) == {"measured", "inferred"}
    rows, right, scale_right = (np.concatenate(each) for each in samples["measured"])
    assert (scale_right == 1).all()
    assert rows.shape == (len(right), len(KINDS["measured"])) and right.mean() > 0.99
    assert len(right) + sum(map(len, samples["inferred"][1])) == 5 * 500


def test_a_wrong_model_is_off_by_a_smooth_field_that_stays():
    clip = Clip(tuple(rendered.sequence(5).frames()))
    engine = ScriptedEngine(changing=False)
    right, wrong = engine.predict(clip), Wrong(engine, np.random.default_rng(1)).predict(clip)
    field = wrong.disparity / right.disparity - 1
    assert np.abs(field).max() > 0.01 and np.abs(np.diff(field, axis=2)).max() < 0.2 * np.abs(field).max()
    np.testing.assert_allclose(field, field[:1].repeat(len(field), 0), atol=1e-4)
