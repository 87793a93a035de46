"""Completion by DKT and DVD: it starts as its base, learns what it is shown, and the engine shows it the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

pytest.importorskip("peft", reason="training with adapters needs the extra: pip install 'dkt_ros[train]'")
pytest.importorskip("diffusers")

from dkt_ros.engines import EngineOptions, load_engine
from dkt_ros.engines.checkpoints import CheckpointError
from dkt_ros.engines.conditioning import disparity_range, fill_partial, inverse_depth_at
from dkt_ros.engines.layouts import identify
from dkt_ros.engines.tiny_autoencoder import TinyAutoencoder, TinySizes
from dkt_ros.engines.wan_completion import LIMIT, completion_latents
from dkt_ros.frames import Clip, Frame
from dkt_ros.perception import Perception
from dkt_ros.training import wan_samples
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.decoded_losses import decoded_loss
from dkt_ros.training.flow_loss import flow_loss
from dkt_ros.training.lora_model import adapters
from dkt_ros.training.published_losses import disparity_target, latent_loss
from dkt_ros.training.wan_samples import Batch, Completion, completion_sample

from .test_tasks_dvd import clip_of
from .tiny_bases import drawn, make_task, shaken

TASKS = ("dkt_c", "dvd_c")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each of the tasks, fresh, and its base task on the same folder."""
    folders = {name: tmp_path_factory.mktemp(name) for name in TASKS}
    return {name: (make_task(name, folders[name]), make_task(name[:3], folders[name])) for name in TASKS}


