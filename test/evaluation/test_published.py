"""The papers' scores: the same numbers from the same arrays, and a flag where theirs would be NaN."""

from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.evaluation.alignment import aligned_depth
from dkt_ros.evaluation.metrics import mean_of
from dkt_ros.evaluation.protocols import Answer, Range, Reference
from dkt_ros.evaluation.published import (
    PublishedScores,
    depth_steps,
    fit,
    picture_edges,
    published_scores,
    score_published,
    within,
)
from dkt_ros.frames import Intrinsics
from dkt_ros.geometry import unproject

FIXTURES = Path(__file__).parents[1] / "fixtures"
METRICS = dict(np.load(FIXTURES / "dvd/metrics.npz"))
CHAIN = dict(np.load(FIXTURES / "dvd/eval_protocol.npz"))
DKT = dict(np.load(FIXTURES / "dkt/geometry.npz"))
#: Name in the fixtures -> ours.
NAMES = {
    "abs_relative_difference": "abs_rel",
    "squared_relative_difference": "sq_rel_m",
    "rmse_linear": "rmse_m",
    "rmse_log": "rmse_log",
    "log10": "log10",
    "delta1_acc": "delta_1",
    "delta2_acc": "delta_2",
    "delta3_acc": "delta_3",
    "i_rmse": "inverse_rmse",
    "silog_rmse": "silog",
    "relative_temporal_diff": "relative_temporal_difference",
}
#: Two rows of numbers per picture column, which no paper quotes: a mean over the wrong axes. Not scores of ours.
NOT_SCORES = {"pixel_mean", "pixel_var"}


def video(*frames: float) -> np.ndarray:
    """(T, 6, 8) float32 planes at these depths."""
    return np.stack([np.full((6, 8), z, np.float32) for z in frames])


def everywhere(depth: np.ndarray) -> np.ndarray:
    return np.ones(depth.shape, bool)


# The metrics' fixture: 1e-6 absolute, SILog 1e-4.


@pytest.mark.parametrize("case", ["masked", "nomask", "image"])
def test_scores_are_the_published_ones(case: str) -> None:
    frames = slice(1, 2) if case == "image" else slice(None)
    predicted = METRICS["pred"][frames]
    reference = METRICS["gt_nonzero" if case == "nomask" else "gt"][frames]
    valid = everywhere(predicted) if case == "nomask" else METRICS["mask"][frames]
    ours = asdict(published_scores(predicted, reference, valid))
    theirs = {key.removeprefix(f"{case}_"): value for key, value in METRICS.items() if key.startswith(f"{case}_")}
    assert set(theirs) - NOT_SCORES == set(NAMES) - ({"relative_temporal_diff"} if case == "image" else set())
    for name in set(theirs) - NOT_SCORES:
        assert ours[NAMES[name]] == pytest.approx(float(theirs[name]), abs=1e-4 if name == "silog_rmse" else 1e-6), name
    assert ours["flag"] == "" and ours["coverage"] == 1.0


# The chain's fixture: scale and shift 1e-6, arrays 1e-5 relative, scores 1e-4 relative.


def chain(name: str) -> np.ndarray:
    return CHAIN[name][..., 0]


LIMITS = Range(float(CHAIN["min_depth"]), float(CHAIN["max_depth"]))


