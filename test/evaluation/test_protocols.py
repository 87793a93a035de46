"""Protocols A, B and C: who may look at the ground truth, and on which pixels."""

import json
from dataclasses import replace

import numpy as np
import pytest

from dkt_ros.evaluation.alignment import RunningFit, align_disparity, aligned_depth
from dkt_ros.evaluation.protocols import Answer, Range, Reference
from dkt_ros.evaluation.scorer import Scorer
from dkt_ros.evaluation.videos import Patched, Spool

LIMITS = Range()


def reference(frames: int = 3) -> Reference:
    """A slope from 0.4 m to 1.2 m, the middle columns transparent, the sensor blind on half of those."""
    depth = np.tile(np.linspace(0.4, 1.2, 8, dtype=np.float32), (frames, 6, 1))
    transparent = np.zeros(depth.shape, bool)
    transparent[:, :, 3:5] = True
    sensor = np.where(transparent, depth + 0.1, depth).astype(np.float32)
    sensor[:, :3, 3:5] = np.nan
    return Reference("slope", depth, transparent, sensor)


def score(answer: Answer, truth: Reference, limits: Range) -> dict:
    return Scorer(truth, limits).score(answer)


def test_a_forgives_scale_and_shift_c_does_not() -> None:
    truth = reference()
    disparity = (3.0 / truth.depth - 1.0).astype(np.float32)
    result = score(Answer("affine", depth=1 / disparity, disparity=disparity), truth, LIMITS)
    assert result["A"]["alignment"]["scale"] == pytest.approx(1 / 3, rel=1e-5)
    assert result["A"]["alignment"]["shift"] == pytest.approx(1 / 3, rel=1e-5)
    assert result["A"]["all"]["rel"] < 1e-5
    assert result["C"]["all"]["rel"] > 0.3


def test_one_scale_per_video_not_per_frame() -> None:
    truth = reference(frames=2)
    disparity = 1 / truth.depth
    disparity[1] *= 1.2
    assert score(Answer("drifts", disparity=disparity), truth, LIMITS)["A"]["all"]["rel"] > 0.05


def test_b_uses_the_fit_of_all_pixels_and_scores_transparent_ones() -> None:
    truth = reference()
    depth = np.where(truth.transparent, truth.depth * 1.1, truth.depth).astype(np.float32)
    result = score(Answer("far on glass", depth=depth), truth, LIMITS)
    assert result["B"]["transparent"]["reference_pixels"] == truth.transparent.sum()
    columns = np.stack([1 / depth.ravel(), np.ones(depth.size)], 1).astype(np.float64)
    (scale, shift), *_ = np.linalg.lstsq(columns, 1 / truth.depth.ravel().astype(np.float64), rcond=None)
    relative = np.abs(1 / (scale / depth + shift) - truth.depth) / truth.depth
    assert result["B"]["transparent"]["rel"] == pytest.approx(relative[truth.transparent].mean(), rel=1e-4)
    assert result["A"]["all"]["rel"] == pytest.approx(relative.mean(), rel=1e-4)


def test_c_regions() -> None:
    truth = reference()
    c = score(Answer("raw sensor", depth=truth.sensor_depth), truth, LIMITS)["C"]
    assert set(c) == {"all", "transparent", "opaque", "transparent_seen", "opaque_seen"}
    assert c["transparent"]["coverage"] == 0.5
    assert c["transparent_seen"]["coverage"] == 1.0
    assert c["transparent_seen"]["mae_m"] == pytest.approx(0.1, rel=1e-5)
    assert c["opaque"]["mae_m"] == 0.0
    assert c["all"]["reference_pixels"] == c["transparent"]["reference_pixels"] + c["opaque"]["reference_pixels"]