@pytest.mark.parametrize("name", TASKS)
def test_at_the_start_it_answers_as_its_base_whatever_the_sensor_says(made, name, monkeypatch):
    task, base = made[name]
    clip = clip_of()
    loud = np.random.default_rng(0).uniform(0.2, 9, (5, 32, 48)).astype(np.float32)
    frames = tuple(replace(frame, sensor_depth=depth) for frame, depth in zip(clip.frames, loud, strict=True))
    engine, theirs = task.engine(), base.engine()
    plain = theirs.predict(clip).disparity
    monkeypatch.setattr(task.codec, "limit", 1.0)  # beyond this the base cuts its answer off
    for given, trust in ((clip, None), (Clip(frames), None), (Clip(frames), loud / 9)):
        ours = engine.predict(given, trust).disparity  # -1..1 where the base has 0..1
        # A convolution over more channels may add in another order; five steps follow one another in DKT.
        np.testing.assert_allclose((ours + 1) / 2, plain, rtol=0, atol=1e-4 if name == "dkt_c" else 1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_its_loss_without_weights_is_that_of_its_base(made, name):
    task, base = made[name]
    batch = drawn(task, 3)
    bare = Batch(batch.pictures, batch.target, level=batch.level)
    even = replace(batch, weight=torch.full_like(batch.weight, 0.7))
    found = []
    for each, given in ((task, even), (base, bare)):
        torch.manual_seed(5)
        found.append(each.module(given)["total"].item())
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("name", TASKS)
def test_adapters_and_the_first_layer_learn_and_nothing_else(tmp_path, name):
    task = make_task(name, tmp_path, precision="bfloat16")
    trained = set(task.groups()[0].parameters)
    first = {"transformer.patch_embedding.weight", "transformer.patch_embedding.bias"}
    assert first < trained and all(".lora_" in each for each in trained - first)
    with torch.autocast("cpu", torch.bfloat16):
        task.module(drawn(task, 1))["total"].backward()
    for each, value in task.module.named_parameters():
        assert (value.grad is not None) == (each in trained), each
        assert each not in trained or value.dtype == torch.float32
    gradient = task.transformer.patch_embedding.weight.grad
    assert gradient[:, -20:-4].abs().max() > 0 and gradient[:, -4:].abs().max() > 0  # partial disparity, and trust


@pytest.mark.parametrize("name", TASKS)
def test_a_saved_result_reads_the_sensor_as_the_task_in_training(tmp_path, name):
    task = shaken(make_task(name, tmp_path))
    result = tmp_path / "out" / "weights.safetensors"
    task.save(result, {"steps": 2})
    kind = name[:3]
    assert identify(result).role == f"{kind} completion" and not identify(result).refusal
    engine = load_engine(kind, EngineOptions((tmp_path / kind, result), device="cpu", mode="streaming"))
    assert engine.card.reads_sensor_depth and engine.card.clip_lengths == (1, 5)
    clip = clip_of()
    answer, ours = engine.predict(clip), task.engine().predict(clip)
    # Merged into the base, the adapters' products are rounded once more; five steps follow one another in DKT.
    np.testing.assert_allclose(answer.disparity, ours.disparity, rtol=0, atol=5e-4)
    blind = Clip(tuple(replace(frame, sensor_depth=None) for frame in clip.frames))
    assert np.abs(engine.predict(blind).disparity - answer.disparity).max() > 1e-2
    half = np.ones((5, 32, 48), np.float32)
    half[:, 16:] = 0
    assert np.abs(engine.predict(clip, half).disparity - answer.disparity).max() > 1e-3
    estimates = Perception(engine).process(clip)
    assert len(estimates) == 5 and np.isfinite(estimates[0].disparity).all()


def test_the_engine_shows_the_network_what_training_did(made):
    task, _ = made["dvd_c"]
    clip = clip_of()
    depth = np.stack([frame.sensor_depth for frame in clip.frames])
    trust = np.random.default_rng(1).uniform(0, 1, depth.shape).astype(np.float32)
    seen = []
    engine = task.engine()
    engine._network = lambda shown, condition, shared: seen.append((shown, condition)) or shown
    engine.predict(clip, trust)
    rgb = np.stack([frame.rgb for frame in clip.frames])
    truth = np.ones_like(depth)
    original, wan_samples.draw_partial = wan_samples.draw_partial, lambda rng, clip: (depth, trust)
    try:
        sample = completion_sample(
            TrainingClip(rgb, truth, "toy"), np.random.default_rng(0), Completion(beta=(0.8, 0.8))
        )
    finally:
        wan_samples.draw_partial = original
    shown, condition = completion_latents(task.codec, sample.pictures, sample.filled, sample.trust)
    torch.testing.assert_close(seen[0][0], shown, rtol=0, atol=1e-5)
    torch.testing.assert_close(seen[0][1], condition, rtol=0, atol=1e-5)


def sampled(seed=0, **changes):
    """A slanted plane with a nearer box, and what a sensor is drawn to have seen of it."""
    v = np.mgrid[:64, :96][0]
    depth = np.repeat((2 - v / 64).astype(np.float32)[None], 5, axis=0)
    depth[:, 20:50, 30:60] = 0.7
    depth[:, :4] = np.nan
    clip = TrainingClip(np.zeros((5, 64, 96, 3), np.uint8), depth, "toy")
    settings = Completion(**{"ring": 3, **changes})
    return clip, completion_sample(clip, np.random.default_rng(seed), settings)


def test_truth_has_the_partials_own_units(monkeypatch):
    hidden = {}

    def half_seen(rng, clip):
        sensor = clip.depth.copy()
        sensor[:, :, 48:] = np.nan
        hidden["sensor"], hidden["trust"] = sensor, np.isfinite(sensor).astype(np.float32)
        return hidden["sensor"], hidden["trust"]

    monkeypatch.setattr(wan_samples, "draw_partial", half_seen)
    clip, sample = sampled(beta=(0.6, 0.6))
    pairs = [inverse_depth_at(d, t, (96, 64)) for d, t in zip(hidden["sensor"], hidden["trust"], strict=True)]
    sensed, trust = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
    limits = disparity_range(sensed, trust, 0.6)
    known = np.isfinite(clip.depth)
    wanted = np.clip(limits.normalise(1 / clip.depth[known]), -LIMIT, LIMIT)
    np.testing.assert_allclose(sample.target[0, 1].numpy()[known], wanted, atol=1e-5)
    filled, _ = fill_partial(sensed, trust, limits)
    np.testing.assert_allclose(sample.filled[0], filled, atol=1e-6)
    weight = sample.weight[0].numpy()
    assert set(np.unique(weight)) == {0, 0.5, 1, 2}
    assert not weight[:, :4].any()
    assert (weight[:, 10:, :40] == 0.5).mean() > 0.9 and (weight[:, 10:, 60:] == 1).all()
    assert (weight[:, 10:, 46:50] == 2).all() and sample.ring[0, :, 10:, 46:50].all()


def test_believed_but_wrong_depth_counts_as_unknown(monkeypatch):
    def see_through(rng, clip):
        sensor = clip.depth.copy()
        sensor[:, 25:45, 35:55] = 1.5  # the box is not seen there, and nobody says so
        return sensor, np.isfinite(sensor).astype(np.float32)

    monkeypatch.setattr(wan_samples, "draw_partial", see_through)
    _, sample = sampled()
    assert (sample.weight[0, :, 30:40, 40:50] == 1).all()
    assert (sample.trust[0, :, 30:40, 40:50] == 1).all()


def test_where_nothing_is_known_the_truth_is_that_of_the_base(monkeypatch):
    monkeypatch.setattr(
        wan_samples, "draw_partial", lambda rng, clip: (np.full_like(clip.depth, np.nan), np.zeros_like(clip.depth))
    )
    clip, sample = sampled()
    known = np.isfinite(clip.depth)
    wanted = 2 * disparity_target(clip.depth).disparity - 1
    np.testing.assert_allclose(sample.target[0, 0].numpy()[known], wanted[known], atol=1e-6)
    assert not sample.filled.any() and not sample.trust.any()
    assert set(np.unique(sample.weight[0].numpy()[known])) == {1}


def test_drawn_partials_make_finite_samples():
    for seed in range(12):
        _, sample = sampled(seed)
        tensors = (sample.target, sample.filled, sample.trust, sample.weight)
        assert all(torch.isfinite(each).all() for each in tensors), seed
        assert float(sample.target.abs().max()) <= LIMIT


def test_weights_of_cells_act_as_they_say():
    latents = [torch.randn(2, 16, 3, 4, 6, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    heavy = torch.zeros(2, 1, 3, 4, 6)
    heavy[:, :, :, :, :3] = 2.0
    left = latent_loss(latents[0][..., :3], latents[1][..., :3])
    both = latent_loss(latents[0], latents[1], weight=heavy)
    assert both["total"].item() == pytest.approx(left["total"].item(), rel=1e-5)
    level = torch.tensor([100, 900])
    part = flow_loss(*(each[..., :3] for each in latents), level)
    assert flow_loss(*latents, level, weight=heavy)["total"].item() == pytest.approx(part["total"].item(), rel=1e-5)


def test_the_first_frame_is_decoded_as_in_a_clip_and_has_gradients(made):
    codec = made["dvd_c"][0].codec
    latents = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    first = codec.first_frame(latents)
    torch.testing.assert_close(first, codec.decode(latents)[:, :, :1], rtol=0, atol=1e-5)
    direction = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad(first.square().sum(), latents)
    with torch.no_grad():
        ahead, behind = (codec.first_frame(latents + s * 1e-2 * direction).square().sum() for s in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float(ahead - behind) / 2e-2, rel=2e-2)
    assert not gradient[:, :, 1].any()


def test_decoded_losses_vanish_with_the_error_and_see_the_seam():
    truth = torch.rand(1, 5, 32, 48)
    ring = torch.zeros(1, 5, 32, 48, dtype=torch.bool)
    ring[..., 20:28] = True
    batch = Batch(truth[:, None], truth[:, None], weight=torch.ones_like(truth), ring=ring)
    answer = truth[:, :1].unsqueeze(1).expand(-1, 3, -1, -1, -1)
    assert all(term < 1e-6 for term in decoded_loss(answer, batch).values())
    step = torch.zeros_like(answer)
    step[..., 24:] = 0.5
    terms = decoded_loss(answer + step, batch)
    assert terms["decoded"].item() == pytest.approx(0.25)
    assert terms["seam"].item() == pytest.approx(0.5 / 7, rel=1e-4)  # one of the seven steps across the ring


def test_a_clip_is_learnt(tmp_path):
    task = make_task("dvd_c", tmp_path, frames=1, model={"decoded": 0.1, "ring": 2})
    batch = drawn(task, 1)
    optimiser = torch.optim.AdamW(adapters(task.transformer).values(), lr=2e-2)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        terms = task.module(batch)
        terms["total"].backward()
        optimiser.step()
        losses.append(terms["total"].item())
    assert {"mse", "decoded", "seam", "gradient"} <= terms.keys()
    assert losses[-1] < losses[0] / 2, losses[:: len(losses) - 1]


def test_clips_of_a_stream_keep_their_units(made):
    task, _ = made["dkt_c"]
    engine = task.engine()
    first = clip_of(5)
    later = tuple(Frame(10 + i, "camera", frame.rgb, None, frame.sensor_depth) for i, frame in enumerate(first.frames))
    second = Clip((first.frames[-1], *later[:4]), overlap=1)
    assert not engine.predict(first).same_units
    assert engine.predict(second).same_units
    assert not engine.predict(Clip(later)).same_units


def test_high_pictures_are_turned_and_their_sensor_with_them(made):
    task, _ = made["dkt_c"]
    flat = clip_of(1)
    frame = flat.frames[0]
    up = replace(frame, rgb=np.rot90(frame.rgb, -1), sensor_depth=np.rot90(frame.sensor_depth, -1))  # clockwise
    trust = np.random.default_rng(2).uniform(0, 1, (1, 32, 48)).astype(np.float32)
    seen = []
    for clip, belief in ((flat, trust), (Clip((up,)), np.rot90(trust, -1, axes=(1, 2)))):
        engine = task.engine()
        engine._network = lambda shown, condition, shared: seen.append((shown, condition)) or condition[:, :16]
        seen.append(engine.predict(clip, belief).disparity)
    for one, other in zip(seen[0], seen[2], strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)
    np.testing.assert_allclose(seen[3], np.rot90(seen[1], -1, axes=(1, 2)), rtol=0, atol=1e-6)


def test_a_result_on_another_base_is_refused(tmp_path):
    task = make_task("dvd_c", tmp_path)
    result = tmp_path / "weights.safetensors"
    task.save(result, {})
    make_task("dkt", tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks the|mixed sizes"):
        load_engine("dvd", EngineOptions((tmp_path / "dkt", result), device="cpu"))
    with pytest.raises(ValueError, match="clip by clip"):
        load_engine("dvd", EngineOptions((tmp_path / "dvd", result), device="cpu", mode="windowed"))


@pytest.mark.parametrize(("name", "vae"), [("dkt_c", "tiny"), ("dvd_c", "tiny_both")])
def test_a_small_codec_is_refused_since_it_cuts_answers_off(tmp_path, name, vae):
    result, base = tmp_path / "weights.safetensors", tmp_path / name[:3]
    make_task(name, tmp_path).save(result, {})
    small = TinyAutoencoder(TinySizes(16, 8, (12, 8, 6, 6), (2, 2, 1), (1, 2, 2)))
    save_file({key: value.half() for key, value in small.state_dict().items()}, base / "taew2_1.safetensors")
    with pytest.raises(
        ValueError, match=rf"vae = {vae}: .*weights\.safetensors completes .* cuts off at 1,.*leave vae"
    ):
        load_engine(name[:3], EngineOptions((base, result), device="cpu", vae=vae))
