"""What lies beside weights and no tensor says: the number of heads, the time of DVD's pass. No torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from dkt_ros.engines.headers import CheckpointError, Header

#: Width of an attention head in all published Wan models.
HEAD_DIM = 128


def config_beside(header: Header) -> dict[str, Any]:
    """What the ``config.json`` beside the file says, of whichever model it is; nothing if there is none.

    Raises:
        CheckpointError: it is not JSON.
    """
    path = header.path.with_name("config.json")
    try:
        config = json.loads(path.read_text()) if path.is_file() else {}
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: not JSON ({error}); fetch it again, or remove it") from error
    return config if isinstance(config, dict) else {}


def attention_heads(header: Header, dim: int) -> int:
    """Attention heads, which no shape shows.

    From "num_heads" or "num_attention_heads" in the file's own metadata, or in the ``config.json`` beside it; else
    heads of 128, as in all published models.
    """
    beside = header.path.with_name("config.json")
    for path, config in ((header.path, header.config()), (beside, config_beside(header))):
        heads = config.get("num_heads", config.get("num_attention_heads"))
        # Wan's own has a "model_type", too; without a "_class_name" it is a language model's in the same folder.
        if heads is None or ("model_type" in config and "_class_name" not in config):
            continue
        if not isinstance(heads, int) or heads < 1 or dim % heads or dim // heads % 2:
            raise CheckpointError(f"{path}: {heads} heads do not divide a width of {dim}; correct it")
        return heads
    if dim % HEAD_DIM:
        raise CheckpointError(
            f"{header.path}: {dim} wide, no multiple of {HEAD_DIM}, so its number of attention heads is unknown; put a "
            f'config.json with {{"num_attention_heads": N}} beside it'
        )
    return dim // HEAD_DIM


def denoise_step(path: Path) -> float:
    """``denoise_step`` of DVD's ``model_config.yaml`` (the time of its one pass as a share of 1000); 0.5 without one.

    Raises:
        CheckpointError: damaged, or another mode or training target than DVD's.
    """
    if not path.is_file():
        return 0.5
    try:
        config = yaml.safe_load(path.read_text())
        step = float(config.get("denoise_step", 0.5))
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: not DVD's configuration ({error}); fetch it again, or remove it") from error
    for key, wanted in (("mode", "regression"), ("training_target", "x")):
        if config.get(key, wanted) != wanted:
            raise CheckpointError(f"{path}: {key} is {config[key]!r}, only {wanted!r} is known; give DVD as published")
    if not 0 <= step <= 1:
        raise CheckpointError(f"{path}: denoise_step is {step}, must be within 0..1; fetch it again")
    return step
