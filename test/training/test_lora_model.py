"""Adapters beside a frozen base, and the wider first layer of completion."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dkt_ros.engines.checkpoints import CheckpointError

from ..engines.published import DKT, dvd_folder, dvd_tensors

pytest.importorskip("peft", reason="training with adapters needs the extra: pip install 'dkt_ros[train]'")

from dkt_ros.engines.weights import load_dvd, load_transformer
from dkt_ros.training.lora_model import (
    adapters,
    add_adapters,
    ask,
    continue_from,
    predict_latents,
    published_tensors,
    widen,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return dvd_folder(tmp_path) / "model.safetensors"


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_adapters_beside_the_base_say_what_merged_ones_say(file: Path) -> None:
    beside = load_dvd(file, merge=False).transformer
    assert continue_from(beside, file) == 4
    merged = load_dvd(file).transformer
    latents = noise(1, 16, 3, 4, 6)
    with torch.no_grad():
        ours, theirs = (predict_latents(model, latents) for model in (beside, merged))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_fresh_adapters_change_nothing(file: Path) -> None:
    transformer = load_dvd(file).transformer
    latents = noise(1, 16, 1, 4, 6, seed=1)
    with torch.no_grad():
        before = predict_latents(transformer, latents)
        add_adapters(transformer, rank=3)
        torch.testing.assert_close(predict_latents(transformer, latents), before, rtol=0, atol=1e-6)
    assert transformer.blocks[1].ffn.net[2].lora_A["default"].weight.shape == (3, 96)
    assert {value.dtype for value in adapters(transformer).values()} == {torch.float32}


def test_what_is_saved_has_the_published_names(file: Path) -> None:
    transformer = load_dvd(file, merge=False).transformer
    continue_from(transformer, file)
    stored, prefix = dvd_tensors(), "pipe.dit."
    wanted = {name.removeprefix(prefix): value for name, value in stored.items() if ".lora_" in name}
    found = published_tensors(transformer)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_adapters_of_several_ranks_are_refused(file: Path) -> None:
    tensors = dvd_tensors()
    stem = "pipe.dit.blocks.0.self_attn.q.lora_"
    tensors[f"{stem}A.default.weight"] = tensors[f"{stem}A.default.weight"][:2].contiguous()
    tensors[f"{stem}B.default.weight"] = tensors[f"{stem}B.default.weight"][:, :2].contiguous()
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"ranks \(2, 4\)"):
        continue_from(load_dvd(file, merge=False).transformer, file)


def test_a_wider_dvd_answers_as_before_whatever_the_new_channels_hold(file: Path) -> None:
    transformer = load_dvd(file).transformer
    latents, more = noise(2, 16, 2, 4, 6), 10 * noise(2, 20, 2, 4, 6, seed=1)
    with torch.no_grad():
        before = predict_latents(transformer, latents)
        widen(transformer)
        after = predict_latents(transformer, torch.cat([latents, more], dim=1))
    # The sums are the same but for zeros; a convolution may add them in another order.
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    assert transformer.config.in_channels == 36
    assert adapters(transformer).keys() == {"patch_embedding.weight", "patch_embedding.bias"}


def test_a_wider_dkt_answers_as_before_and_forgets_the_columns_that_only_saw_zeros() -> None:
    transformer = load_transformer(DKT / "dit_tiny_reference.safetensors")
    text, image = noise(512, transformer.config.text_dim), torch.zeros(1, transformer.config.image_dim)
    used, more, time = noise(1, 32, 2, 4, 6), 10 * noise(1, 20, 2, 4, 6, seed=1), torch.tensor([884.0])
    with torch.no_grad():
        before = ask(transformer, used, time, text, image)
        assert transformer.patch_embedding.weight[:, 32:].abs().max() > 0  # Fun-Control's, for pictures DKT never gives
        widen(transformer)
        after = ask(transformer, torch.cat([used, more], dim=1), time, text, image)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    assert transformer.config.in_channels == 52
    assert not transformer.patch_embedding.weight[:, 32:].any()


@pytest.mark.parametrize("autocast", [False, True])
def test_a_bfloat16_base_answers_with_and_without_autocast(file: Path, autocast: bool) -> None:
    exact = load_dvd(file).transformer
    transformer = load_dvd(file, torch.bfloat16, merge=False).transformer
    continue_from(transformer, file)
    widen(transformer)
    latents = noise(1, 16, 1, 4, 6)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = predict_latents(transformer, latents)
    with torch.no_grad():
        theirs = predict_latents(exact, latents)
    assert ours.dtype == torch.float32
    assert transformer.blocks[0].attn1.to_q.base_layer.weight.dtype == torch.bfloat16
    assert float((ours - theirs).norm() / theirs.norm()) < 0.03
