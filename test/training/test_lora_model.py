"""One training step of DVD from the published layout, number for number (1e-4 relative)."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from dkt_ros.engines.checkpoints import CheckpointError

from ..engines.published import dvd_folder, dvd_tensors

pytest.importorskip("peft", reason="training with adapters needs the extra: pip install 'dkt_ros[train]'")

from dkt_ros.engines.wan_codec import WanCodec
from dkt_ros.engines.weights import Dvd, load_dvd
from dkt_ros.training.lora_model import adapters, add_adapters, dvd_step, load_dvd_for_training, predict_latents

STEP = {
    key: torch.from_numpy(np.asarray(value))
    for key, value in np.load(Path(__file__).parents[1] / "fixtures/dvd/train_step.npz").items()
}


@pytest.fixture
def dvd(tmp_path: Path) -> Dvd:
    return load_dvd_for_training(dvd_folder(tmp_path) / "model.safetensors")


def video(name: str) -> torch.Tensor:
    """(1, 3, 9, 32, 48) in [-1, 1]."""
    return STEP[name].transpose(1, 2) * 2 - 1


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Length of the difference as a share of the length: single elements of a gradient may be next to zero."""
    return float((ours.detach() - theirs).norm() / theirs.norm())


def test_one_step_is_the_published_one(dvd: Dvd) -> None:
    codec = WanCodec(dvd.codec, "cpu", torch.float32)
    torch.testing.assert_close(codec.encode(video("disparity")), STEP["z_depth_gt"], rtol=1e-4, atol=1e-5)
    predicted = predict_latents(dvd.transformer, codec.encode(video("rgb")))
    assert relative(predicted, STEP["z_pred"]) < 1e-5
    terms = dvd_step(dvd, codec, video("rgb"), video("disparity"))
    for ours, theirs in {"mse": "mse", "time": "l1_t", "height": "l1_h", "width": "l1_w", "total": "total"}.items():
        assert terms[ours].item() == pytest.approx(STEP[theirs].item(), rel=1e-4), ours
    terms["total"].backward()
    weights = adapters(dvd.transformer)
    for ours, theirs in {
        "blocks.0.attn1.to_q.lora_A": "grad_blocks0_self_q_lora_A",
        "blocks.1.ffn.net.0.proj.lora_B": "grad_blocks1_ffn0_lora_B",
    }.items():
        assert relative(weights[f"{ours}.default.weight"].grad, STEP[theirs]) < 1e-4, ours
    norm = torch.nn.utils.get_total_norm([weight.grad for weight in weights.values()])
    assert norm.item() == pytest.approx(STEP["grad_norm_all_lora"].item(), rel=1e-4)


def test_only_the_adapters_are_trained(dvd: Dvd) -> None:
    weights = adapters(dvd.transformer)
    assert len(weights) == 2 * 10 * 2 and all(".lora_" in name for name in weights)
    assert not any(parameter.requires_grad for parameter in dvd.codec.parameters())


def test_adapters_beside_the_base_say_what_merged_ones_say(tmp_path: Path, dvd: Dvd) -> None:
    latents = torch.randn(1, 16, 3, 4, 6, generator=torch.Generator().manual_seed(0))
    merged = load_dvd(tmp_path / "model.safetensors").transformer
    with torch.no_grad():
        ours, theirs = (predict_latents(model, latents) for model in (dvd.transformer, merged))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_a_bfloat16_base_keeps_float32_adapters(tmp_path: Path) -> None:
    dvd = load_dvd_for_training(dvd_folder(tmp_path) / "model.safetensors", torch.bfloat16)
    assert {weight.dtype for weight in adapters(dvd.transformer).values()} == {torch.float32}
    assert dvd.transformer.blocks[0].attn1.to_q.base_layer.weight.dtype == torch.bfloat16


def test_fresh_adapters_change_nothing(tmp_path: Path) -> None:
    file = dvd_folder(tmp_path) / "model.safetensors"
    transformer = load_dvd(file).transformer
    latents = torch.randn(1, 16, 1, 4, 6, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = predict_latents(transformer, latents)
        add_adapters(transformer, rank=3)
        torch.testing.assert_close(predict_latents(transformer, latents), before, rtol=0, atol=1e-6)
    assert transformer.blocks[1].ffn.net[2].lora_A["default"].weight.shape == (3, 96)


def test_adapters_of_several_ranks_are_refused(tmp_path: Path) -> None:
    tensors = dvd_tensors()
    stem = "pipe.dit.blocks.0.self_attn.q.lora_"
    tensors[f"{stem}A.default.weight"] = tensors[f"{stem}A.default.weight"][:2].contiguous()
    tensors[f"{stem}B.default.weight"] = tensors[f"{stem}B.default.weight"][:, :2].contiguous()
    file = dvd_folder(tmp_path) / "model.safetensors"
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=r"ranks \(2, 4\)"):
        load_dvd_for_training(file)
