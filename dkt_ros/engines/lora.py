"""Low-rank adapters ("LoRA") of a Wan transformer: ``W + B @ A`` for ten linear layers in each block.

The published files hold PEFT's tensors for ``self_attn`` and ``cross_attn`` {q, k, v, o} and ``ffn`` {0, 2}, under
``[diffusion_model.]blocks.N.LINEAR.lora_{A,B}[.default].weight``: A is (rank, in), B is (out, rank). They are merged
with weight 1: DKT's trainer sets alpha = rank and writes no alpha, DVD has alpha = rank = 512.

What our training writes for completion has beside them the whole first layer, ``patch_embedding``: it reads more than
the base's, the latent of the partial disparity and the trust.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dkt_ros.engines.headers import CheckpointError, Shapes

if TYPE_CHECKING:
    from torch import Tensor

_NAME = re.compile(r"^(?:diffusion_model\.)?blocks\.(\d{1,3})\.(.+)\.lora_([AB])(?:\.default)?\.weight$")
_ATTENTION = tuple(f"{kind}_attn.{letter}" for kind in ("self", "cross") for letter in "qkvo")
#: The adapted linear layers of a block, by the reference's names.
TARGETS = (*_ATTENTION, "ffn.0", "ffn.2")

#: The first layer, as it stands in a file; and its input channels in a completion model, by those of the base: DKT's 48
#: are noise, pictures and 16 zeros, which are the partial disparity's place, so that only 4 of trust are new.
PATCH = "patch_embedding."
WIDENED = {48: 52, 16: 36}


@dataclass(frozen=True)
class Lora:
    """Adapters of all blocks, checked: complete, every pair of one rank, and of one width.

    Attributes:
        pairs: names in the file of A and B, by the layer's reference name ("blocks.0.self_attn.q").
        ranks: the ranks that occur, ascending (one in the published files).
        dim, ffn_dim, layers: width, inner width of the feed-forward part, and number of blocks of the base.
    """

    pairs: dict[str, tuple[str, str]]
    ranks: tuple[int, ...]
    dim: int
    ffn_dim: int
    layers: int


def read_lora(shapes: Shapes, source: object) -> Lora:
    """Find the adapters among ``shapes``.

    Args:
        shapes: of the LoRA's tensors, none else.
        source: the file, for messages.

    Raises:
        CheckpointError: foreign names; a half, a layer or a block missing; ranks or widths that do not agree.
    """
    halves: dict[str, dict[str, str]] = {}
    foreign = []
    for name in sorted(shapes):
        match = _NAME.match(name)
        if not match or match[2] not in TARGETS or len(shapes[name]) != 2:
            foreign.append(name)
        elif match[3] in halves.setdefault(f"blocks.{match[1]}.{match[2]}", {}):
            raise CheckpointError(f"{source}: blocks.{match[1]}.{match[2]} occurs twice, under two spellings; keep one")
        else:
            halves[f"blocks.{match[1]}.{match[2]}"][match[3]] = name
    if foreign:
        kohya = any(name.startswith("lora_") or ".lora_down." in name or name.endswith(".alpha") for name in foreign)
        raise CheckpointError(
            f"{source}: {len(foreign)} of {len(shapes)} tensors are not adapters of this model's layers {foreign[:3]}"
            + (", in the manner of kohya's scripts (alpha, lora_down)" if kohya else "")
            + "; give a DKT LoRA as published (blocks.N.LINEAR.lora_A/lora_B.weight for ten linears in each block)"
        )
    layers = 1 + max((int(name.split(".")[1]) for name in halves), default=-1)
    _refuse_incomplete(halves, layers, source)
    pairs = {name: (found["A"], found["B"]) for name, found in halves.items()}
    ranks = {shapes[down][0] for down, _ in pairs.values()}
    torn = [name for name, (down, up) in pairs.items() if not shapes[down][0] == shapes[up][1] > 0]
    if torn:
        first = [shapes[name] for name in pairs[torn[0]]]
        raise CheckpointError(
            f"{source}: in {len(torn)} of {len(pairs)} layers A and B are of different rank or none, {torn[0]}: "
            f"A has {first[0][0]}, B has {first[1][1]}; fetch the file again"
        )
    dim, ffn_dim = shapes[pairs["blocks.0.ffn.2"][1]][0], shapes[pairs["blocks.0.ffn.0"][1]][0]
    for name, (down, up) in pairs.items():
        found = (shapes[up][0], shapes[down][1])
        if found != _layer_shape(name, dim, ffn_dim):
            raise CheckpointError(
                f"{source}: {name} is for a layer of {found[1]} -> {found[0]}, the others for a model {dim} wide "
                f"(feed-forward {ffn_dim}); fetch the file again"
            )
    return Lora(pairs, tuple(sorted(ranks)), dim, ffn_dim, layers)


def split_widened(shapes: Shapes) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """The shapes of a LoRA's adapters, and of the first layer that one for completion has beside them (or nothing)."""
    first = {name: shape for name, shape in shapes.items() if name.startswith(PATCH)}
    return {name: shape for name, shape in shapes.items() if name not in first}, first


