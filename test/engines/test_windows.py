"""DKT's windows: the published positions, weights and cross-fades, and the same numbers step behind step."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dkt_ros.engines.dkt_windowed import latent_frames
from dkt_ros.engines.windows import Stretch, Window, latent_windows, window_weights, windowed_step, windowed_steps

FIXTURES = Path(__file__).parents[1] / "fixtures" / "dkt"
PUBLISHED = json.loads((FIXTURES / "windows.json").read_text())
with np.load(FIXTURES / "stitch.npz") as _stored:
    STITCH = dict(_stored)
CASES = sorted({name.split(".")[0] for name in STITCH if "." in name})


def test_there_are_fixtures() -> None:
    assert (len(PUBLISHED["by_video_length"]), len(CASES)) == (18, 8)
    assert PUBLISHED["by_latent_length_default"] and all(PUBLISHED["other_settings"].values())
    assert sum(name.startswith("mask_") for name in STITCH) > 0


def as_windows(rows: list[list[int]]) -> list[Window]:
    return [(start, stop) for start, stop in rows]


@pytest.mark.parametrize("frames", PUBLISHED["by_video_length"])
def test_windows_of_a_video_are_the_published_ones(frames: str) -> None:
    wanted = PUBLISHED["by_video_length"][frames]
    assert latent_frames(int(frames)) == wanted["latent_frames"]
    assert 4 * latent_frames(int(frames)) - 3 == wanted["padded_frames"]
    assert latent_windows(wanted["latent_frames"], 21, 3) == as_windows(wanted["windows"])


def test_windows_of_a_latent_length_are_the_published_ones() -> None:
    for length, wanted in PUBLISHED["by_latent_length_default"].items():
        assert latent_windows(int(length), 21, 3) == as_windows(wanted)


@pytest.mark.parametrize("setting", PUBLISHED["other_settings"])
def test_windows_of_other_settings_are_the_published_ones(setting: str) -> None:
    window, overlap = (int(part.lstrip("windoverlap")) for part in setting.split("_"))
    for length, wanted in PUBLISHED["other_settings"][setting].items():
        assert latent_windows(int(length), window, overlap) == as_windows(wanted)


@pytest.mark.parametrize("name", [name for name in STITCH if name.startswith("mask_")])
def test_weights_are_the_published_ones(name: str) -> None:
    length, ends, ramp = name.removeprefix("mask_").split("_")
    frames, overlap = int(length[1:]), int(ramp[1:])
    before, after = (0 if ends[0] == "1" else 50), (0 if ends[1] == "1" else 50)
    found = window_weights((before, before + frames), before + frames + after, overlap)
    np.testing.assert_allclose(found, STITCH[name], rtol=0, atol=1e-7)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("at_once", [1, 7])
def test_cross_fades_are_the_published_ones(case: str, at_once: int) -> None:
    length, window, overlap = (int(value) for value in STITCH[f"{case}.setting"])
    windows = latent_windows(length, window, overlap)
    assert windows == as_windows(STITCH[f"{case}.windows"].tolist())
    dtype = torch.bfloat16 if case.startswith("H") else torch.float32
    predictions = iter(torch.from_numpy(STITCH[f"{case}.pred{i}"]).to(dtype) for i in range(len(windows)))
    joined = windowed_step(
        in_pieces(torch.zeros(1, 1, length, 1, 1), at_once),
        windows,
        overlap,
        velocity=lambda latents, condition: next(predictions),
        advance=lambda latents, velocity: velocity,
    )
    found = torch.cat([stretch[0] for stretch in joined], dim=2)
    # Case H was accumulated in bfloat16, as here: exact.
    np.testing.assert_allclose(found.float(), STITCH[f"{case}.stitched"], rtol=0, atol=1e-6)


def in_pieces(video: Tensor, at_once: int) -> Iterator[Stretch]:
    for piece in video.split(at_once, dim=2):
        yield piece.clone(), piece + 1


def mixing(step: int) -> Callable[[Tensor, Tensor], Tensor]:
    """A velocity in which every frame of a window depends on all of them, on their place in it and on the condition."""

    def velocity(latents: Tensor, condition: Tensor) -> Tensor:
        place = torch.arange(latents.shape[2])[:, None, None] * 0.01
        return torch.sin(latents * (step + 1) + place) + condition * latents.mean(dim=2, keepdim=True)

    return velocity


def advance(latents: Tensor, velocity: Tensor) -> Tensor:
    return latents - 0.2 * velocity


def step_after_step(start: Tensor, windows: list[Window], overlap: int, steps: int) -> Tensor:
    """The published order: all windows of one step, then the next step."""
    latents, condition, length = start, start + 1, start.shape[2]
    for step in range(steps):
        total, weight = torch.zeros_like(latents), torch.zeros(1, 1, length, 1, 1)
        for window in windows:
            frames = slice(*window)
            weights = window_weights(window, length, overlap)[None, None, :, None, None]
            total[:, :, frames] += mixing(step)(latents[:, :, frames], condition[:, :, frames]) * weights
            weight[:, :, frames] += weights
        latents = advance(latents, total / weight)
    return latents


@pytest.mark.parametrize(
    ("length", "window", "overlap"),
    [(1, 21, 3), (2, 5, 2), (9, 5, 2), (57, 21, 3), (22, 21, 3), (37, 11, 5), (45, 21, 12), (30, 11, 0), (23, 5, 4)],
)
def test_steps_behind_each_other_give_the_numbers_of_step_after_step(length: int, window: int, overlap: int) -> None:
    start = torch.randn((1, 3, length, 2, 3), generator=torch.Generator().manual_seed(5))
    windows = latent_windows(length, window, overlap)
    flow = windowed_steps(in_pieces(start, 1), windows, overlap, [mixing(i) for i in range(5)], [advance] * 5)
    stretches = list(flow)
    assert torch.equal(
        torch.cat([stretch[0] for stretch in stretches], dim=2), step_after_step(start, windows, overlap, 5)
    )
    assert torch.equal(torch.cat([stretch[1] for stretch in stretches], dim=2), start + 1)


def test_a_long_video_is_computed_in_the_memory_of_a_short_one() -> None:
    window, overlap, steps = 6, 1, 5

    def most_held(length: int) -> tuple[int, int]:
        """Latent frames read and not handed out, and bytes of all latents alive, at their worst."""
        taken = given = frames = held = 0

        def source() -> Iterator[Stretch]:
            nonlocal taken
            for _ in range(length):
                taken += 1
                # A width that nothing else in this process has: the latents can be told from all other tensors.
                yield torch.ones(1, 2, 1, 3, 61), torch.ones(1, 2, 1, 3, 61)

        windows = latent_windows(length, window, overlap)
        for stretch in windowed_steps(source(), windows, overlap, [mixing(0)] * steps, [advance] * steps):
            frames = max(frames, taken - given)
            given += stretch[0].shape[2]
            storages = {
                tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
                for tensor in gc.get_objects()
                if type(tensor) is Tensor and tensor.dim() == 5 and tensor.shape[-1] == 61
            }
            held = max(held, sum(storages.values()))
        assert given == length
        return frames, held

    short, long = most_held(60), most_held(240)
    assert long == short
    assert long[0] <= window + (window - overlap) * steps


@pytest.mark.parametrize(("window", "overlap"), [(5, 5), (5, 6), (1, 1), (5, -1)])
def test_an_overlap_that_leaves_nothing_new_is_refused(window: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=rf"windows of {window} latent frames that share {overlap}.*give at most"):
        latent_windows(20, window, overlap)


def test_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="0 latent frames in windows of 5"):
        latent_windows(0, 5, 2)
