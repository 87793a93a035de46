"""A Wan transformer as it is trained: low-rank adapters beside the frozen base, and for completion a wider first layer.

What is trained is float32 whatever the base is (the reference lets bfloat16 adapters and their optimiser round at every
step). Adapters are kept and saved under the published names; needs peft (the extra "train").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from peft import LoraConfig
from safetensors import safe_open
from torch import Tensor, nn

from dkt_ros.engines.checkpoints import CheckpointError
from dkt_ros.engines.headers import read_header
from dkt_ros.engines.lora import PATCH, TARGETS, WIDENED, read_lora, split_widened
from dkt_ros.engines.wan_layouts import DVD_TRANSFORMER, DvdParts

#: The name that PEFT and the published file give the adapters.
ADAPTER = "default"
#: Input channels that DKT's base never uses but for zeros: noise and pictures stand before them.
_ZEROS = {48: 32}


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


def continue_from(transformer: Any, file: Path) -> int:
    """Adapters with the values of a file: a LoRA, DVD's own, or what a training here wrote, with its first layer.

    Returns:
        Their rank.

    Raises:
        CheckpointError: the file has none, or of several ranks.
    """
    header = read_header(file)
    parts = DvdParts.of(header.shapes)
    prefix = DVD_TRANSFORMER if parts.adapters else ""
    kept, first = (parts.adapters, {}) if prefix else split_widened(header.shapes)
    lora = read_lora(kept, header.path)
    if len(lora.ranks) > 1:
        raise CheckpointError(f"{header.path}: adapters of ranks {lora.ranks}; training goes on from one rank only")
    add_adapters(transformer, lora.ranks[0])
    if first:
        widen(transformer)
    with safe_open(header.path, framework="pt") as stored:
        found = {
            f"{layer}.lora_{half}.{ADAPTER}.weight": stored.get_tensor(prefix + name)
            for layer, pair in lora.pairs.items()
            for half, name in zip("AB", pair, strict=True)
        }
        found |= {name: stored.get_tensor(name) for name in first}
    wrong = transformer.load_state_dict(convert_wan_transformer_to_diffusers(found), strict=False)
    assert not wrong.unexpected_keys and not any(".lora_" in name for name in wrong.missing_keys)
    return lora.ranks[0]


def widen(transformer: Any) -> None:
    """Let the first layer read a partial disparity and its trust, too; all of it is trained then, in float32.

    The new columns are zero, and so become those that DKT's base has for channels which were always zero: the model
    answers as before, whatever the new channels hold.
    """
    before: Any = transformer.patch_embedding
    weight = before.weight.data.float()
    dim, channels, *patch = weight.shape
    read = _ZEROS.get(channels, channels)
    after: Any = nn.Conv3d(WIDENED[channels], dim, patch, stride=patch, device=weight.device)
    with torch.no_grad():
        after.weight.zero_()
        after.weight[:, :read] = weight[:, :read]
        after.bias.copy_(before.bias)
    transformer.patch_embedding = after
    transformer.register_to_config(in_channels=WIDENED[channels])


def adapters(transformer: Any) -> dict[str, nn.Parameter]:
    """What is trained, by diffusers' names."""
    return {name: value for name, value in transformer.named_parameters() if value.requires_grad}


def published_tensors(transformer: Any) -> dict[str, Tensor]:
    """What is trained, by the names of the published files: adapters, and the first layer if it is wider."""
    own = adapters(transformer)
    layers = [f"blocks.{i}.{target}" for i in range(len(transformer.blocks)) for target in TARGETS]
    names = [f"{layer}.lora_{half}.{ADAPTER}.weight" for layer in layers for half in "AB"]
    names += [name for name in own if name.startswith(PATCH)]
    return {theirs: own[ours].detach() for ours, theirs in _converted(names).items()}


def ask(transformer: Any, latents: Tensor, time: Tensor, text: Tensor, image: Tensor | None = None) -> Tensor:
    """The transformer's answer, float32, under autocast or not, whichever dtypes base and first layer have.

    Args:
        latents: (B, C, t, h, w); channels that are left out at the end are zeros.
        time: (B,) 0..1000.
        text: (512 or 1, text_dim).
        image: (1, image_dim), for a model with an image branch.
    """
    batch, missing = len(latents), transformer.config.in_channels - latents.shape[1]
    latents = nn.functional.pad(latents, (0, 0, 0, 0, 0, 0, 0, missing))
    kind = transformer.proj_out.weight.dtype
    first: Any = transformer.patch_embedding
    handle = first.register_forward_hook(lambda _, __, out: out.to(kind))
    try:
        out = transformer(
            latents.to(first.weight.dtype),
            time,
            text.to(latents.device, kind).expand(batch, -1, -1),
            None if image is None else image.to(latents.device, kind).expand(batch, -1, -1),
            return_dict=False,
        )[0]
    finally:
        handle.remove()
    return out.float()


def predict_latents(transformer: Any, latents: Tensor, denoise_step: float = 0.5) -> Tensor:
    """DVD's one pass: latents of the pictures (B, 16, t, h, w) -> latents of the disparity, float32.

    The text is one zero token: 512 equal ones, as published, give the same.
    """
    time = torch.full((len(latents),), 1000 * denoise_step, device=latents.device)
    return ask(transformer, latents, time, torch.zeros(1, transformer.config.text_dim))


def _converted(names: list[str]) -> Mapping[str, str]:
    """diffusers' names -> the published ones."""
    found: Mapping[str, str] = convert_wan_transformer_to_diffusers({name: name for name in names})
    return found
