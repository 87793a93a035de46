"""The layers of diffusers' Wan video autoencoder with less arithmetic, for inference; the same up to rounding.

Shapes: (B, C, T, H, W) as in diffusers; "frames" are its T. Nothing here keeps state, so several threads may share it.

* A causal 3x3x3 convolution over an even number of new frames makes two of them at a time from four 2-D convolutions
  instead of six (Winograd's F(2, 3) along time; S. Winograd, "Arithmetic complexity of computations", 1980). In
  float32 it is closer to the exact sum than the direct one; in bfloat16 its error is 1.6 times the direct one's.
* A single frame with nothing before it meets only the last of the three taps in time.
* A nearest-neighbour doubling followed by a 3x3 convolution reads every pixel up to four times: four 2x2 convolutions
  of the small picture, one for each pixel of the doubled one, have 16 products where that has 36.
* RMS norm over channels: the norm in float32, the quotient rounded before the gain.
* A residual block works in place where it can, and remembers two frames without a copy of them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanResample,
    WanResidualBlock,
    WanRMS_norm,
)
from torch import Tensor, nn

#: What a causal network remembers of earlier frames, one entry per convolution.
Memory = list[Any]


def lighter(net: Any, channels_last: bool = False) -> Any:
    """A copy of a Wan encoder or decoder with these layers; it shares the parameters, and ``net`` is unchanged.

    Args:
        net: ``AutoencoderKLWan.encoder`` or ``.decoder``, on its device and in its dtype already.
        channels_last: store the rewritten filters channels last, which a GPU prefers.
    """
    shared = copy.deepcopy(net, {id(each): each for each in (*net.parameters(), *net.buffers())})
    for module in list(shared.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, WanCausalConv3d) and child.kernel_size == (3, 3, 3) and child.stride == (1, 1, 1):
                setattr(module, name, CausalConvolution(child, channels_last))
            elif isinstance(child, WanRMS_norm):
                setattr(module, name, ChannelNorm(child))
        if isinstance(module, WanResample) and module.mode.startswith("upsample"):
            setattr(module, "resample", Doubling(module.resample[1], channels_last))  # noqa: B010
    for module in list(shared.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, WanResidualBlock):
                setattr(module, name, Residual(child))
    return shared


def remembering(layer: Any, x: Tensor, memory: Memory, slot: list[int]) -> Tensor:
    """A causal 3x3x3 convolution that goes on from earlier frames.

    Args:
        layer: called with (x, what is remembered).
        x: (B, C, T, H, W), any T; kept by the memory if T is 1 or 2, so not to be written into afterwards.
        memory: its entry ``slot[0]`` is None, or up to two frames before x; it becomes the last two frames so far.
        slot: moves on by one.
    """
    before = memory[slot[0]]
    kept = x if x.shape[2] <= 2 else x[:, :, -2:].clone()
    if x.shape[2] == 1 and before is not None:
        kept = torch.cat((before[:, :, -1:], x), dim=2)
    out: Tensor = layer(x, before)
    memory[slot[0]] = kept
    slot[0] += 1
    return out


class Residual(nn.Module):
    """``WanResidualBlock`` with a memory, in as few tensors as possible: (B, C, T, H, W) -> (B, C', T, H, W)."""

    def __init__(self, block: WanResidualBlock) -> None:
        super().__init__()
        self.norm1, self.conv1, self.norm2, self.conv2 = block.norm1, block.conv1, block.norm2, block.conv2
        self.shortcut = block.conv_shortcut

    def forward(self, x: Tensor, feat_cache: Memory, feat_idx: list[int]) -> Tensor:
        past = self.shortcut(x)
        # One name throughout, so that nothing outlives its use.
        x = F.silu(self.norm1(x), inplace=True)
        x = remembering(self.conv1, x, feat_cache, feat_idx)
        x = F.silu(self.norm2(x), inplace=True)
        x = remembering(self.conv2, x, feat_cache, feat_idx)
        return x.add_(past)


class CausalConvolution(nn.Module):
    """3x3x3, stride 1, looking at two earlier frames; ``forward`` as ``WanCausalConv3d``'s."""

    def __init__(self, layer: WanCausalConv3d, channels_last: bool = False) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        first, middle, last = layer.weight.detach().float().unbind(2)
        filters = (first, (first + middle + last) / 2, (first - middle + last) / 2, last)
        form = torch.channels_last if channels_last else torch.contiguous_format
        self.filters = _kept([each.to(layer.weight.dtype).contiguous(memory_format=form) for each in filters])

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        """x (B, C, T, H, W) and up to two frames before it -> (B, C', T, H, W)."""
        if cache_x is None and x.shape[2] == 1:
            return F.conv2d(x[:, :, 0], self.filters[3], self.bias, padding=1).unsqueeze(2)
        frames = [] if cache_x is None else list(cache_x.unbind(2))
        frames = [torch.zeros_like(x[:, :, 0])] * (2 - len(frames)) + frames + list(x.unbind(2))
        if x.shape[2] % 2:
            return F.conv3d(torch.stack(frames, dim=2), self.weight, self.bias, padding=(0, 1, 1))
        return self._pairs(frames)

    def _pairs(self, frames: Sequence[Tensor]) -> Tensor:
        """T + 2 frames (B, C, H, W), T even -> (B, C', T, H, W)."""
        quads = [frames[i : i + 4] for i in range(0, len(frames) - 2, 2)]
        # The second product enters both sums with a plus: it carries the bias. One after the other, to save memory.
        both = self._product(1, [b + c for _, b, c, _ in quads], self.bias)
        pairs = torch.stack((both, both), dim=1)
        del both
        part = self._product(2, [c - b for _, b, c, _ in quads])
        pairs[:, 0] += part
        pairs[:, 1] -= part
        del part
        pairs[:, 0] += self._product(0, [a - c for a, _, c, _ in quads])
        pairs[:, 1] -= self._product(3, [b - d for _, b, _, d in quads])
        return pairs.view(-1, 2 * len(quads), *pairs.shape[2:]).transpose(1, 2)

    def _product(self, index: int, frames: Sequence[Tensor], bias: Tensor | None = None) -> Tensor:
        """n frames (B, C, H, W) -> (B n, C', H, W)."""
        batch = frames[0] if len(frames) == 1 else torch.stack(list(frames), dim=1).flatten(0, 1)
        return F.conv2d(batch, self.filters[index], bias, padding=1)


class Doubling(nn.Module):
    """Nearest-neighbour doubling of both sides and a 3x3 convolution: (B, C, h, w) -> (B, C', 2h, 2w)."""

    def __init__(self, layer: Any, channels_last: bool = False) -> None:
        super().__init__()
        weight = layer.weight.detach().float()
        form = torch.channels_last if channels_last else torch.contiguous_format
        # Row 2i of the doubled picture sees rows i-1, i, i; row 2i + 1 sees i, i, i+1. The same holds for columns.
        rows = [torch.stack((weight[:, :, 0], weight[:, :, 1] + weight[:, :, 2]), 2)]
        rows.append(torch.stack((weight[:, :, 0] + weight[:, :, 1], weight[:, :, 2]), 2))
        each = [
            kernel
            for row in rows
            for kernel in (
                torch.stack((row[..., 0], row[..., 1] + row[..., 2]), 3),
                torch.stack((row[..., 0] + row[..., 1], row[..., 2]), 3),
            )
        ]
        self.filters = _kept([kernel.to(layer.weight.dtype).contiguous(memory_format=form) for kernel in each])
        self.bias = layer.bias

    def forward(self, x: Tensor) -> Tensor:
        frames, _, height, width = x.shape
        padded = F.pad(x, (1, 1, 1, 1))
        doubled = x.new_empty(frames, self.filters[0].shape[0], 2 * height, 2 * width)
        for i in range(2):
            for j in range(2):
                part = padded[:, :, i : i + height + 1, j : j + width + 1]
                doubled[:, :, i::2, j::2] = F.conv2d(part, self.filters[2 * i + j], self.bias)
        return doubled


class ChannelNorm(nn.Module):
    """``WanRMS_norm``: each pixel's channels divided by their root mean square, times a gain."""

    def __init__(self, layer: WanRMS_norm) -> None:
        super().__init__()
        self.gain = layer.gamma
        self.bias = layer.bias if isinstance(layer.bias, Tensor) else None
        self.dim = 1 if layer.channel_first else -1

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float32:
            square = x.square().mean(dim=self.dim, keepdim=True)
        else:
            # Slower on a CPU, but without a copy of x in float32.
            norm = torch.linalg.vector_norm(x, dim=self.dim, keepdim=True, dtype=torch.float32)
            square = norm.square() / x.shape[self.dim]
        # In place, so in x's dtype: a whole float32 tensor would be the codec's largest.
        out = x.clone().mul_(torch.rsqrt(square + 1e-24)).mul_(self.gain)
        return out if self.bias is None else out.add_(self.bias)


def _kept(filters: list[Tensor]) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(each, requires_grad=False) for each in filters)
