"""Which model a weight file holds, in words, judged by the names and shapes of its tensors. No torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dkt_ros.engines.headers import CheckpointError, Header, key_shape_md5, read_header
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

_FLOATS = ("F64", "F32", "F16", "BF16")


def identify(path: Path | str) -> Layout:
    """Say what one weight file, or one set of shards, holds.

    Args:
        path: a file, an index of shards, or any shard of a numbered set.

    Raises:
        FileNotFoundError, CheckpointError: see ``headers.read_header``. A whole file of a model that is of no use here
            is no error: see ``Layout.refusal``.
    """
    header = read_header(path)
    try:
        layout = (
            identify_dvd(header)
            or identify_lora(header)
            or identify_transformer(header)
            or identify_codec(header)
            or identify_prompt(header)
            or identify_completion(header)
            or identify_depthlab(header)
            or identify_image_model(header)
            or identify_tiny_codec(header)
            or identify_text_encoder(header)
        )
        if layout is not None:
            return replace(layout, refusal=layout.refusal or _refusal_of_precision(header))
    except CheckpointError as error:
        return _damaged(header, str(error))
    except (ValueError, LookupError, ArithmeticError) as error:  # where a size is read, a shape is empty or too short
        return _damaged(header, f"{header.path}: a tensor of an impossible shape ({error}); fetch it again")
    names = ", ".join(sorted(header.shapes)[:3]) or "none"
    return Layout(
        "unknown",
        "unknown",
        f"{len(header.shapes)} tensors of no model that is known here (first: {names})",
        md5=key_shape_md5(header.shapes),
        refusal=f"{header.path}: no model that is known here (first tensors: {names}); give the published file",
    )


def _damaged(header: Header, refusal: str) -> Layout:
    return Layout("unknown", "damaged", "a damaged model", md5=key_shape_md5(header.shapes), refusal=refusal)


def _refusal_of_precision(header: Header) -> str:
    """Why values of this precision are not taken: those of 8 bits mean nothing without scales, or not enough."""
    kinds = {kind for name, kind in header.dtypes.items() if not name.endswith("position_ids")}
    if kinds <= {*_FLOATS}:
        return ""
    others = ", ".join(sorted(kinds - {*_FLOATS}))
    return f"{header.path}: holds values of the type {others}; give the published file (bfloat16, float16 or float32)"
