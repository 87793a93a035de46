"""Sizes of a Wan transformer or codec, read from the shapes of its tensors, under either set of names. No torch.

The reference (official Wan, DiffSynth) and diffusers name the same tensors differently; a file holds one or the other,
perhaps with a prefix. The full translation is diffusers' own (see ``weights.py``); here are the names that show sizes.
"""

from __future__ import annotations

from typing import Any

from dkt_ros.engines.headers import CheckpointError, Shapes

_PREFIXES = ("", "model.diffusion_model.", "diffusion_model.", "model.", "transformer.", "dit.", "vae.")
_TEXT, _TIME = "condition_embedder.text_embedder.linear_1.weight", "condition_embedder.time_embedder.linear_1.weight"
_IMAGE = "condition_embedder.image_embedder.norm1.weight"


def prefix_of(shapes: Shapes, *anchors: str) -> str | None:
    """The prefix under which all these tensor names are stored, or None: one of ``anchors`` is not among them."""
    for prefix in _PREFIXES:
        if any(prefix + name in shapes for name in anchors) and all(name.startswith(prefix) for name in shapes):
            return prefix
    return None


def without_prefix(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    """The shapes whose names have the prefix, without it."""
    return {name[len(prefix) :]: shape for name, shape in shapes.items() if name.startswith(prefix)}


def is_diffusers(shapes: Shapes) -> bool:
    """Whether names without prefix are diffusers' rather than the reference's."""
    return _TEXT in shapes or "encoder.conv_in.weight" in shapes


def transformer_sizes(shapes: Shapes, source: object) -> dict[str, Any]:
    """Sizes of a Wan transformer from its shapes (names without prefix).

    Returns:
        ``dim``, ``ffn_dim``, ``layers``, ``in_channels``, ``out_channels``, ``patch`` (frames, rows, columns),
        ``text_dim``, ``freq_dim`` and ``image_dim`` (None without image branch). The number of heads shows in no shape.

    Raises:
        CheckpointError: a tensor that gives a size is missing or of another rank.
    """
    ours = is_diffusers(shapes)
    try:
        dim, in_channels, *patch = shapes["patch_embedding.weight"]
        rows, _ = shapes["proj_out.weight" if ours else "head.head.weight"]
        ffn_dim, _ = shapes["blocks.0.ffn.net.0.proj.weight" if ours else "blocks.0.ffn.0.weight"]
        _, text_dim = shapes[_TEXT if ours else "text_embedding.0.weight"]
        _, freq_dim = shapes[_TIME if ours else "time_embedding.0.weight"]
        image = shapes.get(_IMAGE if ours else "img_emb.proj.0.weight")
        frames, high, wide = patch
        layers = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blocks."))
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{source}: not a whole Wan transformer ({error}); fetch it again") from error
    return {
        "dim": dim,
        "ffn_dim": ffn_dim,
        "layers": layers,
        "in_channels": in_channels,
        "out_channels": rows // (frames * high * wide),
        "patch": (frames, high, wide),
        "text_dim": text_dim,
        "freq_dim": freq_dim,
        "image_dim": image[0] if image else None,
    }


def codec_sizes(shapes: Shapes, source: object) -> dict[str, Any]:
    """Constructor arguments of ``AutoencoderKLWan`` from the shapes of a Wan 2.1 codec (names without prefix).

    Raises:
        CheckpointError: a tensor that gives a size is missing, or it is another kind of codec.
    """
    ours = is_diffusers(shapes)
    stem = "encoder.down_blocks." if ours else "encoder.downsamples."
    first, again = ("conv1", "norm1") if ours else ("residual.2", "residual.0")
    try:
        base, in_channels, *_ = shapes["encoder.conv_in.weight" if ours else "encoder.conv1.weight"]
        out_channels, *_ = shapes["decoder.conv_out.weight" if ours else "decoder.head.2.weight"]
        decoder_base, *_ = shapes["decoder.norm_out.gamma" if ours else "decoder.head.0.gamma"]
        z_dim, *_ = shapes["post_quant_conv.weight" if ours else "conv2.weight"]
        steps = 1 + max(int(name[len(stem) :].split(".")[0]) for name in shapes if name.startswith(stem))
        widths: list[list[int]] = [[]]
        halved_in_time = []
        for i in range(steps):
            if f"{stem}{i}.{again}.gamma" in shapes:
                widths[-1].append(shapes[f"{stem}{i}.{first}.weight"][0])
            else:
                halved_in_time.append(f"{stem}{i}.time_conv.weight" in shapes)
                widths.append([])
        (blocks,) = {len(level) for level in widths}
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{source}: not a whole Wan 2.1 codec ({error}); fetch it again") from error
    return {
        "base_dim": base,
        "decoder_base_dim": decoder_base,
        "z_dim": z_dim,
        "dim_mult": [level[0] // base for level in widths],
        "num_res_blocks": blocks,
        "temperal_downsample": halved_in_time,
        "in_channels": in_channels,
        "out_channels": out_channels,
    }