def test_shiny_metal_is_a_part_of_what_is_opaque() -> None:
    truth = reference()
    plain = score(Answer("raw sensor", depth=truth.sensor_depth * np.float32(1.1)), truth, LIMITS)["C"]
    shiny = np.zeros(truth.depth.shape, bool)
    shiny[:, :2] = ~truth.transparent[:, :2]
    sensor = truth.sensor_depth.copy()
    sensor[0][shiny[0]] = np.nan
    metal = replace(truth, specular=shiny, sensor_depth=sensor)
    depth = np.where(shiny, np.float32(1.3) * truth.depth, np.float32(1.1) * truth.sensor_depth)
    c = score(Answer("x", depth=depth), metal, LIMITS)["C"]
    assert set(c) - set(plain) == {"specular", "specular_seen"}
    assert c["specular"]["reference_pixels"] == shiny.sum() and c["specular"]["rel"] == pytest.approx(0.3, rel=1e-5)
    assert c["specular_seen"]["reference_pixels"] == shiny[1:].sum()
    assert c["opaque"]["reference_pixels"] == plain["opaque"]["reference_pixels"]
    assert c["opaque_seen"]["reference_pixels"] == plain["opaque_seen"]["reference_pixels"] - shiny[0].sum()
    share = shiny.sum() / c["opaque"]["reference_pixels"]
    assert c["opaque"]["rel"] == pytest.approx(0.3 * share + 0.1 * (1 - share), rel=1e-4)
    assert c["transparent"] == plain["transparent"]


def test_ground_truth_out_of_range_is_not_scored() -> None:
    truth = reference()
    near = Range(0.3, 0.8)
    assert 0 < Scorer(truth, near).pixels["all"] < Scorer(truth, LIMITS).pixels["all"] == truth.depth.size
    truth.depth[:, 0] = np.nan
    assert Scorer(truth, LIMITS).pixels["all"] == truth.depth[:, 1:].size


def test_swapped_near_and_far_is_reported_never_used() -> None:
    truth = reference()
    result = score(Answer("inverted", disparity=truth.depth), truth, LIMITS)
    assert result["A"]["alignment"]["scale"] < 0
    assert "near and far are swapped" in result["A"]["all"]["flag"]
    assert result["A"]["all"]["rel"] is None
    assert result["C"] == {}


@pytest.mark.parametrize("value", [1.0, np.nan])
def test_degenerate_disparity_is_flagged(value: float) -> None:
    truth = reference()
    constant = np.full_like(truth.depth, value)
    result = score(Answer("constant", disparity=constant), truth, LIMITS)
    assert result["A"]["alignment"]["flag"] and result["A"]["all"]["rel"] is None


def test_an_impossible_pixel_reads_1000_m_and_the_capped_rmse_is_beside_it() -> None:
    truth = reference()
    disparity = 1 / truth.depth
    disparity[0, 0, 0] = -5.0
    leaf = score(Answer("one bad pixel", disparity=disparity), truth, LIMITS)["A"]["all"]
    assert leaf["rmse_m"] > 50 and leaf["rmse_capped_m"] < 0.5


def test_an_alignment_that_was_refused_cannot_be_applied() -> None:
    truth = reference()
    with pytest.raises(ValueError, match="swapped"):
        aligned_depth(truth.depth, align_disparity(truth.depth, truth.depth, truth.depth > 0))


def test_an_answer_of_another_shape_is_refused() -> None:
    truth = reference()
    with pytest.raises(ValueError, match=r"small: \(3, 5, 8\), but the ground truth is \(3, 6, 8\)"):
        score(Answer("small", depth=truth.depth[:, :5]), truth, LIMITS)


@pytest.mark.parametrize("pixels", [0, 1])
def test_a_video_with_no_or_one_valid_pixel_is_flagged_and_has_no_fit(pixels: int) -> None:
    truth = reference()
    depth = np.full_like(truth.depth, np.nan)
    depth.reshape(-1)[:pixels] = 0.5
    result = score(Answer("any", depth=truth.depth), Reference("dark", depth, truth.transparent), LIMITS)
    assert result["A"]["alignment"]["pixels"] == pixels and "at least 3" in result["A"]["alignment"]["flag"]
    assert result["A"]["all"]["flag"] and result["A"]["all"]["rel"] is None
    assert result["C"]["all"]["reference_pixels"] == result["C"]["all"]["pixels"] == pixels
    assert not json_has_nan(result)


