"""Tiny random models in the published layouts, as the user would have them on disk; and the names of the full size."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from dkt_ros.engines.headers import read_header
from dkt_ros.engines.lora import TARGETS

FIXTURES = Path(__file__).parents[1] / "fixtures"
DKT, DVD = FIXTURES / "dkt", FIXTURES / "dvd"

DVD_CONFIG = """\
trainable_models: dit
mode: regression
denoise_step: 0.5
training_target: x
lora_base_model: dit
lora_rank: 512
"""


def dvd_tensors() -> dict[str, torch.Tensor]:
    """The tiny DVD with all its keys. Its text embedder's first matrix is zero and is not in the fixture file."""
    tensors = load_file(DVD / "tiny_dvd.safetensors")
    width = tensors["pipe.dit.text_embedding.0.bias"].shape[0]
    return {**tensors, "pipe.dit.text_embedding.0.weight": torch.zeros(width, 4096)}


def dvd_folder(folder: Path, config: str | None = DVD_CONFIG, name: str = "model.safetensors") -> Path:
    """Write the tiny DVD into ``folder`` as published: one file, and ``model_config.yaml`` beside it. Returns it.

    The number of heads, which no shape shows, is in ``config.json`` (12 wide heads instead of the published 128).
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dvd_tensors(), folder / name, metadata={"format": "pt"})
    (folder / "config.json").write_text('{"num_attention_heads": 4}')
    if config is not None:
        (folder / "model_config.yaml").write_text(config)
    return folder


def dkt_folder(folder: Path) -> Path:
    """Write the tiny DKT into ``folder``: base, codec, LoRA and the embedding of the prompt "depth". Returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("dit_tiny_reference", "vae_tiny_reference", "dit_tiny_lora"):
        (folder / f"{name}.safetensors").write_bytes((DKT / f"{name}.safetensors").read_bytes())
    rows = load_file(DKT / "dit_tiny_io.safetensors")["context"][0, :4].contiguous()
    save_file({"rows": rows}, folder / "prompt.safetensors", metadata={"text": "depth", "format": "dkt_ros prompt 1"})
    return folder


@cache
def reference_shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a full-size published model, under the reference's names.

    The names are the tiny model's, its first block repeated; the shapes are those of diffusers' classes on the meta
    device, to which diffusers' own converters translate the names.

    Args:
        size: "1.3B" or "14B" (Fun-Control, first release), "T2V 1.3B" (DVD's base) or "codec".
    """
    from diffusers import AutoencoderKLWan, WanTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers

    if size == "codec":
        with torch.device("meta"):
            codec = AutoencoderKLWan()
        return _renamed(codec, convert_wan_vae_to_diffusers, read_header(DKT / "vae_tiny_reference.safetensors").shapes)
    heads, inner, layers = (40, 13824, 40) if size == "14B" else (12, 8960, 30)
    image = size != "T2V 1.3B"
    with torch.device("meta"):
        model = WanTransformer3DModel(
            num_attention_heads=heads,
            ffn_dim=inner,
            num_layers=layers,
            in_channels=48 if image else 16,
            image_dim=1280 if image else None,
            added_kv_proj_dim=128 * heads if image else None,
        )
    tiny = [name for name in read_header(DKT / "dit_tiny_reference.safetensors").shapes if "blocks.1." not in name]
    names = [name.replace("blocks.0.", f"blocks.{i}.") for name in tiny for i in range(layers)]
    return _renamed(model, convert_wan_transformer_to_diffusers, [n for n in names if image or "img" not in n])


def dvd_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of DVD as published: base, adapters of rank 512, codec."""
    lora = lora_shapes(30, 1536, 8960, 512)
    adapted = {name.rsplit(".lora_", 1)[0] for name in lora}
    base = {}
    for name, shape in reference_shapes("T2V 1.3B").items():
        layer, kind = name.rsplit(".", 1)
        base[f"{layer}.base_layer.{kind}" if layer in adapted else name] = shape
    return {
        **{f"pipe.dit.{name}": shape for name, shape in {**base, **lora}.items()},
        **{f"pipe.vae.model.{name}": shape for name, shape in reference_shapes("codec").items()},
    }


def lora_shapes(layers: int, dim: int, ffn_dim: int, rank: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a LoRA as DiffSynth's trainer writes it."""
    shapes = {}
    for i in range(layers):
        for target in TARGETS:
            out, into = {"ffn.0": (ffn_dim, dim), "ffn.2": (dim, ffn_dim)}.get(target, (dim, dim))
            shapes[f"blocks.{i}.{target}.lora_A.default.weight"] = (rank, into)
            shapes[f"blocks.{i}.{target}.lora_B.default.weight"] = (out, rank)
    return shapes


def write_hollow(path: Path, shapes: dict[str, tuple[int, ...]], metadata: dict[str, str] | None = None) -> Path:
    """Write a safetensors file of bfloat16 zeros that takes no room on the disk (a sparse file). Returns ``path``."""
    header, end = {"__metadata__": metadata or {}}, 0
    for name, shape in shapes.items():
        begin, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path


def _renamed(model: torch.nn.Module, convert: Callable[..., dict[str, str]], names: Iterable[str]) -> dict[str, Any]:
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    ours = convert({name: name for name in names})
    assert ours.keys() == shapes.keys()
    return {theirs: shapes[name] for name, theirs in ours.items()}
