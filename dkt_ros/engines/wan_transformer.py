"""The Wan transformer for inference, with all that does not depend on the latents computed once.

Shapes: B clips, C channels, (t, h, w) latent frames, N = t h w / (patch) tokens of width d in H heads.

* The times are known: sinusoid (float64) -> time embedding -> the shift, scale and gate of every block and of the head.
* The prompt is known, and so are the keys and values of every cross-attention. Equal rows of it (the zero rows that
  pad a prompt to 512) are one key whose logit is raised by the log of their number. Values are multiplied with the
  output projection beforehand, so that a cross-attention is a softmax over few tokens and one small product.
  Where all rows are equal (no prompt; the zero image feature) it is a constant vector, whatever the query.
* Query, key and value of the self-attention are one product. The pairs that the rotary embedding turns lie in two
  halves instead of alternating: a product of query and key does not see the order of their channels.
* Channels of the input that are left out are zeros, and are left out of the first product.

Weights of dtype bfloat16 keep the latents, sums of the residual path in the modulation, norms and softmax in float32,
as diffusers does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import WanTransformer3DModel
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

#: Rows of a prompt as the published models take it.
PROMPT_ROWS = 512

#: Numbers of tokens whose rotary angles are kept: a recording has a full window and a shorter last one.
KEPT_GRIDS = 4

#: Kernels of the self-attention by name, in the order in which they are tried.
ATTENTION = {
    "default": None,
    "cudnn": [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "flash": [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH],
    "math": [SDPBackend.MATH],
}


class FoldedTransformer(nn.Module):
    """A ``WanTransformer3DModel`` at fixed times with a fixed prompt; what it returns is the model's answer.

    Args:
        model: the weights, in their dtype and on their device. It is used up: the projections that are merged here are
            taken out of it, so that they are not in memory twice.
        times: the timesteps 0..1000 that ``step`` counts, as the model is to see them.
        text: (512 or 1, text_dim) the encoded prompt; rows of zeros count like others. None: all zeros.
        image_token: True if the model has an image branch and its feature is zero; or the feature (n, image_dim); False
            for a model without one.
        attention: one of ``ATTENTION``; "default" leaves the choice to torch. Kernels that cannot run are passed over.
        compiled: compile the block with ``torch.compile``, once for all blocks and once per number of tokens.

    Raises:
        ValueError: the image branch and ``image_token`` do not fit, the text has the wrong width, or a wrong name.
    """

    head_table: Tensor

    def __init__(
        self,
        model: WanTransformer3DModel,
        times: Sequence[float],
        text: Tensor | None,
        image_token: bool | Tensor,
        attention: str = "default",
        compiled: bool = False,
    ) -> None:
        super().__init__()
        if attention not in ATTENTION:
            raise ValueError(f"attention = {attention!r}: choose one of {', '.join(ATTENTION)}")
        net: Any = model
        net.eval().requires_grad_(False)
        sizes = net.config
        self.patch = tuple(sizes.patch_size)
        self.in_channels, self.out_channels = int(sizes.in_channels), int(sizes.out_channels)
        self.heads, self.head_dim = int(sizes.num_attention_heads), int(sizes.attention_head_dim)
        self.eps, self.times = float(sizes.eps), tuple(times)
        self.kernels = ATTENTION[attention]
        with torch.no_grad():
            embedder = net.condition_embedder
            self.embed = _flat_patches(net.patch_embedding)
            time = embed_times(embedder, times)
            parts = F.linear(F.silu(time), *_wide(embedder.time_proj)).unflatten(1, (6, -1))
            if text is not None and len(text) not in (1, PROMPT_ROWS):
                raise ValueError(f"a prompt of {len(text)} rows: pad it with zeros to {PROMPT_ROWS}")
            prompts = [_rows(text, embedder.text_embedder, int(sizes.text_dim))]
            if (image_token is False) == (embedder.image_embedder is not None):
                kind = "an" if image_token is False else "no"
                raise ValueError(f"image_token = {image_token is not False}: the model has {kind} image branch")
            if image_token is not False:
                feature = None if image_token is True else image_token
                prompts.append(_rows(feature, embedder.image_embedder, int(sizes.image_dim)))
            blocks = [_Block(each, parts, prompts, self.heads, self.eps) for each in net.blocks]
            self.blocks: Any = nn.ModuleList(blocks)
            shift, scale = (net.scale_shift_table.float() + time.unsqueeze(1)).unbind(1)
            self.register_buffer("head_table", torch.stack((1 + scale, shift), 1), persistent=False)
            self.head = net.proj_out
        self._grids: dict[tuple[int, int, int], Tensor] = {}
        self._run_block = torch.compile(_Block.forward, dynamic=False) if compiled else _Block.forward

    @torch.no_grad()
    def forward(self, latents: Tensor, step: int) -> Tensor:
        """Ask the model at ``times[step]``.

        Args:
            latents: (B, C, t, h, w); C is the model's number of input channels, or less where the last ones are zero.
            step: index of the time.

        Returns:
            (B, C_out, t, h, w) float32.

        Raises:
            ValueError: too many channels, or a side that the patches do not divide.
        """
        batch, channels, *size = latents.shape
        if channels > self.in_channels or any(a % b for a, b in zip(size, self.patch, strict=True)):
            raise ValueError(
                f"latents of shape {tuple(latents.shape)}: up to {self.in_channels} channels, and t, h, w in multiples "
                f"of {self.patch}, are needed; pictures of sides in multiples of 16 give them"
            )
        grid = tuple(a // b for a, b in zip(size, self.patch, strict=True))
        hidden = self._embed(latents, grid)
        turn = self._turn((grid[0], grid[1], grid[2]), hidden.device)
        with sdpa_kernel(self.kernels, set_priority=True) if self.kernels else nullcontext():
            for block in self.blocks:
                hidden = self._run_block(block, hidden, turn, block.table[step])
        gain, shift = self.head_table[step]
        hidden = F.layer_norm(hidden.float(), hidden.shape[-1:], gain, shift, self.eps).to(hidden.dtype)
        out = self.head(hidden).float().view(batch, *grid, *self.patch, self.out_channels)
        return out.permute(0, 7, 1, 4, 2, 5, 3, 6).reshape(batch, self.out_channels, *size)

    def _embed(self, latents: Tensor, grid: tuple[int, ...]) -> Tensor:
        """(B, C, t, h, w) -> (B, N, d)."""
        batch, channels = latents.shape[:2]
        (t, h, w), (pt, ph, pw) = grid, self.patch
        patches = latents.to(self.embed.weight.dtype).view(batch, channels, t, pt, h, ph, w, pw)
        patches = patches.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(batch, t * h * w, -1)
        return F.linear(patches, self.embed.weight[:, : patches.shape[-1]], self.embed.bias)

    def _turn(self, grid: tuple[int, int, int], device: torch.device) -> Tensor:
        """Cosine and sine of every token's angles: (2, 1, N, 1, head_dim / 2) float32."""
        if grid not in self._grids:
            if len(self._grids) == KEPT_GRIDS:
                self._grids.clear()
            self._grids[grid] = torch.stack(rotary_tables(grid, self.head_dim))[:, None, :, None].to(device)
        return self._grids[grid].to(device)