def check_widened(first: Shapes, sizes: Mapping[str, Any], source: object, base: object) -> None:
    """Refuse a first layer that does not continue this base's.

    Args:
        first: see ``split_widened``; not empty.
        sizes: of the base, see ``wan_sizes.transformer_sizes``.
        source, base: the two files, for messages.

    Raises:
        CheckpointError: tensors are missing, or it is another width or made for another kind of base.
    """
    channels = WIDENED.get(sizes["in_channels"])
    wanted = {f"{PATCH}weight": (sizes["dim"], channels, *sizes["patch"]), f"{PATCH}bias": (sizes["dim"],)}
    if dict(first) != wanted:
        found = {name.removeprefix(PATCH): shape for name, shape in first.items()}
        raise CheckpointError(
            f"{source}: its first layer is {found}; for completion, {base} ({sizes['in_channels']} channels in, "
            f"{sizes['dim']} wide) takes {tuple(wanted.values())}; give the base that it was trained on"
        )


def check_base(lora: Lora, sizes: Mapping[str, Any], source: object, base: object) -> None:
    """Refuse a LoRA that is not for this base transformer.

    Args:
        sizes: ``dim``, ``ffn_dim`` and ``layers`` of the base, see ``wan_sizes.transformer_sizes``.
        source, base: the two files, for messages.

    Raises:
        CheckpointError: another width (a 14B LoRA on a 1.3B base, say), or another number of blocks.
    """
    theirs, ours = (lora.dim, lora.ffn_dim), (sizes["dim"], sizes["ffn_dim"])
    if theirs != ours or lora.layers > sizes["layers"]:
        raise CheckpointError(
            f"{source}: a LoRA for {_in_words(*theirs, lora.layers)}, but {base} is "
            f"{_in_words(*ours, sizes['layers'])}; mixed sizes: take base and LoRA of one model"
        )
    if lora.layers < sizes["layers"]:
        raise CheckpointError(
            f"{source}: a LoRA with missing layers: {len(lora.pairs)} adapters, blocks 0 to {lora.layers - 1} of the "
            f"{sizes['layers']} in {base}, which needs {len(TARGETS) * sizes['layers']}; fetch the file again"
        )


def merged(weight: Tensor, down: Tensor, up: Tensor) -> Tensor:
    """``weight + up @ down`` in float32; the caller rounds it, once.

    The reference works in bfloat16 throughout (DKT), or rounds the product to bfloat16 and adds it there (DVD), so that
    16 % of its entries differ from ours by one rounding step.

    Args:
        weight: (out, in).
        down: A, (rank, in).
        up: B, (out, rank).
    """
    return (up.float() @ down.float()).add_(weight)


def _refuse_incomplete(halves: dict[str, dict[str, str]], layers: int, source: object) -> None:
    if not halves:
        raise CheckpointError(f"{source}: no adapters in it; give a LoRA file as published")
    wanted = [f"blocks.{i}.{target}" for i in range(layers) for target in TARGETS]
    missing = [f"{name}.lora_{half}" for name in wanted for half in "AB" if half not in halves.get(name, {})]
    if missing:
        raise CheckpointError(
            f"{source}: a LoRA with missing layers: of {2 * len(wanted)} tensors for {layers} blocks, {len(missing)} "
            f"are not there {missing[:3]}; fetch the file again"
        )


def _layer_shape(name: str, dim: int, ffn_dim: int) -> tuple[int, int]:
    if name.endswith(".ffn.0"):
        return ffn_dim, dim
    return (dim, ffn_dim) if name.endswith(".ffn.2") else (dim, dim)


def _in_words(dim: int, ffn_dim: int, layers: int) -> str:
    name = {1536: "a 1.3B, ", 5120: "a 14B, "}.get(dim, "a base ")
    return f"{name}{dim} wide (feed-forward {ffn_dim}) with {layers} blocks"
