"""Which model a weight file holds, in words, judged by the names and shapes of its tensors. No torch."""

from __future__ import annotations

from pathlib import Path

from dkt_ros.engines.headers import CheckpointError, key_shape_md5, read_header
from dkt_ros.engines.other_layouts import (
    identify_completion,
    identify_depthlab,
    identify_image_model,
    identify_prompt,
    identify_text_encoder,
    identify_tiny_codec,
)
from dkt_ros.engines.roles import Layout
from dkt_ros.engines.wan_layouts import identify_codec, identify_dvd, identify_lora, identify_transformer

__all__ = ["Layout", "identify"]


def identify(path: Path | str, hashing: bool = False) -> Layout:
    """Say what one weight file, or one set of shards, holds.

    Args:
        path: a file, an index of shards, or any shard of a numbered set.
        hashing: also read the whole file where only its sha256 tells two models apart (gigabytes: for "verify").

    Raises:
        FileNotFoundError, CheckpointError: see ``headers.read_header``. A whole file of a model that is of no use here
            is no error: see ``Layout.refusal``.
    """
    header = read_header(path)
    try:
        layout = (
            identify_dvd(header, hashing)
            or identify_lora(header)
            or identify_transformer(header)
            or identify_codec(header)
            or identify_prompt(header)
            or identify_completion(header)
            or identify_depthlab(header)
            or identify_image_model(header)
            or identify_tiny_codec(header, hashing)
            or identify_text_encoder(header)
        )
        if layout is not None:
            return layout
    except CheckpointError as error:
        return Layout("unknown", "damaged", "a damaged model", md5=key_shape_md5(header.shapes), refusal=str(error))
    names = ", ".join(sorted(header.shapes)[:3]) or "none"
    return Layout(
        "unknown",
        "unknown",
        f"{len(header.shapes)} tensors of no model that is known here (first: {names})",
        md5=key_shape_md5(header.shapes),
        refusal=f"{header.path}: no model that is known here (first tensors: {names}); give the published file",
    )
