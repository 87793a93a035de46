"""Training of DVD: the published step through the task, what is trained, what comes back from a file."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("peft", reason="training with adapters needs the extra: pip install 'dkt_ros[train]'")
pytest.importorskip("diffusers")

from dkt_ros.engines import EngineOptions, load_engine
from dkt_ros.engines.checkpoints import CheckpointError
from dkt_ros.engines.dvd_parts import find_dvd
from dkt_ros.frames import Clip, Frame
from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.lora_model import adapters
from dkt_ros.training.wan_samples import Batch, depth_sample

from .tiny_bases import drawn, make_task, plain_folder, shaken

FIXTURES = Path(__file__).parents[1] / "fixtures/dvd"
STEP = {key: torch.from_numpy(np.asarray(value)) for key, value in np.load(FIXTURES / "train_step.npz").items()}
DEPTH = dict(np.load(FIXTURES / "depth_norm.npz"))


def video(name):
    """(1, 3, 9, 32, 48) in [-1, 1]."""
    return STEP[name].transpose(1, 2) * 2 - 1


def relative(ours, theirs):
    """Length of the difference as a share of the length: single elements of a gradient may be next to zero."""
    return float((ours.detach() - theirs).norm() / theirs.norm())


def clip_of(frames=5, seed=0, size=(32, 48)):
    """Frames whose colours drift, with a sensor that sees half of a slanted plane."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[: size[0], : size[1]]
    depth = (0.6 + 0.4 * v / size[0]).astype(np.float32)
    depth[:, size[1] // 2 :] = np.nan
    rgb = rng.integers(0, 255, (*size, 3))
    return Clip(
        tuple(
            Frame(i, "camera", np.clip(rgb + 3 * i + u[..., None], 0, 255).astype(np.uint8), None, depth)
            for i in range(frames)
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("dvd")


def test_one_step_is_the_published_one(tmp_path):
    task = make_task("dvd", tmp_path)
    _, condition, truth = task.latents(Batch(video("rgb"), video("disparity")))
    assert condition is None
    torch.testing.assert_close(truth, STEP["z_depth_gt"], rtol=1e-4, atol=1e-5)
    terms = task.module(Batch(video("rgb"), video("disparity")))
    for ours, theirs in {"mse": "mse", "time": "l1_t", "height": "l1_h", "width": "l1_w", "total": "total"}.items():
        assert terms[ours].item() == pytest.approx(STEP[theirs].item(), rel=1e-4), ours
    assert [name for name, term in terms.items() if term.requires_grad] == ["total"]
    terms["total"].backward()
    weights = adapters(task.transformer)
    for ours, theirs in {
        "blocks.0.attn1.to_q.lora_A": "grad_blocks0_self_q_lora_A",
        "blocks.1.ffn.net.0.proj.lora_B": "grad_blocks1_ffn0_lora_B",
    }.items():
        assert relative(weights[f"{ours}.default.weight"].grad, STEP[theirs]) < 1e-4, ours
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights.values()])
    assert norm.item() == pytest.approx(STEP["grad_norm_all_lora"].item(), rel=1e-4)


def test_the_target_of_a_clip_is_the_published_one():
    clip = TrainingClip(np.zeros((*DEPTH["depth"].shape, 3), np.uint8), DEPTH["depth"], "fixture")
    sample = depth_sample(clip)
    np.testing.assert_allclose(sample.target[0].transpose(0, 1), DEPTH["vae_input"], rtol=0, atol=1e-6)
    assert sample.pictures.min() == sample.pictures.max() == -1


def test_only_the_adapters_learn_and_in_float32(tmp_path):
    task = make_task("dvd", tmp_path, precision="bfloat16")
    trained = {name for name, value in task.module.named_parameters() if value.requires_grad}
    assert len(trained) == 2 * 10 * 2 and all(".lora_" in name for name in trained)
    assert set(task.groups()[0].parameters) == trained
    assert {value.dtype for value in task.groups()[0].parameters.values()} == {torch.float32}
    assert task.transformer.blocks[0].attn1.to_q.base_layer.weight.dtype == torch.bfloat16
    assert not any("codec" in name or "vae" in name for name in task.module.state_dict())
    with torch.autocast("cpu", torch.bfloat16):
        task.module(drawn(task))["total"].backward()
    assert all(
        (value.grad is not None and torch.isfinite(value.grad).all()) == (name in trained)
        for name, value in task.module.named_parameters()
    )


def test_recomputed_activations_give_the_same_gradients(tmp_path):
    task, batch = make_task("dvd", tmp_path), None
    batch = drawn(task)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            task.transformer.enable_gradient_checkpointing()
        task.module.zero_grad()
        task.module(batch)["total"].backward()
        found.append(torch.cat([value.grad.flatten() for value in adapters(task.transformer).values()]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-7)


def test_a_clip_is_learnt(tmp_path):
    task = make_task("dvd", tmp_path, frames=5)
    batch = drawn(task)
    optimiser = torch.optim.AdamW(adapters(task.transformer).values(), lr=2e-2)
    losses = []
    for _ in range(20):
        optimiser.zero_grad()
        total = task.module(batch)["total"]
        total.backward()
        optimiser.step()
        losses.append(total.item())
    assert losses[-1] < losses[0] / 2, losses[:: len(losses) - 1]


@pytest.mark.parametrize("base", ["published", "plain"])
def test_a_saved_result_answers_as_the_task_in_training(tmp_path, base):
    where = plain_folder(tmp_path / "plain") if base == "plain" else None
    task, clip = make_task("dvd", tmp_path, where), clip_of()
    before = task.engine().predict(clip).disparity
    shaken(task)
    result = tmp_path / "out" / "weights.safetensors"
    task.save(result, {"steps": 3, "recipe": {"name": "dvd", "hash": "0"}})
    engine = load_engine("dvd", EngineOptions((where or tmp_path / "dvd", result), device="cpu"))
    # Merged into the base, the adapters' products are rounded once more.
    np.testing.assert_allclose(engine.predict(clip).disparity, task.engine().predict(clip).disparity, rtol=0, atol=1e-5)
    assert np.abs(engine.predict(clip).disparity - before).max() > 1e-2
    assert "trained by recipe dvd on ours" in engine.card.description


def test_training_goes_on_from_a_result(tmp_path):
    task = shaken(make_task("dvd", tmp_path))
    result = tmp_path / "weights.safetensors"
    task.save(result, {})
    again = make_task("dvd", tmp_path, start_from=str(result))
    for name, value in adapters(task.transformer).items():
        torch.testing.assert_close(adapters(again.transformer)[name], value, rtol=0, atol=0)


def test_fresh_adapters_on_a_plain_base_have_the_recipes_rank(tmp_path):
    task = make_task("dvd", tmp_path, plain_folder(tmp_path / "plain"), lora={"rank": 3})
    assert {min(value.shape) for value in adapters(task.transformer).values()} == {3}


def test_a_plain_base_alone_is_no_engine(tmp_path):
    with pytest.raises(CheckpointError, match=r"plain text-to-video.*give that adapter after it"):
        find_dvd(plain_folder(tmp_path / "plain"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"weighting": "bell"}}, "model.*unknown.*weighting"),
        ({"lora": {"alpha": 4}}, "lora.*unknown.*alpha"),
        ({"model": {"known": 0.5}}, "unknown.*known"),
    ],
)
def test_unknown_words_of_a_recipe_are_refused(tmp_path, changes, words):
    with pytest.raises(ValueError, match=words):
        make_task("dvd", tmp_path, **changes)
