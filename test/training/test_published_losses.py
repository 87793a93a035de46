"""DVD's target and loss, number for number (1e-6)."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dkt_ros.training.published_losses import DIFFERENCES, disparity_target, latent_loss

FIXTURES = Path(__file__).parents[1] / "fixtures/dvd"
LOSSES = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(FIXTURES / "losses.npz").items()}
DEPTH = dict(np.load(FIXTURES / "depth_norm.npz"))


@pytest.mark.parametrize("clips", ["video", "image", "batch2"])
def test_loss_and_gradient_are_the_published_ones(clips: str) -> None:
    predicted = LOSSES[f"{clips}_pred"].clone().requires_grad_()
    terms = latent_loss(predicted, LOSSES[f"{clips}_gt"])
    assert float(LOSSES["grad_co"]) == DIFFERENCES
    names = {"mse": "mse", "time": "l1_t", "height": "l1_h", "width": "l1_w", "total": "total"}
    for ours, theirs in names.items():
        assert terms[ours].item() == pytest.approx(LOSSES[f"{clips}_{theirs}"].item(), abs=1e-6), ours
    (gradient,) = torch.autograd.grad(terms["total"], predicted)
    torch.testing.assert_close(gradient, LOSSES[f"{clips}_grad_total"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("clips", ["video", "image", "batch2"])
def test_without_time_and_squared(clips: str) -> None:
    predicted, target = LOSSES[f"{clips}_pred"], LOSSES[f"{clips}_gt"]
    total = latent_loss(predicted, target, time=False)["total"].item()
    assert total == pytest.approx(LOSSES[f"{clips}_total_no_flow"].item(), abs=1e-6)
    squared = latent_loss(predicted, target, power=2)
    for ours, theirs in {"time": "l2_t", "height": "l2_h", "width": "l2_w"}.items():
        assert squared[ours].item() == pytest.approx(LOSSES[f"{clips}_{theirs}"].item(), abs=1e-6), ours


def test_an_image_has_no_time_term_and_no_nan() -> None:
    predicted = LOSSES["image_pred"].clone().requires_grad_()
    terms = latent_loss(predicted, LOSSES["image_gt"])
    assert terms["time"].item() == 0.0
    terms["total"].backward()
    assert torch.isfinite(predicted.grad).all()


def test_bfloat16_latents_are_compared_in_float32() -> None:
    exact = latent_loss(LOSSES["video_pred"].bfloat16().float(), LOSSES["video_gt"])
    rounded = latent_loss(LOSSES["video_pred"].bfloat16(), LOSSES["video_gt"])
    assert rounded["total"].dtype == torch.float32 and rounded["total"] == exact["total"]


def test_latents_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 16, 1, 6, 8\), target \(1, 16, 5, 6, 8\)"):
        latent_loss(LOSSES["video_pred"][:, :, :1], LOSSES["video_gt"])


def test_target_is_the_published_one() -> None:
    target = disparity_target(DEPTH["depth"])
    assert target.low == pytest.approx(float(DEPTH["q02"]), abs=1e-6)
    assert target.high == pytest.approx(float(DEPTH["q98"]), abs=1e-6)
    assert (DEPTH["q02_kth"], DEPTH["q98_kth"]) == (DEPTH["q02"], DEPTH["q98"])
    for channel in range(3):
        np.testing.assert_allclose(target.disparity, DEPTH["ttr_disparity"][:, channel], rtol=0, atol=1e-6)
    video = target.video()
    np.testing.assert_allclose(video.transpose(0, 1), DEPTH["vae_input"], rtol=0, atol=1e-6)
    assert video.shape == (3, *DEPTH["depth"].shape) and video.dtype == torch.float32


def test_a_far_limit_of_50_m_changes_nothing_nearer() -> None:
    clamped = DEPTH["ttr_depth_clamped"]
    np.testing.assert_array_equal(clamped, np.repeat(DEPTH["depth"][:, None].clip(0, 50), 3, axis=1))
    np.testing.assert_allclose(
        disparity_target(clamped[:, 1]).disparity, DEPTH["ttr_disparity"][:, 1], rtol=0, atol=1e-6
    )


def test_target_turns_back_into_inverse_depth_within_the_quantiles() -> None:
    target = disparity_target(DEPTH["depth"])
    np.testing.assert_allclose(target.inverse_depth(), DEPTH["inverse_disparity"], rtol=0, atol=1e-6)
    inverse = 1 / DEPTH["depth"]
    within = (inverse > target.low) & (inverse < target.high)
    assert 0.9 < within.mean() < 1
    np.testing.assert_allclose(target.inverse_depth()[within], inverse[within], atol=1e-6)


def test_unknown_depth_is_far_and_stretches_nothing() -> None:
    depth = DEPTH["depth"].copy()
    depth[:, 0] = np.inf
    depth[:, 1, :5], depth[:, 1, 5:10], depth[:, 1, 10:] = np.nan, 0.0, -1.0
    target = disparity_target(depth)
    rest = disparity_target(DEPTH["depth"][:, 2:])
    assert (target.low, target.high) == (rest.low, rest.high)
    np.testing.assert_array_equal(target.disparity[:, :2], 0)
    np.testing.assert_array_equal(target.disparity[:, 2:], rest.disparity)


def test_a_sky_outside_of_what_was_measured_is_far_too() -> None:
    depth = DEPTH["depth"].copy()
    depth[:, :6] = 655.35
    target = disparity_target(depth, measured=depth < 80)
    assert target.low == disparity_target(DEPTH["depth"][:, 6:]).low
    np.testing.assert_array_equal(target.disparity[:, :6], 0)
    assert disparity_target(depth).low < 0.01


def test_a_constant_clip_is_far_everywhere_and_an_unknown_one_is_refused() -> None:
    np.testing.assert_array_equal(disparity_target(np.full((1, 4, 4), 2, np.float32)).disparity, 0)
    with pytest.raises(ValueError, match=r"\(1, 4, 4\) without any known depth"):
        disparity_target(np.full((1, 4, 4), np.nan, np.float32))