class Prompt(NamedTuple):
    """Different rows of an embedded prompt: (n, d), and how often each stands in it, (n,) float32."""

    rows: Tensor
    counts: Tensor


class _Block(nn.Module):
    """One transformer block, its projections merged, its modulation (steps, 6, d) a table."""

    table: Tensor

    def __init__(self, block: Any, parts: Tensor, prompts: Sequence[Prompt], heads: int, eps: float) -> None:
        super().__init__()
        own, cross = block.attn1, block.attn2
        self.heads, self.eps = heads, eps
        table = block.scale_shift_table.float() + parts
        table[:, [1, 4]] += 1
        self.register_buffer("table", table, persistent=False)
        halves = _halves(own.to_q.weight.shape[0], heads).to(own.to_q.weight.device)
        self.norms = nn.ParameterList(_fixed(each.weight[halves]) for each in (own.norm_q, own.norm_k))
        merged = [(own.to_q.weight[halves], own.to_q.bias[halves]), (own.to_k.weight[halves], own.to_k.bias[halves])]
        weights, biases = zip(*merged, (own.to_v.weight, own.to_v.bias), strict=True)
        self.qkv, self.qkv_bias = _fixed(torch.cat(weights)), _fixed(torch.cat(biases))
        own.to_q = own.to_k = own.to_v = None
        self.out, self.rise, self.fall = own.to_out[0], block.ffn.net[0].proj, block.ffn.net[2]
        self.cross = _CrossAttention(cross, block.norm2, prompts)
        block.attn2 = None

    def forward(self, hidden: Tensor, turn: Tensor, table: Tensor) -> Tensor:
        """hidden (B, N, d), turn as ``_turn``, table (6, d): shift, 1 + scale, gate of attention and feed-forward."""
        shift, gain, gate, late_shift, late_gain, late_gate = table.unbind(0)
        kind = hidden.dtype
        attended = self._attend(self._norm(hidden, gain, shift), turn)
        hidden = (hidden.float() + attended.float() * gate).to(kind)
        hidden = hidden + self.cross(hidden, self.heads)
        risen = F.gelu(self.rise(self._norm(hidden, late_gain, late_shift)), approximate="tanh")
        return (hidden.float() + self.fall(risen).float() * late_gate).to(kind)

    def _norm(self, hidden: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
        return F.layer_norm(hidden.float(), hidden.shape[-1:], gain, shift, self.eps).to(hidden.dtype)

    def _attend(self, hidden: Tensor, turn: Tensor) -> Tensor:
        width = hidden.shape[-1]
        query, key, value = F.linear(hidden, self.qkv, self.qkv_bias).chunk(3, dim=-1)
        query = F.rms_norm(query, (width,), self.norms[0], self.eps).unflatten(-1, (self.heads, -1))
        key = F.rms_norm(key, (width,), self.norms[1], self.eps).unflatten(-1, (self.heads, -1))
        value = value.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        query, key = (rotate(each, turn[0], turn[1]).transpose(1, 2) for each in (query, key))
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.out(mixed.transpose(1, 2).flatten(2))


class _CrossAttention(nn.Module):
    """Attention to prompts that never change: a constant, plus a softmax over each prompt of several rows."""

    constant: Tensor

    def __init__(self, cross: Any, norm: Any, prompts: Sequence[Prompt]) -> None:
        super().__init__()
        heads = cross.heads
        projections = [(cross.to_k, cross.norm_k, cross.to_v)]
        if len(prompts) > 1:
            projections.append((cross.add_k_proj, cross.norm_added_k, cross.add_v_proj))
        out = cross.to_out[0].weight.unflatten(1, (heads, -1))
        constant = cross.to_out[0].bias.float()
        keys, mixes, raises = [], [], []
        for (rows, counts), (to_key, norm_key, to_value) in zip(prompts, projections, strict=True):
            value = F.linear(rows, *_wide(to_value)).unflatten(-1, (heads, -1))
            mix = torch.einsum("nhe,dhe->hnd", value, out.float())
            if len(rows) == 1:
                constant = constant + mix.sum((0, 1))
                continue
            key = F.rms_norm(F.linear(rows, *_wide(to_key)), rows.shape[1:], norm_key.weight.float(), norm_key.eps)
            keys.append(key.unflatten(-1, (heads, -1)) * key.unflatten(-1, (heads, -1)).shape[-1] ** -0.5)
            mixes.append(mix)
            raises.append(counts.log())
        self.prompts, kind = len(keys), cross.to_out[0].weight.dtype
        self.register_buffer("constant", constant.to(kind), persistent=False)
        if keys:
            self.norm, self.query, self.norm_query = norm, cross.to_q, cross.norm_q
            self.keys = nn.ParameterList(_fixed(each.permute(1, 2, 0).to(kind)) for each in keys)
            self.raises = nn.ParameterList(_fixed(each) for each in raises)
            self.mixes = nn.ParameterList(_fixed(each.flatten(0, 1).to(kind)) for each in mixes)

    def forward(self, hidden: Tensor, heads: int) -> Tensor:
        if not self.prompts:
            return self.constant
        query = self.norm_query(self.query(self.norm(hidden.float()).to(hidden.dtype)))
        query = query.unflatten(-1, (heads, -1)).transpose(1, 2)
        total = self.constant
        for keys, raises, mixes in zip(self.keys, self.raises, self.mixes, strict=True):
            weights = torch.softmax((query @ keys).float() + raises, dim=-1).to(hidden.dtype)
            total = total + weights.transpose(1, 2).flatten(2) @ mixes
        return total


def embed_times(embedder: Any, times: Iterable[float]) -> Tensor:
    """(steps, d) float32: the time embedder's answer to a sinusoid computed in float64, cosines first."""
    half = embedder.timesteps_proj.num_channels // 2
    frequencies = torch.exp(-math.log(10000.0) / half * torch.arange(half, dtype=torch.float64))
    angles = torch.tensor(list(times), dtype=torch.float64)[:, None] * frequencies
    sinusoid = torch.cat((angles.cos(), angles.sin()), dim=1).float()
    layers = embedder.time_embedder
    first = F.linear(sinusoid.to(layers.linear_1.weight.device), *_wide(layers.linear_1))
    return F.linear(F.silu(first), *_wide(layers.linear_2))


def rotary_tables(grid: tuple[int, int, int], head_dim: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine (N, head_dim / 2) float32 of the angles of every token, time before rows before columns.

    Time has what head_dim - 4 (head_dim // 6) channels leave (44 of 128), rows and columns share the rest; frequencies
    are 10000^(-2i/n) over the n channels of an axis, in float64; positions count from 0.
    """
    side = 2 * (head_dim // 6)
    angles = []
    for axis, (positions, width) in enumerate(zip(grid, (head_dim - 2 * side, side, side), strict=True)):
        frequencies = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
        shape = [1, 1, 1, -1]
        shape[axis] = positions
        here = torch.outer(torch.arange(positions, dtype=torch.float64), frequencies)
        angles.append(here.view(shape).expand(*grid, -1))
    every = torch.cat(angles, dim=-1).flatten(0, 2)
    return every.cos().float(), every.sin().float()


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Turn the pairs (i, i + e/2) of (..., e) by angles of (..., e/2); computed in float32, returned in x's dtype."""
    first, second = x.float().chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1).to(x.dtype)


def _halves(width: int, heads: int) -> Tensor:
    """Order of channels that brings the even ones of every head before the odd ones."""
    return torch.arange(width).view(heads, -1, 2).transpose(1, 2).reshape(-1)


def _rows(given: Tensor | None, embed: Any, width: int) -> Prompt:
    """The different rows of a prompt of that width, embedded, in float32; None is any number of rows of zeros."""
    device = next(embed.parameters()).device
    given = torch.zeros(1, width) if given is None else given
    if given.ndim != 2 or given.shape[1] != width:
        raise ValueError(f"a prompt of shape {tuple(given.shape)}: the model takes rows of {width}")
    rows, counts = torch.unique(given.float(), dim=0, return_counts=True)
    # Parts of an embedder may be bfloat16 and others not.
    embedded = copy.deepcopy(embed).float()(rows.to(device))
    return Prompt(embedded, counts.to(device, torch.float32))


def _flat_patches(layer: Any) -> nn.Linear:
    """A convolution whose stride is its size, as a product with flattened patches."""
    flat = nn.Linear(1, 1)
    flat.weight, flat.bias = _fixed(layer.weight.flatten(1)), _fixed(layer.bias)
    return flat


def _fixed(x: Tensor) -> nn.Parameter:
    return nn.Parameter(x.contiguous(), requires_grad=False)


def _wide(layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias in float32, for what is computed once."""
    return layer.weight.float(), layer.bias.float()
