"""Published weights into diffusers' modules: any size, either set of names, adapters merged, one copy in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers, convert_wan_vae_to_diffusers
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from dkt_ros.engines.assembly import Stored, fill
from dkt_ros.engines.beside import attention_heads, denoise_step
from dkt_ros.engines.headers import CheckpointError, Header, Shapes, read_header
from dkt_ros.engines.layouts import identify
from dkt_ros.engines.lora import PATCH, check_base, check_widened, read_lora, split_widened
from dkt_ros.engines.wan_layouts import DVD_CODEC, DVD_TRANSFORMER, DvdParts
from dkt_ros.engines.wan_sizes import codec_sizes, is_diffusers, prefix_of, transformer_sizes, without_prefix

_ROPE_LENGTH = 1024

#: One path, as ``read_header`` takes it, or the files of one set of shards.
Files = Path | str | Sequence[Path]


@dataclass(frozen=True)
class Dvd:
    """What a DVD file gives.

    Attributes:
        transformer: with the adapters merged, unless asked otherwise.
        codec: the Wan 2.1 codec in the file; None if it has none.
        denoise_step: the time of its one pass as a share of 1000.
    """

    transformer: WanTransformer3DModel
    codec: AutoencoderKLWan | None
    denoise_step: float


def load_transformer(
    files: Files,
    loras: Sequence[Path | str] = (),
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    role: str = "transformer",
) -> WanTransformer3DModel:
    """A base transformer, under the reference's or diffusers' names, with LoRAs merged in float32.

    A LoRA for completion brings its own first layer, which reads more channels than the base's.

    Modulation tables, the time embedder and the norms beside the attention stay float32 whatever ``dtype``, as with
    diffusers' ``from_pretrained``. Evaluation mode, without gradients.

    Args:
        files: see ``Files``.
        loras: LoRA files for it.
        role: "transformer" is DKT's base, "plain transformer" DVD's.

    Raises:
        FileNotFoundError, CheckpointError: see ``headers.read_header``, ``Layout.refusal``, ``lora.read_lora``,
            ``lora.check_base`` and ``lora.check_widened``; or tensors are missing, foreign or of another shape; or the
            number of heads is unknown.
    """
    header = _accepted(files, role)
    prefix = prefix_of(header.shapes, "patch_embedding.weight") or ""
    shapes = without_prefix(header.shapes, prefix)
    sizes = transformer_sizes(shapes, header.path)
    names = _diffusers_names(shapes, convert_wan_transformer_to_diffusers)
    stored = {goal: Stored(header, prefix + name) for goal, name in names.items()}
    heads = attention_heads(header, sizes["dim"])
    for path in loras:
        stored, sizes = _adapted(stored, sizes, path, header.path)
    return _transformer(sizes, heads, stored, header.path, dtype, device)


def load_codec(
    files: Files, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu"
) -> AutoencoderKLWan:
    """The Wan 2.1 codec, under the reference's or diffusers' names. Evaluation mode, without gradients.

    Raises:
        FileNotFoundError, CheckpointError: as ``load_transformer``.
    """
    header = _accepted(files, "codec")
    prefix = prefix_of(header.shapes, "encoder.conv1.weight", "encoder.conv_in.weight") or ""
    return _codec(header, prefix, dtype, device)


def load_dvd(
    files: Files,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    merge: bool = True,
    lora: Path | None = None,
) -> Dvd:
    """DVD v1.0 or v1.1 from its one file; ``model_config.yaml`` beside it is read if it is there.

    Args:
        files: see ``Files``.
        merge: False leaves the adapters out, for training: the transformer is then plain Wan.
        lora: adapters of our own training, in the place of the file's; those for completion bring their first layer.

    Raises:
        FileNotFoundError, CheckpointError: as ``load_transformer``; the adapters are missing; or the configuration is
            damaged, or speaks of another mode or training target than DVD's.
    """
    header = _accepted(files, "dvd")
    step = denoise_step(header.path.with_name("model_config.yaml"))
    parts = DvdParts.of(header.shapes)
    adapters = {
        _layer_weight(layer): ((header, DVD_TRANSFORMER + down, DVD_TRANSFORMER + up),)
        for layer, (down, up) in read_lora(parts.adapters, header.path).pairs.items()
        if merge and lora is None
    }
    homes = {name.replace(".base_layer.", "."): name for name in header.shapes}
    stored = {
        goal: Stored(header, homes[DVD_TRANSFORMER + name], adapters.get(goal, ()))
        for goal, name in _diffusers_names(parts.base, convert_wan_transformer_to_diffusers).items()
    }
    sizes = transformer_sizes(parts.base, header.path)
    heads = attention_heads(header, sizes["dim"])
    if lora is not None:
        stored, sizes = _adapted(stored, sizes, lora, header.path)
    transformer = _transformer(sizes, heads, stored, header.path, dtype, device)
    codec = _codec(header, DVD_CODEC, dtype, device) if parts.codec else None
    return Dvd(transformer, codec, step)


def load_dvd_parts(
    parts: Mapping[str, Path],
    dtype: torch.dtype,
    device: torch.device | str,
    lora: Path | None = None,
    merge: bool = True,
) -> Dvd:
    """DVD from the files that ``dvd_parts.find_dvd`` found: as ``load_dvd``, or on a plain base; codec and all."""
    if "dvd" in parts:
        dvd = load_dvd(parts["dvd"], dtype, device, merge, lora)
    else:
        base = parts["plain transformer"]
        plain = load_transformer(base, [lora] if lora else [], dtype, device, "plain transformer")
        dvd = Dvd(plain, None, denoise_step(base.with_name("model_config.yaml")))
    return dvd if dvd.codec else replace(dvd, codec=load_codec(parts["codec"], dtype, device))


def _adapted(
    stored: Mapping[str, Stored], sizes: Mapping[str, Any], path: Path | str, base: Path
) -> tuple[dict[str, Stored], dict[str, Any]]:
    """``stored`` and ``sizes`` with the LoRA at ``path``, and with its first layer if it has one."""
    header = read_header(path)
    kept, first = split_widened(header.shapes)
    lora = read_lora(kept, header.path)
    check_base(lora, sizes, header.path, base)
    found, width = dict(stored), sizes["in_channels"]
    for layer, (down, up) in lora.pairs.items():
        before = found[_layer_weight(layer)]
        found[_layer_weight(layer)] = replace(before, adapters=(*before.adapters, (header, down, up)))
    if first:
        check_widened(first, sizes, header.path, base)
        found.update({name: Stored(header, name) for name in first})
        width = first[f"{PATCH}weight"][1]
    return found, {**sizes, "in_channels": width}


def _accepted(files: Files, role: str) -> Header:
    given = [Path(files)] if isinstance(files, str | Path) else list(files)
    layout, header = identify(given[0]), read_header(given[0])
    if layout.role != role or layout.refusal:
        other = f"{given[0]}: no {role}, but {layout.in_words}; give the {role}'s file"
        raise CheckpointError(layout.refusal or other)
    if not set(given) <= {header.path, *header.files}:
        raise CheckpointError(f"{given[0]}: {len(given)} files that are not one set of shards; give one of them")
    return header


def _transformer(
    sizes: Mapping[str, Any],
    heads: int,
    stored: Mapping[str, Stored],
    source: Path,
    dtype: torch.dtype,
    device: torch.device | str,
) -> WanTransformer3DModel:
    with torch.device("meta"):
        model: Any = WanTransformer3DModel(
            patch_size=sizes["patch"],
            num_attention_heads=heads,
            attention_head_dim=sizes["dim"] // heads,
            in_channels=sizes["in_channels"],
            out_channels=sizes["out_channels"],
            text_dim=sizes["text_dim"],
            freq_dim=sizes["freq_dim"],
            ffn_dim=sizes["ffn_dim"],
            num_layers=sizes["layers"],
            image_dim=sizes["image_dim"],
            added_kv_proj_dim=sizes["dim"] if sizes["image_dim"] else None,
            rope_max_seq_len=_ROPE_LENGTH,
        )
    model.rope = WanRotaryPosEmbed(sizes["dim"] // heads, sizes["patch"], _ROPE_LENGTH).to(device)  # is in no file
    fill(model, stored, source, dtype, device, set(model._keep_in_fp32_modules))
    return model


def _codec(header: Header, prefix: str, dtype: torch.dtype, device: torch.device | str) -> AutoencoderKLWan:
    shapes = without_prefix(header.shapes, prefix)
    sizes = codec_sizes(shapes, header.path)
    with torch.device("meta"):
        codec: Any = AutoencoderKLWan(
            **sizes,
            scale_factor_temporal=2 ** sum(sizes["temperal_downsample"]),
            scale_factor_spatial=2 ** (len(sizes["dim_mult"]) - 1),
        )
    names = _diffusers_names(shapes, convert_wan_vae_to_diffusers)
    stored = {goal: Stored(header, prefix + name) for goal, name in names.items()}
    fill(codec, stored, header.path, dtype, device, float32=set())
    return codec


def _diffusers_names(shapes: Shapes, convert: Any) -> dict[str, str]:
    """Name in diffusers -> name in the file."""
    names = {name: name for name in shapes}
    return names if is_diffusers(shapes) else convert(names)


def _layer_weight(layer: str) -> str:
    (name,) = convert_wan_transformer_to_diffusers({f"{layer}.weight": None})
    return str(name)