def json_has_nan(result: dict) -> bool:
    try:
        json.dumps(result, allow_nan=False)
    except ValueError:
        return True
    return False


def test_fit_scale_shift_and_counts_stand_beside_every_aligned_score() -> None:
    truth = reference()
    result = score(Answer("ours", depth=truth.depth), truth, LIMITS)
    assert result["A"]["alignment"] == result["B"]["alignment"]
    assert set(result["A"]["alignment"]) == {"scale", "shift", "pixels", "flag"}
    assert result["A"]["all"]["rmse_cm"] == pytest.approx(100 * result["A"]["all"]["rmse_m"])


def test_a_fit_of_parts_is_the_fit_of_the_whole() -> None:
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.3, 1.5, 5000).astype(np.float32)
    disparity = (2 / depth - 40 + rng.normal(0, 0.1, 5000)).astype(np.float32)
    fit = RunningFit()
    for part in np.array_split(np.arange(5000), 7):
        fit.add(disparity[part], depth[part])
    (scale, shift), *_ = np.linalg.lstsq(
        np.stack([disparity, np.ones(5000)], 1).astype(np.float64), 1 / depth.astype(np.float64), rcond=None
    )
    found = fit.result()
    assert (found.scale, found.shift, found.pixels) == (pytest.approx(scale), pytest.approx(shift), 5000)


def test_pictures_that_are_read_one_by_one_score_the_same() -> None:
    truth = reference()
    spool = Spool()
    for depth in truth.depth:
        spool.append(depth * np.float32(1.1))
    assert score(Answer("a", depth=spool), truth, LIMITS) == score(
        Answer("a", depth=truth.depth * np.float32(1.1)), truth, LIMITS
    )


def test_range_must_ascend() -> None:
    with pytest.raises(ValueError, match=r"1.5\.\.0.3"):
        Range(1.5, 0.3)


@pytest.mark.parametrize("with_sensor", [True, False])
def test_an_answer_kept_as_a_patch_of_another_scores_as_the_whole_pictures_do(with_sensor: bool) -> None:
    """Also where the patch lies outside of what is scored, in one cell only, or where the truth has no sensor."""
    rng = np.random.default_rng(3)
    truth = reference(4)
    base = (truth.depth * rng.normal(1, 0.02, truth.depth.shape)).astype(np.float32)
    base[rng.random(base.shape) < 0.2] = np.nan
    truth.depth[rng.random(base.shape) < 0.2] = np.nan
    whole, places, values, sensor = base.copy(), Spool(), Spool(), Spool()
    for index, picture in enumerate(base):
        own = [np.flatnonzero(~np.isfinite(picture)), np.flatnonzero(truth.transparent[index]), np.zeros(0, int)][
            index % 3
        ]
        new = rng.uniform(0.3, 1.5, len(own)).astype(np.float32)
        whole[index].reshape(-1)[own] = new
        sensor.append(picture)
        places.append(own.astype(np.int32))
        values.append(new)
    patched = Patched(sensor, places, values)
    np.testing.assert_array_equal(patched[1], whole[1])
    scorer = Scorer(truth if with_sensor else Reference("blind", truth.depth, truth.transparent), LIMITS)
    answers = [Answer("base", depth=sensor), Answer("patched", depth=patched), Answer("whole", depth=whole)]
    found = scorer.score_all(answers)
    assert found["base"]["C"] != found["whole"]["C"]
    assert found["patched"]["C"] == found["whole"]["C"]
    for region, numbers in scorer.by_frame["whole"]["C"].items():
        np.testing.assert_array_equal(scorer.by_frame["patched"]["C"][region], numbers)
    for protocol, region in (("A", "all"), ("B", "transparent")):
        ours, theirs = found["patched"][protocol][region], found["whole"][protocol][region]
        for name in ("reference_pixels", "pixels", "rel", "rmse_m", "bias_m", "delta_1_05", "rmse_capped_m"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-6)
    assert found["whole"] == scorer.score(Answer("whole", depth=whole))
