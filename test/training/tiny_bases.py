"""The bases of DKT and DVD in miniature for training: random weights, whole folders, recipes cut to size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from dkt_ros.training.recipe import parse_recipe
from dkt_ros.training.sequences import save_sequence, sequence_path
from dkt_ros.training.tasks import Setup, build_task
from test.engines.published import DKT, dkt_folder, dvd_folder, dvd_tensors
from test.training.toy import toy_sequence

#: (height, width) of the tiny clips.
SIZE = (32, 48)


def smoke(recipe: str, folder: Path) -> tuple[dict[str, Any], list[Path]]:
    """What to change in a bundled recipe's values so that it trains on toy sequences on a CPU, and its bases.

    Args:
        recipe: its name.
        folder: where the bases are written.
    """
    kind = "dvd" if recipe.startswith("dvd") else "dkt"
    base = dvd_folder(folder / "dvd") if kind == "dvd" else normal_folder(folder / "dkt")
    values = {
        "precision": "float32",
        "accumulate": 1,
        "validate_every": 0,
        "lora": {"rank": 4},
        "data": {
            "sets": {"ours": {"format": "transphy3d", "folder": "train"}},
            "loaders": [{"name": "ours", "frames": [1, 5], "batch": 1, "size": list(SIZE), "sets": {"ours": 1}}],
        },
        "phases": [{"name": "smoke", "steps": 4, "rate": [1e-3, 1e-3], "warmup": 1}],
    }
    return values, [base]


def normal_folder(folder: Path) -> Path:
    """The tiny DKT with the embedding of "normal", too."""
    dkt_folder(folder)
    rows = load_file(DKT / "dit_tiny_io.safetensors")["context"][0, 2:5].contiguous()
    (folder / "normal").mkdir(exist_ok=True)
    metadata = {"text": "normal", "format": "dkt_ros prompt 1"}
    save_file({"rows": rows}, folder / "normal" / "prompt.safetensors", metadata=metadata)
    return folder


def plain_folder(folder: Path) -> Path:
    """DVD's base without its adapters, and the codec in a file of its own: what training from the start begins with."""
    dvd_folder(folder)
    (folder / "model.safetensors").unlink()
    tensors = dvd_tensors()
    base = {
        name.removeprefix("pipe.dit.").replace(".base_layer.", "."): tensor
        for name, tensor in tensors.items()
        if name.startswith("pipe.dit.") and ".lora_" not in name
    }
    save_file(base, folder / "diffusion_pytorch_model.safetensors")
    prefix = "pipe.vae.model."
    codec = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    save_file(codec, folder / "Wan2.1_VAE.safetensors")
    return folder


def toy_train(root: Path, frames: int = 5) -> Path:
    """A folder with two toy sequences in train/."""
    for seed in (1000, 1001):
        save_sequence(sequence_path(root / "train", seed), toy_sequence(seed, frames, *SIZE))
    return root


def make_task(task: str, folder: Path, base: Path | None = None, frames: int | None = None, **changes: Any) -> Any:
    """The task of that name on toy data and a tiny base.

    Args:
        task: a module of ``dkt_ros.training.tasks``.
        folder: where data and bases are written, where they are not yet.
        base: in the place of the tiny one.
        frames: length of all clips; None: 1 or 5.
        changes: of the recipe's values.
    """
    torch.manual_seed(0)
    values, bases = smoke(task, folder)
    if frames:
        values["data"]["loaders"][0]["frames"] = [frames]
    values = {"task": task, "seed": 1, **values, **changes}
    if not (folder / "train").is_dir():
        toy_train(folder)
    recipe = parse_recipe(values, task)
    return build_task(Setup(recipe, folder, (base,) if base else tuple(bases), torch.device("cpu")))


def shaken(task: Any, size: float = 0.02) -> Any:
    """The task with other values in all that it trains, so that nothing is zero any more."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in task.module.parameters():
            if parameter.requires_grad:
                parameter += size * torch.randn(parameter.shape, generator=generator)
    return task


def drawn(task: Any, seed: int = 0) -> Any:
    """One batch."""
    return task.draw(np.random.default_rng(seed), 0)
