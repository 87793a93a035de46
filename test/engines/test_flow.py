"""Noise levels, times, Euler steps and the start noise of DKT, against the numbers of the published code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dkt_ros.engines import flow

FIXTURE = Path(__file__).parents[1] / "fixtures" / "dkt" / "scheduler.npz"


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    with np.load(FIXTURE) as stored:
        return dict(stored)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 8, 10, 20, 50])
def test_levels_and_times_are_the_published_ones(published: dict[str, np.ndarray], steps: int) -> None:
    levels = flow.sigmas(steps)
    assert levels[-1] == 0
    np.testing.assert_allclose(levels[:-1], published[f"sigmas_{steps}"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(flow.times(steps, rounded=False), published[f"timesteps_{steps}"], rtol=0, atol=1e-3)
    np.testing.assert_array_equal(flow.times(steps), published[f"timesteps_bf16_{steps}"])


def test_an_euler_chain_is_the_published_one(published: dict[str, np.ndarray]) -> None:
    samples, levels = published["step_samples"], flow.sigmas(5)
    latents = torch.from_numpy(samples[0])
    for step, velocity in enumerate(published["step_velocities"]):
        latents = flow.euler(latents, torch.from_numpy(velocity), levels[step], levels[step + 1])
        np.testing.assert_allclose(latents, samples[step + 1], rtol=0, atol=1e-6)


@pytest.mark.parametrize("frames", [1, 2, 6, 21, 40])
def test_the_start_noise_of_a_whole_video_is_the_published_one(published: dict[str, np.ndarray], frames: int) -> None:
    noise = flow.StartNoise(16, frames, 60, 104)
    pieces = [noise.take(1) for _ in range(frames)]
    whole = torch.cat(pieces, dim=2)
    np.testing.assert_array_equal(whole.flatten()[:16], published[f"noise_T{frames}_first16"])
    np.testing.assert_array_equal(whole.flatten()[-16:], published[f"noise_T{frames}_last16"])
    assert float(whole.double().sum()) == pytest.approx(float(published[f"noise_T{frames}_sum"]), rel=1e-9)


def test_the_small_start_noise_is_the_published_one(published: dict[str, np.ndarray]) -> None:
    np.testing.assert_array_equal(flow.StartNoise(16, 3, 4, 6).take(3), published["noise_small_1x16x3x4x6"])


@settings(max_examples=150, deadline=None)
@given(
    channels=st.integers(1, 20),
    pieces=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    seed=st.integers(0, 3),
)
def test_noise_in_pieces_equals_one_call_bit_for_bit(
    channels: int, pieces: list[int], height: int, width: int, seed: int
) -> None:
    shape = (1, channels, sum(pieces), height, width)
    whole = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    noise = flow.StartNoise(*shape[1:], seed=seed)
    assert torch.equal(torch.cat([noise.take(count) for count in pieces], dim=2), whole)


def test_pieces_of_a_long_video_are_not_views_of_the_whole() -> None:
    piece = flow.StartNoise(16, 500, 3, 5).take(2)
    assert piece.untyped_storage().nbytes() == 4 * piece.numel()


def test_more_noise_than_there_is_is_refused() -> None:
    noise = flow.StartNoise(16, 3, 2, 2)
    noise.take(2)
    with pytest.raises(ValueError, match="2 more latent frames: 1 are left"):
        noise.take(2)


def test_no_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="steps = 0: must be at least 1"):
        flow.sigmas(0)
