"""How far to believe each pixel: the probability that its depth is within 5 % of the truth."""

import math
from dataclasses import replace

import numpy as np
import pytest

from dkt_ros.confidence import (
    COEFFICIENTS,
    FEATURES,
    KINDS,
    SCALE_RIGHT,
    Calibration,
    bundled_calibration,
    confidence,
    features,
    read_calibration,
)
from dkt_ros.frames import PROVENANCE_INFERRED, PROVENANCE_MEASURED, PROVENANCE_NONE, MetricFit
from dkt_ros.fusion import FusedDepth

FIT = MetricFit(1.0, 0.0, 0.01, 0.01, 0.9, 1000, True)
#: Every weight at 1, with the sign that it may have: what one feature does shows.
PLAIN = Calibration({kind: {"bias": 2.0, **{name: FEATURES[name] or 1.0 for name in KINDS[kind]}} for kind in KINDS})


def scene(gap=0.0, shape=(96, 160)):
    """A wall at 1 m, its left half measured, the right half inferred, its last column unknown."""
    width = shape[1]
    provenance = np.full(shape, PROVENANCE_INFERRED, np.uint8)
    provenance[:, : width // 2] = PROVENANCE_MEASURED
    provenance[:, -1] = PROVENANCE_NONE
    depth = np.ones(shape, np.float32)
    depth[:, -1] = np.nan
    sensor = np.where(provenance == PROVENANCE_MEASURED, 1, np.nan).astype(np.float32)
    fused = FusedDepth(depth, provenance, np.full(shape, gap, np.float32))
    return fused, sensor, np.ones((96, 160), np.float32)


def believed(gap=0.0, calibration=None, clips=None, disparity=None, **fit):
    fused, sensor, flat = scene(gap)
    disagreement = None if clips is None else np.full(flat.shape, clips, np.float32)
    return confidence(
        fused, sensor, flat if disparity is None else disparity, replace(FIT, **fit), disagreement, calibration
    )


@pytest.mark.parametrize("calibration", [None, PLAIN])
def test_it_is_between_zero_and_one_and_zero_without_depth(calibration):
    result = believed(calibration=calibration)
    assert result.dtype == np.float32
    assert (result[:, -1] == 0).all()
    assert (result[:, :-1] > 0).all() and (result <= 1).all()


def test_where_the_model_answers_nan_nothing_is_believed_and_nothing_is_nan():
    disparity = np.ones((96, 160), np.float32)
    disparity[40, 120] = np.nan
    result = believed(disparity=disparity)
    assert np.isfinite(result).all() and result[40, 120] == 0 and (result[:30, :-1] > 0).all()


@pytest.mark.parametrize("calibration", [None, PLAIN])
def test_measured_is_believed_more_than_inferred_and_near_more_than_far(calibration):
    row = believed(calibration=calibration)[48]
    assert row[78] > row[82]
    assert (np.diff(row[82:159]) <= 0).all() and row[82] > row[158]


def test_everything_that_speaks_against_a_pixel_lowers_it():
    base = believed(calibration=PLAIN)
    measured, inferred = np.s_[:, :79], np.s_[:, 81:159]
    edge = np.ones((96, 160), np.float32)
    edge[48:] = 1.2
    for worse, where in (
        (believed(gap=0.05, calibration=PLAIN), measured),
        (believed(residual=0.05, calibration=PLAIN), inferred),
        (believed(clips=0.05, calibration=PLAIN), inferred),
        (believed(disparity=edge, calibration=PLAIN), np.s_[47:49, :159]),
    ):
        assert (worse[where] < base[where]).all()
    more = believed(gap=-0.1, calibration=PLAIN)[measured]
    assert (more < believed(gap=0.05, calibration=PLAIN)[measured]).all()


def test_the_bundled_weights_never_believe_more_because_of_a_larger_error():
    base = believed()
    for worse in (believed(gap=0.05), believed(residual=0.05), believed(scale_sigma=0.5), believed(clips=0.05)):
        assert (worse <= base + 1e-6).all()
    assert (believed(gap=0.05)[:, :79] < base[:, :79]).all()
    assert (believed(residual=0.05)[:, 81:159] < base[:, 81:159]).all()


@pytest.mark.parametrize("anchor", ["sensor", "plane"])
def test_an_uncertain_scale_is_doubted_as_far_as_it_moves_the_depth(anchor):
    # The right half rises from the disparity of the measured left half to twice as much.
    disparity = np.ones((96, 160), np.float32)
    disparity[:, 80:] += np.linspace(0, 1, 80, dtype=np.float32)
    sure, unsure = (believed(disparity=disparity, scale_sigma=sigma, anchor=anchor) for sigma in (1e-3, 0.5))
    left = (unsure / np.maximum(sure, 1e-9))[48]
    assert left[:81] == pytest.approx(1, abs=1e-6) and (np.diff(left[82:158]) < 0).all()
    # At the end 1/z is twice that of the pivot and its sigma a quarter of itself: erf(0.05 / (sqrt(2) 0.25)).
    assert left[157] == pytest.approx(math.erf(0.05 / (math.sqrt(2) * 0.25)), abs=0.01)


def test_without_measured_pixels_the_scale_turns_about_the_middle_of_the_view():
    _, _, disparity = scene()
    disparity = disparity + np.linspace(-0.5, 0.5, 160, dtype=np.float32)
    everything = np.full((96, 160), PROVENANCE_INFERRED, np.uint8)
    alone = FusedDepth(np.ones((96, 160), np.float32), everything, np.zeros((96, 160), np.float32))
    found = features(alone, None, disparity, replace(FIT, anchor="plane", scale_sigma=0.3))[SCALE_RIGHT][48]
    assert found[79] == found[80] == found.max() and found[0] < 0.5 and found[-1] < 0.5


def test_without_a_sensor_it_is_lower_and_its_anchor_decides():
    _, _, disparity = scene()
    everything = np.full((96, 160), PROVENANCE_INFERRED, np.uint8)
    alone = FusedDepth(np.ones((96, 160), np.float32), everything, np.zeros((96, 160), np.float32))
    plane, fixed = (
        confidence(alone, None, disparity, replace(FIT, anchor=anchor)).mean() for anchor in ("plane", "fixed")
    )
    assert 0 < fixed < 0.5 * plane < plane < believed()[:, :79].mean()


def test_it_is_the_same_every_time_and_at_every_size_of_picture():
    np.testing.assert_array_equal(believed(), believed())
    fused, sensor, disparity = scene(shape=(480, 800))
    large = confidence(fused, sensor, disparity, FIT)
    small = believed()
    assert large.shape == (480, 800)
    assert np.abs(large[2:478:5, 2:780:5][:, :70] - small[:, :70]).max() < 0.02
    assert np.abs(large[2:478:5, 432:780:5] - small[:, 86:156]).max() < 0.02


def test_features_are_of_the_grid_and_finite_whatever_is_missing():
    fused, _, disparity = scene(shape=(192, 321))
    empty = replace(fused, provenance=np.zeros_like(fused.provenance), depth=np.full_like(fused.depth, np.nan))
    for given in (fused, empty):
        found = features(given, None, -disparity, replace(FIT, scale_sigma=np.inf))
        assert set(found) == {*FEATURES, SCALE_RIGHT}
        assert all(each.shape == (96, 160) and np.isfinite(each).all() for each in found.values())
    assert not confidence(empty, None, disparity, FIT).any()


def test_the_bundled_file_is_readable_and_complete():
    weights = bundled_calibration().weights
    assert set(weights) == set(KINDS)
    assert COEFFICIENTS.read_text().startswith("#")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("measured: {bias: 1}", "must be for"),
        ("measured: [1, 2]", "install dkt_ros again"),
        ("- 1", "install dkt_ros again"),
        ("a: {b: 'c", "install dkt_ros again"),
        ("inferred: {}\nmeasured: {bias: 1}\nplane: {bias: 0}\nfixed: {bias: 0}", "inferred: no bias"),
        ("inferred: {bias: 0, clip: -1}\nmeasured: {bias: 1}\nplane: {bias: 0}\nfixed: {bias: 0}", "no feature 'clip'"),
        ("inferred: {bias: 0, step: 1}\nmeasured: {bias: 1}\nplane: {bias: 0}\nfixed: {bias: 0}", "wrong sign"),
        ("inferred: {bias: .nan}\nmeasured: {bias: 1}\nplane: {bias: 0}\nfixed: {bias: 0}", "not finite"),
        ("inferred: {bias: high}\nmeasured: {bias: 1}\nplane: {bias: 0}\nfixed: {bias: 0}", "high"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path, text, why):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)mine\.yaml.*{why}"):
        read_calibration(path)
