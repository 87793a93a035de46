"""What the numbers mean, on arrays small enough to work out by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dkt_ros.evaluation.metrics import DepthScores, NormalScores, mean_of
from dkt_ros.evaluation.normal_tally import NormalTally
from dkt_ros.evaluation.tallies import DepthTally


def grid(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


def depth_scores(predicted: np.ndarray, reference: np.ndarray) -> DepthScores:
    """Every row is a frame, every pixel with a truth counts."""
    return tally(predicted, reference).scores("all")


def tally(predicted: np.ndarray, reference: np.ndarray) -> DepthTally:
    result = DepthTally({"all": (0,)})
    for p, g in zip(predicted, reference, strict=True):
        known = np.isfinite(g) & (g > 0)
        result.add(p[known], g[known], (0, int(known.sum())))
    return result


def normal_scores(predicted: np.ndarray, reference: np.ndarray) -> NormalScores:
    result = NormalTally({"all": (0,)})
    for n, m in zip(predicted, reference, strict=True):
        result.add(n, m, (0, len(n)))
    return result.scores("all")


def test_every_number_by_hand() -> None:
    reference, predicted = grid([1.0, 1.0, 2.0, 0.5]), grid([1.1, 1.0, 1.5, 0.5])
    s = depth_scores(predicted, reference)
    assert (s.reference_pixels, s.pixels, s.coverage, s.flag) == (4, 4, 1.0, "")
    assert s.rel == pytest.approx((0.1 + 0.25) / 4, rel=1e-6)
    assert s.rmse_m == pytest.approx(math.sqrt((0.01 + 0.25) / 4), rel=1e-6)
    assert s.mae_m == pytest.approx(0.15, rel=1e-6)
    assert s.median_abs_m == pytest.approx(0.05, rel=1e-3)  # of a histogram
    assert s.rmse_cm == pytest.approx(100 * s.rmse_m)
    assert s.bias_m == pytest.approx((0.1 - 0.5) / 4, rel=1e-6)
    assert (s.delta_1_05, s.delta_1_25) == (0.5, 0.75)


def test_delta_is_strict() -> None:
    assert depth_scores(grid([1.25]), grid([1.0])).delta_1_25 == 0.0


@pytest.mark.parametrize("nothing", [0.0, math.nan, math.inf, -1.0])
def test_zero_nan_inf_and_negative_all_mean_no_value(nothing: float) -> None:
    reference = grid([1.0, nothing, 1.0, 1.0])
    predicted = grid([1.0, 1.0, nothing, 1.0])
    s = depth_scores(predicted, reference)
    assert (s.reference_pixels, s.pixels) == (3, 2)
    assert s.coverage == pytest.approx(2 / 3)
    assert s.rel == 0.0


def test_regions_are_cells_together() -> None:
    result = DepthTally({"left": (0,), "right": (1,), "all": (0, 1)})
    result.add(np.float32([1.0, 1.0, 1.5]), np.float32([1.0, 1.0, 1.0]), (0, 2, 3))
    result.add(np.float32([1.0]), np.float32([1.0]), (0, 0, 1))
    assert [result.scores(name).pixels for name in ("left", "right", "all")] == [2, 2, 4]
    assert [result.scores(name).mae_m for name in ("left", "right", "all")] == [0.0, 0.25, 0.125]
    assert result.frame_mean("right")["mae_m"] == 0.25 and result.frame_mean("all")["mae_m"] == pytest.approx(0.5 / 6)


@given(st.lists(st.floats(1e-5, 100), min_size=1, max_size=30))
def test_the_median_is_that_of_all_errors(errors: list[float]) -> None:
    g = np.full(len(errors), 200, np.float32)
    p = g + np.float32(errors)
    for frames in (p[None], p[:, None]):
        found = depth_scores(frames, np.full_like(frames, 200)).median_abs_m
        assert found == pytest.approx(float(np.median(np.abs(p - g))), rel=1e-3, abs=1e-6)


def test_holding_at_the_far_limit() -> None:
    result = DepthTally({"all": (0,)}, far_m=1.5)
    result.add(np.float32([1000.0, 1.0]), np.float32([1.0, 1.0]), (0, 2))
    assert result.capped_rmse_m("all") == pytest.approx(0.5 / math.sqrt(2)) and result.scores("all").rmse_m > 700


def test_nothing_to_score_is_flagged_and_has_no_numbers() -> None:
    nothing = np.full((1, 4), np.nan, np.float32)
    empty = depth_scores(nothing, nothing)
    assert empty.flag == "no reference pixels in this region" and empty.rel is None and empty.coverage is None
    silent = depth_scores(nothing, np.ones((1, 4), np.float32))
    assert silent.flag == "no predicted pixels in this region" and silent.rel is None and silent.coverage == 0.0


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(4,\).*\(3,\)"):
        DepthTally({"all": (0,)}).add(np.ones(4, np.float32), np.ones(3, np.float32), (0, 3))
    with pytest.raises(ValueError, match=r"normals \(4, 2\)"):
        NormalTally({"all": (0,)}).add(np.ones((4, 2)), np.ones((4, 2)), (0, 4))


def test_frame_mean_weights_frames_and_leaves_empty_ones_out() -> None:
    reference = np.ones((3, 2), np.float32)
    reference[2] = np.nan
    predicted = np.array([[1.1, np.nan], [1.3, 1.3], [5.0, 5.0]], np.float32)
    means = tally(predicted, reference).frame_mean("all")
    assert means["rel"] == pytest.approx(0.2, rel=1e-5) and means["mae_m"] == pytest.approx(0.2, rel=1e-5)
    assert tally(predicted * np.nan, reference).frame_mean("all") == {}
    assert depth_scores(predicted, reference).rel == pytest.approx((0.1 + 0.3 + 0.3) / 3, rel=1e-5)


def test_a_mean_over_videos_never_holds_a_nan() -> None:
    assert mean_of([{"rel": 0.1}, {"rel": None}, {"rel": math.nan}, {"rel": 0.3}]) == {"rel": pytest.approx(0.2)}
    assert mean_of([{"rel": None}]) == {}


@given(st.floats(0.1, 10), st.floats(0.1, 10))
def test_delta_is_symmetric(a: float, b: float) -> None:
    forth, back = depth_scores(grid([a]), grid([b])), depth_scores(grid([b]), grid([a]))
    assert (forth.delta_1_05, forth.delta_1_25) == (back.delta_1_05, back.delta_1_25)


def tilted(degrees: float) -> list[float]:
    return [math.sin(math.radians(degrees)), 0.0, -math.cos(math.radians(degrees))]


def test_normals_by_hand() -> None:
    reference = np.array([[tilted(0)] * 4], np.float32)
    predicted = np.array([[tilted(5), tilted(20), tilted(29), tilted(180)]], np.float32)
    s = normal_scores(predicted, reference)
    assert s.mean_deg == pytest.approx((5 + 20 + 29 + 180) / 4, abs=1e-3)
    assert s.median_deg == pytest.approx(24.5, abs=0.01)
    assert (s.within_11_25, s.within_22_5, s.within_30) == (0.25, 0.5, 0.75)


def test_length_does_not_matter_but_no_direction_is_no_normal() -> None:
    reference = np.array([[tilted(0)] * 4], np.float32)
    predicted = np.array([[tilted(0), [0, 0, 0], [np.nan] * 3, [0, 0, -7]]], np.float32)
    s = normal_scores(predicted, reference)
    assert (s.reference_pixels, s.pixels, s.mean_deg) == (4, 2, pytest.approx(0.0, abs=1e-4))
    assert normal_scores(predicted, reference * np.nan).flag == "no reference normals in this region"


def test_an_absurd_prediction_is_a_number_and_not_infinite() -> None:
    scores = depth_scores(grid([3e38, 1.0]), grid([1.0, 1.0]))
    assert scores.rel == pytest.approx(1.5e38, rel=1e-6) and scores.rmse_m == pytest.approx(
        3e38 / math.sqrt(2), rel=1e-6
    )
