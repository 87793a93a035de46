"""DVD as it is trained: the published file with its adapters beside the frozen base instead of merged into it.

Needs peft (the extra "train"). The recipes that fine-tune DVD start here; the loss is in ``published_losses``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from peft import LoraConfig
from safetensors import safe_open
from torch import Tensor

from dkt_ros.engines.checkpoints import CheckpointError
from dkt_ros.engines.headers import read_header
from dkt_ros.engines.lora import TARGETS, read_lora
from dkt_ros.engines.wan_codec import WanCodec
from dkt_ros.engines.wan_layouts import DVD_TRANSFORMER, DvdParts
from dkt_ros.engines.weights import Dvd, load_dvd
from dkt_ros.training.published_losses import latent_loss

#: The name that PEFT and the published file give the adapters.
ADAPTER = "default"


def load_dvd_for_training(
    file: Path | str, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> Dvd:
    """DVD from its one file, for fine-tuning.

    Only the adapters ask for gradients. They are float32 whatever ``dtype``, which is that of the rest: the reference
    lets them and their optimiser round to bfloat16 at every step.

    Raises:
        FileNotFoundError, CheckpointError: as ``load_dvd``, or the adapters are of several ranks.
    """
    dvd = load_dvd(file, dtype, device, merge=False)
    header = read_header(file)
    lora = read_lora(DvdParts.of(header.shapes).adapters, header.path)
    if len(lora.ranks) > 1:
        raise CheckpointError(f"{header.path}: adapters of ranks {lora.ranks}; training goes on from one rank only")
    transformer: Any = dvd.transformer
    add_adapters(transformer, lora.ranks[0])
    with safe_open(header.path, framework="pt") as stored:
        found = {
            f"{layer}.lora_{half}.{ADAPTER}.weight": stored.get_tensor(DVD_TRANSFORMER + name)
            for layer, pair in lora.pairs.items()
            for half, name in zip("AB", pair, strict=True)
        }
    wrong = transformer.load_state_dict(convert_wan_transformer_to_diffusers(found), strict=False)
    assert not wrong.unexpected_keys and not any(".lora_" in name for name in wrong.missing_keys)
    return dvd


def add_adapters(transformer: Any, rank: int) -> None:
    """Fresh float32 adapters of weight 1 (alpha = rank) on the ten published linear layers of every block.

    They change nothing yet: B starts at zero. Everything else in ``transformer`` is frozen.
    """
    transformer.requires_grad_(False)
    named = convert_wan_transformer_to_diffusers({f"blocks.0.{target}.weight": None for target in TARGETS})
    layers = [name.removeprefix("blocks.0.").removesuffix(".weight") for name in named]
    transformer.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=layers), ADAPTER)
    for parameter in adapters(transformer).values():
        parameter.data = parameter.data.float()


def adapters(transformer: Any) -> dict[str, torch.nn.Parameter]:
    """What the optimiser is given, by diffusers' names."""
    return {name: value for name, value in transformer.named_parameters() if value.requires_grad}


def predict_latents(transformer: Any, latents: Tensor, denoise_step: float = 0.5) -> Tensor:
    """DVD's one pass: latents of the pictures (B, 16, t, h, w) -> latents of the disparity, float32.

    The text is one zero token: 512 equal ones, as published, give the same.
    """
    batch = latents.shape[0]
    time = latents.new_full((batch,), 1000 * denoise_step)
    text = latents.new_zeros(batch, 1, transformer.config.text_dim)
    return transformer(latents, time, text, return_dict=False)[0].float()


def dvd_step(dvd: Dvd, codec: WanCodec, pictures: Tensor, disparity: Tensor) -> dict[str, Tensor]:
    """The terms of the published loss for one batch; see ``published_losses.latent_loss``.

    Args:
        dvd: its transformer is asked.
        codec: of the same file, frozen.
        pictures: (B, 3, T, H, W) float32 RGB in [-1, 1].
        disparity: the same shape; see ``published_losses.DisparityTarget.video``.
    """
    predicted = predict_latents(dvd.transformer, codec.encode(pictures), dvd.denoise_step)
    return latent_loss(predicted, codec.encode(disparity))
