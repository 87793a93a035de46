"""Depth Pro's boundary F1: against its definition written out, and where there is nothing to find."""

import numpy as np
import pytest

from dkt_ros.evaluation.boundaries import THRESHOLDS, Boundaries, Steps


def scored(predicted: np.ndarray, truth: np.ndarray, valid: np.ndarray | None = None):
    boundaries = Boundaries()
    boundaries.add(predicted, Steps(truth, np.ones(truth.shape, bool) if valid is None else valid))
    return boundaries.scores()


def random_steps(seed: int) -> np.ndarray:
    """Blocks of depths that differ by up to 40 %."""
    return np.kron(np.random.default_rng(seed).uniform(0.8, 1.2, (5, 6)), np.ones((4, 5))).astype(np.float32)


def by_definition(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Threshold by threshold, direction by direction, as the paper says it."""
    total = 0.0
    for t in THRESHOLDS:
        precisions, recalls = [], []
        for axis in (0, 1):
            for turned in (False, True):
                found = []
                for depth in (predicted, truth):
                    inverse = np.moveaxis(1 / depth, axis, 0)
                    inverse = inverse[::-1] if turned else inverse
                    found.append(inverse[1:] / inverse[:-1] > t)
                given, true = found
                precisions.append((given & true).sum() / max(given.sum(), 1))
                recalls.append((given & true).sum() / max(true.sum(), 1))
        p, r = np.mean(precisions), np.mean(recalls)
        total += t * (2 * p * r / (p + r) if p + r else 0.0)
    return total / THRESHOLDS.sum()


@pytest.mark.parametrize("seed", range(3))
def test_it_is_the_definition(seed: int) -> None:
    truth = random_steps(seed)
    noise = np.random.default_rng(9).normal(1, 0.04, truth.shape).astype(np.float32)
    s = scored(truth * noise, truth)
    assert s.depth_pro_f1 == pytest.approx(by_definition(truth * noise, truth), rel=1e-9)
    assert 0.1 < s.depth_pro_f1 < 0.9


def test_scale_does_not_matter_but_a_shift_by_a_pixel_does() -> None:
    truth = random_steps(0)
    assert scored(7 * truth, truth).depth_pro_f1 == scored(truth, truth).depth_pro_f1 > 0.7
    assert scored(np.roll(truth, 1, axis=1), truth).depth_pro_f1 < 0.6 * scored(truth, truth).depth_pro_f1


def test_a_smooth_answer_finds_nothing_and_a_hole_is_no_step() -> None:
    truth = random_steps(1)
    flat = scored(np.ones_like(truth), truth)
    assert (flat.depth_pro_f1, flat.depth_pro_precision, flat.depth_pro_recall, flat.flag) == (0.0, 0.0, 0.0, "")
    holes = truth.copy()
    holes[::2] = np.nan
    assert scored(holes, truth).depth_pro_recall < scored(truth, truth).depth_pro_recall


def test_an_infinite_prediction_is_no_step() -> None:
    """Of a hole beyond all depth there would be a step at every edge of it."""
    truth = random_steps(1)
    far, unknown = truth.copy(), truth.copy()
    far[8:12, 10:20], unknown[8:12, 10:20] = np.inf, np.nan
    assert scored(far, truth) == scored(unknown, truth)


def test_pairs_without_truth_do_not_count() -> None:
    truth = random_steps(2)
    valid = np.ones(truth.shape, bool)
    valid[:, 12:] = False
    wrong = truth.copy()
    wrong[:, 13:] = 1 + np.indices(truth.shape)[0][:, 13:] % 2
    assert scored(wrong, truth, valid).depth_pro_f1 == scored(truth, truth, valid).depth_pro_f1


def test_nothing_to_find_and_nothing_given_are_flagged() -> None:
    plane = np.ones((6, 8), np.float32)
    s = scored(random_steps(0)[:6, :8], plane)
    assert s.flag == "the true depth has no step" and s.depth_pro_f1 is None
    silent = scored(np.full((20, 30), np.nan, np.float32), random_steps(0))
    assert silent.flag == "no predicted pixels" and silent.depth_pro_f1 is None and silent.coverage == 0.0
    with pytest.raises(ValueError, match=r"\(6, 8\), truth \(20, 30\)"):
        scored(plane, random_steps(0))


def test_frames_without_a_step_are_left_out_of_the_mean() -> None:
    truth, plane = random_steps(0), np.ones((20, 30), np.float32)
    boundaries = Boundaries()
    for depth in (truth, plane):
        boundaries.add(depth, Steps(depth, depth > 0))
    s = boundaries.scores()
    assert (s.frames, s.frames_scored) == (2, 1) and s.depth_pro_f1 == scored(truth, truth).depth_pro_f1