def test_one_fit_per_clip_on_positive_predictions() -> None:
    predicted = CHAIN["pred_rgb_disparity"].mean(axis=-1)
    np.testing.assert_allclose(predicted, chain("pred_mean"), atol=1e-7)
    alignment = fit(predicted, chain("gt_depth"), chain("valid_mask"))
    assert alignment.pixels == CHAIN["align_mask"].sum() < CHAIN["valid_mask"].sum()
    used = chain("valid_mask") & (chain("gt_depth") > 0) & (predicted > 0)
    np.testing.assert_array_equal(used, chain("align_mask"))
    # What is fitted to: the reference's inverse depth.
    plain = np.polyfit(predicted[used].astype(np.float64), chain("gt_disparity")[used].astype(np.float64), 1)
    np.testing.assert_allclose((alignment.scale, alignment.shift), plain, rtol=0, atol=1e-6)
    assert alignment.scale == pytest.approx(float(CHAIN["scale"][0]), abs=1e-6)
    assert alignment.shift == pytest.approx(float(CHAIN["shift"][0]), abs=1e-6)
    aligned = alignment.scale * predicted.astype(np.float64) + alignment.shift
    # Where disparity crosses zero a share of it means nothing: 1e-6 there, as for the shift.
    np.testing.assert_allclose(aligned, chain("aligned_disparity"), rtol=1e-5, atol=1e-6)


def test_depth_is_held_within_the_range_and_scored_where_the_prediction_is_not_positive_too() -> None:
    predicted, reference, valid = chain("pred_mean"), chain("gt_depth"), chain("valid_mask")
    depth = within(aligned_depth(predicted, fit(predicted, reference, valid)), LIMITS)
    np.testing.assert_allclose(depth, chain("depth_pred"), rtol=1e-5)
    ours = asdict(published_scores(depth, reference, valid))
    assert ours["pixels"] == valid.sum() > CHAIN["align_mask"].sum()
    for name, mine in NAMES.items():
        assert ours[mine] == pytest.approx(float(CHAIN[f"metric_{name}"]), rel=1e-4), name


def test_the_chain_in_one_call() -> None:
    """The clip's mask and the range together are what ``valid_mask`` is; outside of both stands 0 or beyond 80 m."""
    reference = np.where(chain("valid_mask"), chain("gt_depth"), np.nan).astype(np.float32)
    truth = Reference("clip", reference, np.zeros(reference.shape, bool))
    result = score_published(Answer("theirs", disparity=chain("pred_mean")), truth, LIMITS)
    assert result["alignment"]["scale"] == pytest.approx(float(CHAIN["scale"][0]), abs=1e-6)
    assert result["all"]["reference_pixels"] == chain("valid_mask").sum()
    for name, mine in NAMES.items():
        assert result["all"][mine] == pytest.approx(float(CHAIN[f"metric_{name}"]), rel=1e-4), name


def test_the_fit_of_a_single_image() -> None:
    alignment = fit(chain("pred_mean")[0], chain("gt_depth")[0], chain("valid_mask")[0])
    assert alignment.scale == pytest.approx(float(CHAIN["image0_scale"][0]), abs=1e-6)
    assert alignment.shift == pytest.approx(float(CHAIN["image0_shift"][0]), abs=1e-6)
    aligned = alignment.scale * chain("pred_mean")[0].astype(np.float64) + alignment.shift
    np.testing.assert_allclose(aligned, CHAIN["image0_aligned"], rtol=1e-5, atol=1e-6)


# DKT's alignment and point cloud: 1e-5 relative.


def test_dkt_fits_the_same_way_and_stops_at_1000_m() -> None:
    predicted, reference, mask = (DKT[f"align.{name}"] for name in ("pred", "gt_depth", "mask"))
    alignment = fit(predicted, reference, mask)
    assert alignment.scale == pytest.approx(float(DKT["align.scale"][0]), rel=1e-5)
    assert alignment.shift == pytest.approx(float(DKT["align.shift"][0]), rel=1e-5)
    np.testing.assert_allclose(aligned_depth(predicted, alignment), DKT["align.depth"], rtol=1e-5)
    assert DKT["align.depth"].max() == pytest.approx(1000, rel=1e-5)


def test_dkt_keeps_scale_and_shift_for_later_frames() -> None:
    alignment = fit(DKT["align.pred"], DKT["align.gt_depth"], DKT["align.mask"])
    np.testing.assert_allclose(aligned_depth(DKT["align.pred_next"], alignment), DKT["align.depth_next"], rtol=1e-5)


