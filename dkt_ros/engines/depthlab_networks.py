"""DepthLab's files into stock classes: two UNets of diffusers, its image VAE, CLIP's picture half, one linear layer.

Sizes are read from the tensors. What no shape shows is as published (64 channels a head in the UNets, 80 in CLIP, 32
groups in the norms, GELU) unless a ``config.json`` beside the file, or "config" in its header, says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from dkt_ros.engines.assembly import Stored, fill
from dkt_ros.engines.beside import config_beside
from dkt_ros.engines.headers import CheckpointError, Header, Shapes, read_header

HEAD, CLIP_HEAD, GROUPS = 64, 80, 32
#: Names of the VAE's attention before diffusers 0.15 and now.
_RENAMED = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}


def load_denoiser(path: Path, dtype: torch.dtype, device: torch.device) -> UNet2DConditionModel:
    """The denoising UNet.

    Raises:
        FileNotFoundError, CheckpointError: see ``headers.read_header``; or tensors are missing, foreign or of another
            shape than the sizes demand, or the number of heads is unknown.
    """
    return _filled(_unet, path, dtype, device)


def load_reference(path: Path, dtype: torch.dtype, device: torch.device) -> UNet2DConditionModel:
    """The reference UNet, whose four output tensors are neither in its file nor ever asked for.

    Raises:
        FileNotFoundError, CheckpointError: as ``load_denoiser``.
    """
    return _filled(_unet_without_output, path, dtype, device)


def load_mapping(path: Path, dtype: torch.dtype, device: torch.device) -> nn.Linear:
    """The layer from CLIP's embedding to the UNets' one token.

    Raises:
        FileNotFoundError, CheckpointError: as ``load_denoiser``.
    """
    return _filled(_mapping, path, dtype, device)["mapping_layer"]


def load_image_vae(path: Path, dtype: torch.dtype, device: torch.device) -> AutoencoderKL:
    """The image VAE, whose attention may have its names of before 2023.

    Raises:
        FileNotFoundError, CheckpointError: as ``load_denoiser``.
    """
    return _filled(_image_vae, path, dtype, device)


def load_image_encoder(path: Path, dtype: torch.dtype, device: torch.device) -> Any:
    """The picture half of CLIP with its projection; a file may hold the whole.

    Raises:
        ImportError: transformers is missing; the text names the extra.
        FileNotFoundError, CheckpointError: as ``load_denoiser``.
    """
    encoder = _filled(_image_encoder, path, dtype, device, only=("vision_model.", "visual_projection."))
    embeddings = encoder.vision_model.embeddings  # its buffer of positions is in no file
    embeddings.position_ids = torch.arange(embeddings.num_positions, device=device)[None]
    return encoder


def _unet(header: Header) -> UNet2DConditionModel:
    shapes, said = header.shapes, _said(header)
    widths = _widths(header, "down_blocks.{}.resnets.0.conv1.weight")
    heads = _heads(header, said.get("num_attention_heads") or said.get("attention_head_dim"), widths, HEAD)
    down = [any(n.startswith(f"down_blocks.{i}.attentions.") for n in shapes) for i in range(len(widths))]
    up = [any(n.startswith(f"up_blocks.{i}.attentions.") for n in shapes) for i in range(len(widths))]
    return UNet2DConditionModel(
        in_channels=_shape(header, "conv_in.weight", 4)[1],
        out_channels=4,
        down_block_types=tuple("CrossAttnDownBlock2D" if cross else "DownBlock2D" for cross in down),
        up_block_types=tuple("CrossAttnUpBlock2D" if cross else "UpBlock2D" for cross in up),
        block_out_channels=widths,
        layers_per_block=_count(shapes, "down_blocks.0.resnets.{}.conv1.weight"),
        cross_attention_dim=_shape(header, "mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight", 2)[1],
        attention_head_dim=tuple(heads),  # diffusers means their number
        use_linear_projection=len(shapes["mid_block.attentions.0.proj_in.weight"]) == 2,
        norm_num_groups=said.get("norm_num_groups", GROUPS),
    )


def _unet_without_output(header: Header) -> UNet2DConditionModel:
    unet: Any = _unet(header)
    unet.conv_norm_out, unet.conv_out = None, nn.Identity()
    return unet


def _mapping(header: Header) -> nn.ModuleDict:
    outward, inward = _shape(header, "mapping_layer.weight", 2)
    return nn.ModuleDict({"mapping_layer": nn.Linear(inward, outward)})


def _image_vae(header: Header) -> AutoencoderKL:
    widths = _widths(header, "encoder.down_blocks.{}.resnets.0.conv1.weight")
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        block_out_channels=widths,
        layers_per_block=_count(header.shapes, "encoder.down_blocks.0.resnets.{}.conv1.weight"),
        latent_channels=_shape(header, "post_quant_conv.weight", 4)[0],
        norm_num_groups=_said(header).get("norm_num_groups", GROUPS),
    )


def _image_encoder(header: Header) -> Any:
    try:
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection
    except ImportError as error:
        raise ImportError("engine depthlab needs transformers: pip install 'dkt_ros[models]'") from error
    said = _said(header, foreign="_class_name")
    said = said.get("vision_config", said)
    width, _, patch, _ = _shape(header, "vision_model.embeddings.patch_embedding.weight", 4)
    places = _shape(header, "vision_model.embeddings.position_embedding.weight", 2)[0]
    config = CLIPVisionConfig(
        hidden_size=width,
        intermediate_size=_shape(header, "vision_model.encoder.layers.0.mlp.fc1.weight", 2)[0],
        projection_dim=_shape(header, "visual_projection.weight", 2)[0],
        num_hidden_layers=_count(header.shapes, "vision_model.encoder.layers.{}.mlp.fc1.weight"),
        num_attention_heads=_heads(header, said.get("num_attention_heads"), [width], CLIP_HEAD)[0],
        image_size=int((places - 1) ** 0.5) * patch,
        patch_size=patch,
        hidden_act=said.get("hidden_act", "gelu"),
    )
    return CLIPVisionModelWithProjection(config)


def _filled(build: Any, path: Path, dtype: torch.dtype, device: torch.device, only: tuple[str, ...] = ("",)) -> Any:
    """What ``build`` makes of the header, with every parameter read from the file, one after another."""
    header = read_header(path)
    with torch.device("meta"):
        module = build(header)
    homes = {
        _today(name): name for name in header.shapes if name.startswith(only) and not name.endswith("position_ids")
    }
    stored = {goal: Stored(header, name) for goal, name in homes.items()}
    fill(module, stored, header.path, dtype, device, float32=set())
    return module


def _today(name: str) -> str:
    stem, attention, rest = name.partition("mid_block.attentions.0.")
    first, _, last = rest.partition(".")
    return f"{stem}{attention}{_RENAMED[first]}.{last}" if attention and first in _RENAMED else name


def _said(header: Header, foreign: str = "model_type") -> Mapping[str, Any]:
    """The header's own "config" over the ``config.json`` beside the file, unless that has a field that shows it to be
    another library's: the files of several models may lie in one folder."""
    said = config_beside(header)
    return {**({} if foreign in said else said), **header.config()}


def _heads(header: Header, said: int | list[int] | None, widths: list[int], each: int) -> list[int]:
    heads = said if isinstance(said, list) else [said] * len(widths) if said else [width // each for width in widths]
    if len(heads) != len(widths) or any(not n or width % n for n, width in zip(heads, widths, strict=False)):
        raise CheckpointError(
            f"{header.path}: {heads} attention heads do not divide widths of {widths}; put a config.json with the "
            'right {"num_attention_heads": ...} beside it'
        )
    return [int(n) for n in heads]


def _shape(header: Header, name: str, rank: int) -> tuple[int, ...]:
    shape = header.shapes.get(name, ())
    if len(shape) != rank:
        raise CheckpointError(f"{header.path}: {name} is {shape or 'missing'}; not the file that was asked for")
    return shape


def _widths(header: Header, name: str) -> list[int]:
    return [_shape(header, name.format(i), 4)[0] for i in range(_count(header.shapes, name))]


def _count(shapes: Shapes, name: str) -> int:
    count = 0
    while name.format(count) in shapes:
        count += 1
    return count
