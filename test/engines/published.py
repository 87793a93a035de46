"""Tiny random models in the published layouts, as the user would have them on disk."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

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