def test_our_points_are_dkts_points() -> None:
    """Integer pixel centres, optical axes, pixels in rows."""
    k, depth, mask = DKT["pcd.K"], DKT["pcd.depth"], DKT["pcd.mask"]
    height, width = depth.shape
    points = unproject(depth, Intrinsics(k[0, 0], k[1, 1], k[0, 2], k[1, 2], width, height))[mask]
    np.testing.assert_allclose(points, DKT["pcd.points_colors"][:, :3], rtol=1e-5)
    np.testing.assert_allclose(DKT["pcd.rgb"][mask] / 255, DKT["pcd.points_colors"][:, 3:], rtol=1e-5)


# Means and degenerate clips.


def test_frames_count_the_same_however_many_pixels_they_have() -> None:
    reference, predicted = video(1.0, 1.0), video(1.1, 1.3)
    valid = everywhere(reference)
    valid[1, 1:] = False
    scores = published_scores(predicted, reference, valid)
    assert scores.abs_rel == pytest.approx(0.2, rel=1e-5)
    pooled = (48 * np.log10(1.1) + 8 * np.log10(1.3)) / 56
    assert scores.log10 == pytest.approx(pooled, rel=1e-5)


def test_silog_forgives_a_factor_and_the_temporal_difference_too() -> None:
    reference = np.random.default_rng(0).uniform(1, 3, (3, 6, 8)).astype(np.float32)
    scores = published_scores(2 * reference, reference, everywhere(reference))
    assert scores.abs_rel == pytest.approx(1.0) and scores.delta_3 == 0.0
    assert scores.silog == pytest.approx(0.0, abs=1e-3)
    assert scores.relative_temporal_difference == pytest.approx(0.0, abs=1e-5)


def test_a_flicker_of_ten_percent() -> None:
    scores = published_scores(video(2.0, 2.2, 2.0), video(2.0, 2.0, 2.0), everywhere(video(1, 1, 1)))
    assert scores.relative_temporal_difference == pytest.approx((0.1 + 0.2 / 2.2) / 2, rel=1e-5)


def test_a_clip_with_an_empty_frame_is_flagged_and_enters_no_mean() -> None:
    reference = video(1.0, 1.0)
    valid = everywhere(reference)
    valid[1] = False
    empty = published_scores(reference, reference, valid)
    assert empty.flag == "frame 1 has no pixel to score" and empty.abs_rel is None
    good = published_scores(video(1.1, 1.1), reference, everywhere(reference))
    assert mean_of([asdict(empty), asdict(good)])["abs_rel"] == good.abs_rel


@pytest.mark.parametrize(
    ("disparity", "flag"),
    [(video(0.5, 0.5), "constant"), (video(0, 0), "0 pixels"), (video(np.nan, np.nan), "0 pixels")],
)
def test_what_cannot_be_fitted_is_flagged(disparity: np.ndarray, flag: str) -> None:
    truth = Reference("plane", video(1.0, 2.0), np.zeros((2, 6, 8), bool))
    result = score_published(Answer("degenerate", disparity=disparity), truth, Range(0.3, 5))
    assert flag in result["all"]["flag"] and flag in result["alignment"]["flag"]
    assert not any(isinstance(value, float) for value in result["all"].values())


def test_near_and_far_turned_around_is_no_score() -> None:
    truth = Reference("plane", video(1.0, 2.0), np.zeros((2, 6, 8), bool))
    result = score_published(Answer("inverted", disparity=video(0.5, 1.0)), truth, Range(0.3, 5))
    assert "swapped" in result["all"]["flag"] and result["all"]["abs_rel"] is None


def test_depth_stands_in_for_disparity_and_the_limits_are_not_valid() -> None:
    truth = Reference("planes", video(1.0, 2.0), np.zeros((2, 6, 8), bool))
    truth.depth[0, 0] = 5.0
    result = score_published(Answer("metric", depth=truth.depth.copy()), truth, Range(0.3, 5))
    assert result["all"]["abs_rel"] == pytest.approx(0.0, abs=1e-6)
    assert result["all"]["reference_pixels"] == 2 * 48 - 8
    with pytest.raises(ValueError, match="nothing: neither disparity nor depth"):
        score_published(Answer("nothing"), truth, Range(0.3, 5))


