"""Weights on disk: safetensors with the network's sizes in the header, verified before a byte of it is used."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dkt_ros.engines.headers import CheckpointError, refuse_pickle
from dkt_ros.files import written_whole

__all__ = ["CheckpointError", "fill_module", "load_weights", "save_weights"]


def save_weights(path: Path | str, tensors: dict[str, Tensor], config: dict[str, Any], half: bool = False) -> None:
    """Write ``tensors`` and ``config`` (JSON) so that ``path`` holds either the whole of them or what it held before.

    ``half`` stores floating-point tensors as float16; a value beyond its range raises CheckpointError. A full disk and
    the like raise OSError, as from Python's own files. A new file has the mode that the umask gives.
    """
    path = Path(path)
    ready = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().to("cpu")
        if half and tensor.is_floating_point():
            tensor = tensor.to(torch.float16)
            if not torch.isfinite(tensor).all():
                raise CheckpointError(f"{path}: {name} does not fit float16; save without half")
        ready[name] = tensor.contiguous().clone()
    try:
        with written_whole(path) as temporary:
            save_file(ready, temporary, metadata={"config": json.dumps(config)})
    except SafetensorError as error:
        if found := re.search(r"os error (\d+)", str(error)):
            number = int(found[1])
            raise OSError(number, os.strerror(number), str(path)) from error
        raise


def load_weights(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read tensors (as stored) and config.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: a pickle, a truncated file, not safetensors, or without our config in its header.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such weight file")
    refuse_pickle(path)
    try:
        with safe_open(path, framework="pt") as stored:
            header = stored.metadata() or {}
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise CheckpointError(f"{path}: truncated or not safetensors ({error}); fetch or copy it again") from error
    if "config" not in header:
        raise CheckpointError(f"{path}: no dkt_ros config in its header; it is not a checkpoint of this package")
    return tensors, json.loads(header["config"])


def fill_module(module: nn.Module, tensors: dict[str, Tensor], source: Path | str) -> None:
    """Copy ``tensors`` into ``module`` (in the module's own dtype); every key and shape must agree.

    Raises:
        CheckpointError: names the first keys that are missing, foreign or of another shape.
    """
    own = module.state_dict()
    missing, foreign = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    if missing or foreign:
        raise CheckpointError(
            f"{source}: made for another network: {len(missing)} tensors missing {missing[:3]}, {len(foreign)} foreign "
            f"{foreign[:3]}; give the checkpoint of this engine"
        )
    for name, tensor in tensors.items():
        if own[name].shape != tensor.shape:
            raise CheckpointError(
                f"{source}: {name} is {tuple(tensor.shape)}, this network has {tuple(own[name].shape)}; "
                "give the checkpoint of this engine"
            )
    module.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in tensors.items()})
