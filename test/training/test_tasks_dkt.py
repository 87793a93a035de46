"""Training of DKT: its loss against a closed form, what is trained, what comes back from a file."""

import numpy as np
import pytest
import torch

pytest.importorskip("peft", reason="training with adapters needs the extra: pip install 'dkt_ros[train]'")
pytest.importorskip("diffusers")

from dkt_ros.engines import EngineOptions, load_engine
from dkt_ros.engines.flow import sigmas, times
from dkt_ros.engines.layouts import identify
from dkt_ros.perception import Perception
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.flow_loss import flow_loss, noised, schedule, told_times
from dkt_ros.training.lora_model import adapters
from dkt_ros.training.wan_samples import normal_sample

from .test_tasks_dvd import clip_of
from .tiny_bases import drawn, make_task, normal_folder, shaken


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_levels_and_times_are_the_samplers():
    level, told, bell = schedule()
    assert len(level) == 1000 and level[0] == 1 and level[-1] == pytest.approx(0.005 / (0.004 + 1), rel=1e-6)
    # Every 200th of the training's levels is one of the sampler's five, and the transformer is told the same.
    assert level[::200].tolist() == pytest.approx(sigmas(5)[:-1], abs=1e-7)
    assert told[::200].tolist() == times(5) == [1000, 952, 884, 768, 556]
    assert told_times(torch.tensor([0, 400])).tolist() == [1000, 884]
    assert bell.mean() == pytest.approx(1, abs=1e-6) and bell[0] == 0
    assert bell.argmax() == (1000 * level - 500).abs().argmin()


@pytest.mark.parametrize("weighting", ["bell", "flat"])
def test_the_loss_is_its_closed_form(weighting):
    clean, start, velocity = (noise(2, 16, 2, 4, 6, seed=i) for i in range(3))
    level = torch.tensor([200, 800])
    terms = flow_loss(velocity, clean, start, level, weighting)
    errors = [float(((velocity[i] - (start[i] - clean[i])) ** 2).mean()) for i in range(2)]
    t = [1000 * 5 * u / (1 + 4 * u) for u in (0.8, 0.2)]
    every = np.array([5000 * u / (1 + 4 * u) for u in np.linspace(1, 0, 1001)[:-1]])
    curve = np.exp(-2 * ((every - 500) / 1000) ** 2)
    factor = [(np.exp(-2 * ((x - 500) / 1000) ** 2) - curve.min()) / (curve - curve.min()).mean() for x in t]
    wanted = np.mean([e * (f if weighting == "bell" else 1) for e, f in zip(errors, factor, strict=True)])
    assert terms["total"].item() == pytest.approx(wanted, rel=1e-5)
    assert terms["mse"].item() == pytest.approx(np.mean(errors), rel=1e-5)


def test_a_true_velocity_has_no_loss_and_leads_home():
    clean, start, level = noise(1, 16, 1, 4, 6), noise(1, 16, 1, 4, 6, seed=1), torch.tensor([300])
    assert flow_loss(start - clean, clean, start, level)["total"] == 0
    at = noised(clean, start, level)
    torch.testing.assert_close(at - schedule()[0][300] * (start - clean), clean, rtol=0, atol=1e-6)


def test_a_step_is_the_loss_of_what_the_transformer_says(tmp_path):
    task = make_task("dkt", tmp_path, model={"weighting": "flat"})
    batch = drawn(task, 2)
    torch.manual_seed(7)
    total = task.module(batch)["total"].item()
    torch.manual_seed(7)
    with torch.no_grad():
        shown, clean = (task.codec.encode(video) for video in (batch.pictures, batch.target))
        start = torch.randn_like(clean)
        sigma = schedule()[0][batch.level].view(-1, 1, 1, 1, 1)
        given = torch.cat([(1 - sigma) * clean + sigma * start, shown, torch.zeros_like(clean)], dim=1)
        velocity = task.transformer(
            given, told_times(batch.level), task.text[None], torch.zeros(1, 257, task.transformer.config.image_dim),
            return_dict=False,
        )[0]  # fmt: skip
    assert total == pytest.approx(float((velocity - (start - clean)).square().mean()), rel=1e-5)


def test_what_was_skipped_is_said_and_written(tmp_path):
    task = make_task("dkt", tmp_path)
    (name, source), *_ = task.mix.sets.items()
    source.skipped[tmp_path / "000001.tar"] = "cut short"
    assert f"{name}: {len(source)} videos, 1 skipped" in task.summary().splitlines()
    assert task.header()["skipped_files"] == 1