def test_shapes_must_agree() -> None:
    depth = video(1.0, 1.0)
    with pytest.raises(ValueError, match=r"\(2, 6, 8\), reference \(1, 6, 8\)"):
        published_scores(depth, depth[:1], everywhere(depth))
    with pytest.raises(ValueError, match=r"pictures \(2, 3, 8, 3\): must be \(2, 6, 8, 3\)"):
        published_scores(depth, depth, everywhere(depth), np.zeros((2, 3, 8, 3), np.uint8))


# Boundaries: no fixture, so by hand.


def step(column: int, ratio: float) -> np.ndarray:
    """(12, 16) float32: 1 m, from ``column`` on ``ratio`` m."""
    return np.where(np.arange(16) < column, 1.0, ratio)[None].repeat(12, axis=0).astype(np.float32)


def picture(column: int) -> np.ndarray:
    """(12, 16, 3) uint8, black, white from ``column`` on."""
    return np.where(np.arange(16) < column, 0, 255)[None, :, None].repeat(12, axis=0).repeat(3, axis=2).astype(np.uint8)


def test_a_step_of_more_than_five_percent_is_an_edge_on_its_far_side() -> None:
    assert depth_steps(step(6, 1.04)).sum() == 0
    for edges, where in ((depth_steps(step(6, 1.06)), 6), (depth_steps(step(6, 0.9)), 5)):
        assert edges[:, where].all() and edges.sum() == 12


def test_of_a_ramp_only_its_steepest_pixel_is_an_edge() -> None:
    ramp = np.cumprod([1.0, 1.06, 1.2, 1.06, 1.0, 1.0])[None].repeat(4, axis=0).astype(np.float32)
    assert depth_steps(ramp)[0].tolist() == [False, False, True, False, False, False]
    assert not depth_steps(np.full((4, 5), np.nan, np.float32)).any()


def test_picture_edges_stand_on_both_sides_of_the_step_and_on_a_bright_rim() -> None:
    edges = picture_edges(picture(6))
    assert edges[1:-1, 5].all() and edges[1:-1, 6].all()
    assert not edges[:, :5].any() and not edges[1:-1, 7:15].any()
    assert edges[:, 15].all() and edges[0, 8]
    assert not picture_edges(np.zeros((4, 5, 3), np.uint8)).any()


def boundary(depth: np.ndarray, rgb: np.ndarray) -> PublishedScores:
    """Scored without the picture's rim."""
    valid = np.zeros((1, 12, 16), bool)
    valid[:, 1:-1, 1:-1] = True
    return published_scores(depth[None], depth[None], valid, rgb[None])


def test_boundaries_match_within_one_pixel() -> None:
    near = boundary(step(6, 2.0), picture(6))
    assert near.boundary_precision == pytest.approx(1.0, abs=1e-5)
    assert near.boundary_recall == pytest.approx(1.0, abs=1e-5)
    # The step's column 8 is two from the picture's edge at 5 and 6: only 6 would be near enough to 7.
    assert boundary(step(8, 2.0), picture(6)).boundary_f1 == 0.0
    half = boundary(step(7, 2.0), picture(6))
    assert half.boundary_precision == pytest.approx(1.0, abs=1e-5)
    assert half.boundary_recall == pytest.approx(0.5, abs=1e-5)
    assert half.boundary_f1 == pytest.approx(2 / 3, abs=1e-5)


def test_flat_depth_misses_every_edge_and_a_flat_picture_has_none_to_miss() -> None:
    assert boundary(step(6, 1.0), picture(6)).boundary_f1 == 0.0
    blank = boundary(step(6, 2.0), np.zeros((12, 16, 3), np.uint8))
    assert blank.boundary_f1 is None and blank.abs_rel == 0.0
