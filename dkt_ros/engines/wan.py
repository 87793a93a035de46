"""The Wan video autoencoder and transformer of diffusers, at any size, with their silent traps made loud.

Shapes: B clips, C channels, T = 4n+1 frames, (H, W) pixels, Z latent channels, (h, w) = (H, W) / ``cell`` and
t = 1 + (T - 1) / ``group`` latent frames (cell 8 and group 4 for the published codec; a smaller one may compress
less). diffusers quietly drops frames and pixels that do not fit its grid; ``check_grid`` refuses them instead.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock, WanResidualBlock
from torch import Tensor, nn

from dkt_ros.engines.shortcuts import take_shortcuts

#: diffusers' encoder takes the first frame alone and then this many at a time.
CHUNK = 4
#: Sides of a picture: the published 8 pixels a cell, or 4 pixels a cell and transformer patches of 2x2 cells.
MULTIPLE = 8
#: The time at which a single pass is asked: pure noise, of which only its mean, zero, is given.
SINGLE_PASS_TIME = 1000.0


@dataclass(frozen=True)
class WanSizes:
    """Constructor arguments of the two diffusers classes, as their ``config.json`` would hold them."""

    codec: dict[str, Any]
    transformer: dict[str, Any]

    @property
    def cell(self) -> int:
        """Pixels per latent cell, along each side."""
        return int(2 ** (len(self.codec["dim_mult"]) - 1) * (self.codec.get("patch_size") or 1))

    @property
    def group(self) -> int:
        """Frames per latent frame after the first, which stands alone."""
        return int(2 ** sum(self.codec["temperal_downsample"]))


def check_grid(frames: int, height: int, width: int, multiple: int = MULTIPLE) -> None:
    """Raise ValueError unless the clip fits the codec's grid exactly."""
    if frames < 1 or frames % CHUNK != 1:
        near = max(1, (frames - 2) // CHUNK * CHUNK + CHUNK + 1)
        raise ValueError(f"a clip of {frames} frames: must be 4n+1; repeat the last frame up to {near}")
    if height < multiple or width < multiple or height % multiple or width % multiple:
        raise ValueError(f"a picture of {width}x{height}: both sides must be multiples of {multiple}; resize it")


def working_size(width: int, height: int, area: int, multiple: int = MULTIPLE) -> tuple[int, int]:
    """The (width, height) on the grid that keeps the picture's aspect best at about ``area`` pixels.

    The cost is |log aspect error| + |log area error| / 4, so a picture is squeezed by a few percent at most.
    """
    aspect = width / height
    ideal = (area / aspect) ** 0.5
    best: tuple[float, int, int] | None = None
    for h in range(multiple, int(2 * ideal) + 2 * multiple, multiple):
        w = max(multiple, round(h * aspect / multiple) * multiple)
        stretch = abs(math.log(w / h / aspect))
        size = abs(math.log(w * h / area))
        best = min(best or (float("inf"), 0, 0), (stretch + size / 4, w, h))
    assert best is not None
    return best[1], best[2]


class WanCore(nn.Module):
    """Codec and transformer: ``encode``, one ``denoise`` pass, ``decode``. float32 unless the caller autocasts."""

    latents_mean: Tensor
    latents_std: Tensor

    def __init__(self, sizes: WanSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.codec: Any = AutoencoderKLWan(**copy.deepcopy(sizes.codec))
        self.transformer: Any = WanTransformer3DModel(**copy.deepcopy(sizes.transformer))
        take_shortcuts(self.codec, self.transformer)
        _silence_branches(self.codec)
        z = self.z_dim
        self.register_buffer("latents_mean", torch.zeros(1, z, 1, 1, 1))
        self.register_buffer("latents_std", torch.ones(1, z, 1, 1, 1))

    @property
    def z_dim(self) -> int:
        return int(self.codec.config.z_dim)

    def encode(self, video: Tensor) -> Tensor:
        """(B, 3, T, H, W) in about [-1, 1] -> normalised latents (B, Z, t, h, w): the posterior's mean."""
        check_grid(video.shape[2], video.shape[3], video.shape[4])
        latents = self.codec._encode(video)[:, : self.z_dim].float()
        return (latents - self.latents_mean) / self.latents_std

    def decode(self, latents: Tensor) -> Tensor:
        """Normalised latents (B, Z, t, h, w) -> video (B, 3, T, H, W) float32, not clamped."""
        codec = self.codec
        hidden = codec.post_quant_conv(latents * self.latents_std + self.latents_mean)
        cache: list[Any] = [None] * codec._cached_conv_counts["decoder"]
        chunks = [
            codec.decoder(hidden[:, :, i : i + 1], feat_cache=cache, feat_idx=[0], first_chunk=i == 0)
            for i in range(hidden.shape[2])
        ]
        return _unpatchify(torch.cat(chunks, dim=2).float(), codec.config.patch_size)

    def denoise(self, conditioned: Tensor) -> Tensor:
        """One pass of the transformer: (B, C_in, t, h, w) -> (B, C_out, t, h, w), with an empty prompt."""
        patch = self.transformer.config.patch_size
        for size, step, name in zip(conditioned.shape[2:], patch, ("t", "h", "w"), strict=True):
            if size % step:
                raise ValueError(f"latent {name} = {size}: must be a multiple of the transformer's patch {step}")
        batch = conditioned.shape[0]
        time = conditioned.new_full((batch,), SINGLE_PASS_TIME)
        prompt = conditioned.new_zeros(batch, 1, self.transformer.config.text_dim)
        return self.transformer(conditioned, time, prompt, return_dict=False)[0].float()


def _silence_branches(codec: Any) -> None:
    """Start every residual branch at zero, so that an untrained codec is nearly linear and learns sooner."""
    for module in codec.modules():
        last = {WanResidualBlock: "conv2", WanAttentionBlock: "proj"}.get(type(module))
        if last is not None:
            nn.init.zeros_(getattr(module, last).weight)
            nn.init.zeros_(getattr(module, last).bias)


def _unpatchify(x: Tensor, patch: int | None) -> Tensor:
    """(B, C*p*p, T, h, w) -> (B, C, T, h*p, w*p); the order of diffusers' ``patchify``: x before y."""
    if not patch or patch == 1:
        return x
    b, cpp, t, h, w = x.shape
    x = x.view(b, cpp // patch**2, patch, patch, t, h, w).permute(0, 1, 4, 5, 3, 6, 2)
    return x.reshape(b, cpp // patch**2, t, h * patch, w * patch)