def test_batches_differ_in_level_and_length_and_repeat_with_their_seed(tmp_path):
    task = make_task("dkt", tmp_path)
    batches = [drawn(task, seed) for seed in range(8)]
    assert {batch.pictures.shape[2] for batch in batches} == {1, 5}
    assert len({int(batch.level) for batch in batches}) == 8
    again = drawn(task, 3)
    assert torch.equal(again.level, batches[3].level) and torch.equal(again.target, batches[3].target)


def test_only_the_adapters_learn_and_in_float32(tmp_path):
    task = make_task("dkt", tmp_path, precision="bfloat16")
    trained = set(task.groups()[0].parameters)
    assert len(trained) == 2 * 10 * 2 and all(".lora_" in name for name in trained)
    with torch.autocast("cpu", torch.bfloat16):
        task.module(drawn(task, 1))["total"].backward()
    for name, value in task.module.named_parameters():
        assert (value.grad is not None) == (name in trained), name
        assert name not in trained or value.dtype == torch.float32


def test_normals_are_colours_in_the_optical_frame():
    normals = np.zeros((1, 16, 16, 3), np.float32)
    normals[..., 2], normals[:, :, :4] = -1, (1, 0, 0)
    normals[0, 0, 0] = np.nan
    clip = TrainingClip(np.zeros((1, 16, 16, 3), np.uint8), np.ones((1, 16, 16), np.float32), "toy", normals=normals)
    video = normal_sample(clip).target
    assert video[0, :, 0, 5, 2].tolist() == [1, 0, 0] and video[0, :, 0, 5, 9].tolist() == [0, 0, -1]
    assert not video[0, :, 0, 0, 0].any()
    with pytest.raises(ValueError, match="toy: has no normals"):
        normal_sample(TrainingClip(clip.rgb, clip.depth, "toy"))


def test_a_saved_result_answers_as_the_task_in_training_and_in_the_path(tmp_path):
    task = shaken(make_task("dkt", tmp_path))
    result = tmp_path / "weights.safetensors"
    task.save(result, {"steps": 3})
    engine = load_engine("dkt", EngineOptions((tmp_path / "dkt", result), device="cpu"))
    clip = clip_of()
    # Merged into the base, the adapters' products are rounded once more; five steps follow one another.
    np.testing.assert_allclose(engine.predict(clip).disparity, task.engine().predict(clip).disparity, rtol=0, atol=2e-4)
    assert "trained by recipe dkt on ours" in engine.card.description
    seen = Perception(engine).process(clip)
    assert len(seen) == 5 and all(np.isfinite(estimate.disparity).all() for estimate in seen)


def test_a_result_for_normals_gives_the_engine_normals(tmp_path):
    task = shaken(make_task("dkt", tmp_path, model={"predicts": "normal"}))
    result = tmp_path / "weights.safetensors"
    task.save(result, {"steps": 3})
    assert identify(result).role == "normal lora"
    engine = load_engine("dkt", EngineOptions((tmp_path / "dkt", result), device="cpu"))
    assert engine.card.gives_normals and "trained by recipe dkt on ours" in engine.card.description
    clip = clip_of()
    answer, ours = engine.predict(clip), task.engine().predict(clip)
    assert answer.normals.shape == (5, 32, 48, 3)
    assert (np.abs(answer.normals - ours.normals).max(axis=-1) > 1e-2).mean() < 0.01


def test_training_goes_on_from_the_folders_lora(tmp_path):
    task = make_task("dkt", tmp_path, lora={"rank": 9})
    assert {min(value.shape) for value in adapters(task.transformer).values()} == {4}
    bare = normal_folder(tmp_path / "bare")
    (bare / "dit_tiny_lora.safetensors").unlink()
    fresh = make_task("dkt", tmp_path, bare, lora={"rank": 9})
    assert {min(value.shape) for value in adapters(fresh.transformer).values()} == {9}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"predicts": "both"}}, "predicts 'both'"),
        ({"model": {"weighting": "steep"}}, "weighting 'steep'"),
        ({"phases": [{"name": "a", "steps": 1, "rate": [1, 1], "loaders": ["none"]}]}, "unknown.*none"),
    ],
)
def test_wrong_words_of_a_recipe_are_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        make_task("dkt", tmp_path, **changes)


def test_clips_longer_than_all_videos_are_refused_before_the_first_step(tmp_path):
    with pytest.raises(ValueError, match=r"set ours: asked for 9 frames; its longest video has 5; .*--frames"):
        make_task("dkt", tmp_path, frames=9)
