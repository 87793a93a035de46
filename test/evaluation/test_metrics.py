"""What the numbers mean, on arrays small enough to work out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkt_ros.evaluation.metrics import depth_scores, frame_means, mean_of, normal_scores


def grid(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


EVERYWHERE = np.ones((1, 4), bool)


def test_every_number_by_hand() -> None:
    reference, predicted = grid([1.0, 1.0, 2.0, 0.5]), grid([1.1, 1.0, 1.5, 0.5])
    s = depth_scores(predicted, reference, EVERYWHERE)
    assert (s.reference_pixels, s.pixels, s.coverage, s.flag) == (4, 4, 1.0, "")
    assert s.rel == pytest.approx((0.1 + 0.25) / 4, rel=1e-6)
    assert s.rmse_m == pytest.approx(math.sqrt((0.01 + 0.25) / 4), rel=1e-6)
    assert s.mae_m == pytest.approx(0.15, rel=1e-6)
    assert s.median_abs_m == pytest.approx(0.05, rel=1e-6)
    assert s.bias_m == pytest.approx((0.1 - 0.5) / 4, rel=1e-6)
    assert (s.delta_1_05, s.delta_1_25) == (0.5, 0.75)


def test_delta_is_strict() -> None:
    assert depth_scores(grid([1.25]), grid([1.0]), np.ones((1, 1), bool)).delta_1_25 == 0.0


@pytest.mark.parametrize("nothing", [0.0, math.nan, math.inf, -1.0])
def test_zero_nan_inf_and_negative_all_mean_no_value(nothing: float) -> None:
    reference = grid([1.0, nothing, 1.0, 1.0])
    predicted = grid([1.0, 1.0, nothing, 1.0])
    s = depth_scores(predicted, reference, EVERYWHERE)
    assert (s.reference_pixels, s.pixels) == (3, 2)
    assert s.coverage == pytest.approx(2 / 3)
    assert s.rel == 0.0


def test_only_the_region_counts() -> None:
    region = np.array([[True, False, True, False]])
    s = depth_scores(grid([1.0, 9.0, 1.0, 9.0]), grid([1.0, 1.0, 1.0, 1.0]), region)
    assert (s.pixels, s.mae_m) == (2, 0.0)


def test_nothing_to_score_is_flagged_and_has_no_numbers() -> None:
    nothing = np.full((1, 4), np.nan, np.float32)
    empty = depth_scores(nothing, nothing, EVERYWHERE)
    assert empty.flag == "no reference pixels in this region" and empty.rel is None and empty.coverage is None
    silent = depth_scores(nothing, np.ones((1, 4), np.float32), EVERYWHERE)
    assert silent.flag == "no predicted pixels in this region" and silent.rel is None and silent.coverage == 0.0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(1, 4\).*\(1, 3\)"):
        depth_scores(grid([1.0, 1.0, 1.0, 1.0]), grid([1.0, 1.0, 1.0]), EVERYWHERE)


def test_frame_mean_weights_frames_and_leaves_empty_ones_out() -> None:
    reference = np.ones((3, 1, 2), np.float32)
    reference[2] = np.nan
    predicted = np.array([[[1.1, np.nan]], [[1.3, 1.3]], [[5.0, 5.0]]], np.float32)
    region = np.ones_like(reference, bool)
    frame = np.arange(3)[:, None, None] * np.ones((1, 1, 2), int)
    means = frame_means(predicted, reference, region, frame)
    assert means["rel"] == means["mae_m"] == pytest.approx(0.2, rel=1e-5)
    assert frame_means(predicted, reference, region & False, frame) == {}
    assert depth_scores(predicted, reference, region).rel == pytest.approx((0.1 + 0.3 + 0.3) / 3, rel=1e-5)


def test_a_mean_over_videos_never_holds_a_nan() -> None:
    assert mean_of([{"rel": 0.1}, {"rel": None}, {"rel": math.nan}, {"rel": 0.3}]) == {"rel": pytest.approx(0.2)}
    assert mean_of([{"rel": None}]) == {}


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_delta_is_symmetric(a: float, b: float) -> None:
    one = np.ones((1, 1), bool)
    forth, back = depth_scores(grid([a]), grid([b]), one), depth_scores(grid([b]), grid([a]), one)
    assert (forth.delta_1_05, forth.delta_1_25) == (back.delta_1_05, back.delta_1_25)


def tilted(degrees: float) -> list[float]:
    return [math.sin(math.radians(degrees)), 0.0, -math.cos(math.radians(degrees))]


def test_normals_by_hand() -> None:
    reference = np.array([[tilted(0)] * 4], np.float32)
    predicted = np.array([[tilted(5), tilted(20), tilted(29), tilted(180)]], np.float32)
    s = normal_scores(predicted, reference, EVERYWHERE)
    assert s.mean_deg == pytest.approx((5 + 20 + 29 + 180) / 4, abs=1e-3)
    assert s.median_deg == pytest.approx(24.5, abs=1e-3)
    assert (s.within_11_25, s.within_22_5, s.within_30) == (0.25, 0.5, 0.75)


def test_length_does_not_matter_but_no_direction_is_no_normal() -> None:
    reference = np.array([[tilted(0)] * 4], np.float32)
    predicted = np.array([[tilted(0), [0, 0, 0], [np.nan] * 3, [0, 0, -7]]], np.float32)
    s = normal_scores(predicted, reference, EVERYWHERE)
    assert (s.reference_pixels, s.pixels, s.mean_deg) == (4, 2, pytest.approx(0.0, abs=1e-4))
    assert normal_scores(predicted, reference * np.nan, EVERYWHERE).flag == "no reference normals in this region"
