"""The completion engine around its network: units, filling, folding, and what an untrained network returns."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from dkt_ros.engines import EngineOptions, load_engine  # noqa: E402
from dkt_ros.engines.checkpoints import CheckpointError, save_weights  # noqa: E402
from dkt_ros.engines.completion import condition  # noqa: E402
from dkt_ros.engines.completion_model import CompletionModel, Condition, fold_trust, sensor_video  # noqa: E402
from dkt_ros.engines.conditioning import (  # noqa: E402
    DisparityRange,
    disparity_range,
    fill_partial,
    held_range,
    inverse_depth_at,
)
from dkt_ros.engines.inspection import items, verdicts  # noqa: E402
from dkt_ros.engines.wan import WanSizes, check_grid, working_size  # noqa: E402
from dkt_ros.frames import Clip, Frame  # noqa: E402
from test.engines.tiny import SIZES, tiny_model  # noqa: E402


def some_condition(frames=5, height=16, width=24):
    generator = torch.Generator().manual_seed(3)
    rgb = torch.rand(1, 3, frames, height, width, generator=generator) * 2 - 1
    filled = torch.rand(1, frames, height, width, generator=generator) * 2 - 1
    trust = (torch.rand(1, frames, height, width, generator=generator) < 0.7).float()
    return Condition(rgb, filled, trust)


def test_units_round_trip():
    limits = DisparityRange(0.4, 2.5)
    inverse = np.linspace(0.1, 4, 50, dtype=np.float32)
    np.testing.assert_allclose(limits.restore(limits.normalise(inverse)), inverse, rtol=1e-5)
    np.testing.assert_allclose(limits.normalise(np.float32([0.4, 2.5])), [-0.8, 0.8], atol=1e-6)


def test_the_range_ignores_wild_and_untrusted_returns():
    rng = np.random.default_rng(1)
    inverse = rng.uniform(1.0, 2.0, (3, 40, 40)).astype(np.float32)
    trust = np.ones_like(inverse)
    plain = disparity_range(inverse, trust)
    inverse[:, :2, :5] = 50.0
    inverse[:, 20:, :], trust[:, 20:, :] = 0.01, 0.0
    spoiled = disparity_range(inverse, trust)
    assert spoiled.low == pytest.approx(plain.low, abs=0.05) and spoiled.high == pytest.approx(plain.high, abs=0.05)
    assert plain.low < 1.0 and plain.high > 2.0, "widened on both sides"


def test_a_flat_scene_keeps_a_minimal_range():
    limits = disparity_range(np.full((1, 40, 40), 2.0, np.float32), np.ones((1, 40, 40), np.float32))
    assert (limits.high - limits.low) / limits.high == pytest.approx(0.15)


def test_without_trusted_pixels_there_is_no_range_and_the_fill_is_nothing():
    inverse, trust = np.ones((5, 40, 40), np.float32), np.zeros((5, 40, 40), np.float32)
    assert disparity_range(inverse, trust) is None
    filled, kept = fill_partial(inverse, trust, None)
    assert not filled.any() and not kept.any()


def test_a_frame_without_returns_borrows_from_the_others():
    inverse, trust = np.ones((5, 16, 24), np.float32), np.ones((5, 16, 24), np.float32)
    trust[2] = 0
    filled, _ = fill_partial(inverse, trust, DisparityRange(0.5, 1.5))
    assert np.isfinite(filled).all()
    np.testing.assert_allclose(filled[2], filled[1])


def test_shrinking_never_blends_into_a_hole():
    depth = np.full((96, 160), 2.0, np.float32)
    depth[:, 33:71] = np.nan
    inverse, trust = inverse_depth_at(depth, None, (40, 24))
    np.testing.assert_allclose(inverse[trust > 0], 0.5, rtol=1e-5)
    assert (inverse[trust == 0] == 0).all()
    assert trust[:, 8].mean() == pytest.approx(0.25) and (trust[:, 9:17] == 0).all()


def test_shrinking_weighs_by_trust():
    depth = np.tile(np.float32([1.0, 2.0]), (2, 4))
    trust = np.tile(np.float32([1.0, 0.0]), (2, 4))
    inverse, believed = inverse_depth_at(depth, trust, (4, 1))
    np.testing.assert_allclose(inverse, 1.0)
    np.testing.assert_allclose(believed, 0.5)


def test_folding_puts_the_first_frame_four_times_and_then_groups_of_four():
    trust = torch.arange(9.0).view(1, 9, 1, 1).expand(1, 9, 16, 8) / 10
    folded = fold_trust(trust, 8, 4)
    assert folded.shape == (1, 4, 3, 2, 1)
    torch.testing.assert_close(folded[0, :, 0, 0, 0], torch.zeros(4))
    torch.testing.assert_close(folded[0, :, 1, 0, 0], torch.tensor([0.1, 0.2, 0.3, 0.4]))
    torch.testing.assert_close(folded[0, :, 2, 1, 0], torch.tensor([0.5, 0.6, 0.7, 0.8]))


def test_the_untrained_network_returns_the_codecs_copy_of_the_filled_sensor():
    model, given = tiny_model(), some_condition()
    with torch.no_grad():
        answer = model(given)
        copy = model.core.decode(model.core.encode(sensor_video(given.filled, given.trust)))
    torch.testing.assert_close(answer.surface, 0.5 * (copy[:, 0] + copy[:, 2]), rtol=1e-4, atol=1e-5)


def test_a_closed_gate_passes_the_filled_sensor_through_unharmed():
    filled = some_condition().filled
    video = torch.full((1, 3, *filled.shape[1:]), 0.3)
    video[:, 1] = -20.0
    answer = CompletionModel.read(video, torch.ones_like(video), filled)
    torch.testing.assert_close(answer.disparity, filled, rtol=0, atol=1e-6)
    video[:, 1] = 20.0
    torch.testing.assert_close(CompletionModel.read(video, video, filled).disparity, torch.full_like(filled, 0.3))


def test_streamed_codec_equals_diffusers_own_decode():
    model = tiny_model()
    latents = torch.randn(1, 4, 2, 3, 4, generator=torch.Generator().manual_seed(1)) * 0.01
    with torch.no_grad():
        ours = model.core.decode(latents)
        theirs = model.core.codec.decode(latents, return_dict=False)[0]
    torch.testing.assert_close(ours.clamp(-1, 1), theirs, rtol=1e-5, atol=1e-6)


def test_a_transformer_of_the_wrong_width_is_refused():
    sizes = {**SIZES, "transformer": {**SIZES["transformer"], "in_channels": 8}}
    with pytest.raises(ValueError, match=r"\(8, 8\).*needs \(12, 8\)"):
        CompletionModel(WanSizes(**sizes))


@pytest.mark.parametrize("frames, height, width", [(7, 16, 16), (0, 16, 16), (5, 20, 16), (5, 16, 4)])
def test_what_diffusers_would_crop_silently_is_refused(frames, height, width):
    with pytest.raises(ValueError, match="must be"):
        check_grid(frames, height, width)
    with pytest.raises(ValueError), torch.no_grad():
        tiny_model().core.encode(torch.zeros(1, 3, frames, height, width))


@pytest.mark.parametrize(
    "given, expected",
    [((160, 96), (160, 96)), ((320, 192), (160, 96)), ((640, 480), (136, 104)), ((96, 160), (96, 160))],
)
def test_working_size_keeps_the_aspect(given, expected):
    assert working_size(*given, 160 * 96) == expected


def test_frame_by_frame_is_a_batch_of_one_frame_clips():
    rgb = np.random.default_rng(1).random((5, 16, 24, 3), dtype=np.float32)
    plane = rgb[..., 0].copy()
    clip, frames = condition(rgb, plane, plane), condition(rgb, plane, plane, together=False)
    assert clip.rgb.shape == (1, 3, 5, 16, 24) and frames.rgb.shape == (5, 3, 1, 16, 24)
    torch.testing.assert_close(frames.rgb[3, :, 0], clip.rgb[0, :, 3])
    torch.testing.assert_close(frames.trust[3, 0], clip.trust[0, 3])
    torch.testing.assert_close(frames.filled[4, 0], torch.from_numpy(plane[4]))


def test_the_range_is_held_while_the_scene_stays_in_it():
    inverse = np.random.default_rng(1).uniform(1, 2, (5, 20, 20)).astype(np.float32)
    trust = np.ones_like(inverse)
    first = held_range(None, inverse, trust)
    assert held_range(first, inverse + 0.05, trust) is first
    assert held_range(first, inverse + 1.0, trust) is not first
    assert held_range(first, inverse, np.zeros_like(trust)) is None


def trained(folder, **said):
    """A file as training writes it."""
    path = folder / "weights.safetensors"
    config = {"sizes": SIZES, "steps": 700, "sequences": 30, **said}
    save_weights(path, tiny_model().state_dict(), config, half=True)
    return path


def clip_of(frames):
    rng = np.random.default_rng(1)
    depth = rng.uniform(0.5, 1.5, (48, 64)).astype(np.float32)
    return Clip(tuple(Frame(i, "", rng.integers(0, 255, (48, 64, 3), np.uint8), None, depth) for i in range(frames)))


def test_a_trained_checkpoint_is_an_engine_and_its_folder_too(tmp_path):
    path = trained(tmp_path)
    by_file = load_engine("completion", EngineOptions(weights=path, device="cpu"))
    by_folder = load_engine("completion", EngineOptions(weights=tmp_path, device="cpu"))
    first = by_file.predict(clip_of(5))
    assert first.disparity.shape == (5, 104, 136) and np.isfinite(first.disparity).all()
    np.testing.assert_array_equal(first.disparity, by_folder.predict(clip_of(5)).disparity)
    card = by_file.card
    assert (card.name, card.kind, card.clip_length, card.overlap) == ("completion", "affine", 9, 5)
    assert "700 steps on 30 sequences" in card.description and card.licence == "unknown"


def test_what_verify_finds_in_a_folder_loads_whatever_its_name(tmp_path):
    path = trained(tmp_path).rename(tmp_path / "mine.safetensors")
    (tmp_path / "state.safetensors").write_bytes(b"")  # to resume training; damaged here
    assert [verdict.problem for verdict in verdicts(path, items(path))] == [""]
    with pytest.raises(CheckpointError, match=r"state\.safetensors: truncated"):
        load_engine("completion", EngineOptions(weights=tmp_path, device="cpu"))
    (tmp_path / "state.safetensors").unlink()
    assert [verdict.problem for verdict in verdicts(tmp_path, items(tmp_path))] == [""]
    assert load_engine("completion", EngineOptions(weights=tmp_path, device="cpu")).card.name == "completion"


def test_the_header_may_say_more(tmp_path):
    path = trained(tmp_path, clip_lengths=[5, 1], area=32 * 24, together=True, licence="MIT", description="Ours.")
    engine = load_engine("completion", EngineOptions(weights=path, device="cpu"))
    card = engine.card
    assert (card.clip_lengths, card.clip_length, card.overlap) == ((1, 5), 5, 2)
    assert (card.licence, card.description) == ("MIT", "Ours.")
    assert engine.predict(clip_of(5)).disparity.shape == (5, 24, 32)
    with pytest.raises(ValueError, match="a clip of 9 frames"):
        engine.predict(clip_of(9))


def test_a_completion_engine_without_or_with_foreign_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--weights FILE"):
        load_engine("completion")
    with pytest.raises(CheckpointError, match="holds no weight files"):
        load_engine("completion", EngineOptions(weights=tmp_path))
    with pytest.raises(ValueError, match="steps = 3"):
        load_engine("completion", EngineOptions(weights=trained(tmp_path), steps=3))
    for said in ({"area": "large"}, {"area": 0}, {"clip_lengths": []}, {"clip_lengths": [0, 5]}):
        with pytest.raises(CheckpointError, match="header is damaged"):
            load_engine("completion", EngineOptions(weights=trained(tmp_path, **said), device="cpu"))
