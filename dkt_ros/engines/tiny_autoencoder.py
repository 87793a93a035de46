"""The layers of TAEHV, a small video autoencoder by Ollin Boer Bohan, in the published names; see ``tiny_codec``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from dkt_ros.engines.checkpoints import CheckpointError, fill_module
from dkt_ros.engines.headers import Shapes, read_header
from dkt_ros.engines.wan import CHUNK


@dataclass(frozen=True)
class TinySizes:
    """What the tensors say: ``width`` of the encoder, the decoder's four widths, latent channels, frames joined and
    split at each of the three levels."""

    latent: int
    width: int
    widths: tuple[int, int, int, int]
    joins: tuple[int, int, int]
    splits: tuple[int, int, int]


class Remembering(nn.Module):
    """A residual block that also sees its input of the frame before (zeros before the first)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = (_conv(2 * width, width), nn.ReLU(), _conv(width, width), nn.ReLU(), _conv(width, width))
        self.conv = nn.Sequential(*layers)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        return torch.relu(x + self.conv(torch.cat([x, before], dim=1)))


class _Join(nn.Module):
    """``count`` successive frames -> one."""

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.count = count
        self.conv = nn.Conv2d(count * width, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.reshape(-1, self.count * x.shape[1], *x.shape[2:]))


class _Split(nn.Module):
    """One frame -> ``count`` successive ones, each twice as large.

    The published order is to enlarge and then to split; a 1x1 convolution does not mind, and works on a quarter so.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, count * width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.conv(x).reshape(-1, *x.shape[1:])
        return nn.functional.interpolate(frames, scale_factor=2, mode="nearest")


class _SoftClamp(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 3 * torch.tanh(x / 3)


class TinyAutoencoder(nn.Module):
    """Encoder and decoder of TAEHV; the position of a layer in its list is part of its tensors' names."""

    def __init__(self, sizes: TinySizes) -> None:
        super().__init__()
        width, (first, *_) = sizes.width, sizes.widths
        encoder: list[nn.Module] = [_conv(3, width), nn.ReLU()]
        for count in sizes.joins:
            encoder += [_Join(width, count), nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)]
            encoder += [Remembering(width) for _ in range(3)]
        decoder: list[nn.Module] = [_SoftClamp(), _conv(sizes.latent, first), nn.ReLU()]
        for wide, narrow, count in zip(sizes.widths, sizes.widths[1:], sizes.splits, strict=False):
            decoder += [Remembering(wide) for _ in range(3)]
            decoder += [nn.Identity(), _Split(wide, count), _conv(wide, narrow, bias=False)]
        self.encoder = nn.ModuleList([*encoder, _conv(width, sizes.latent)])
        self.decoder = nn.ModuleList([*decoder, nn.ReLU(), _conv(sizes.widths[-1], 3)])
        self.sizes = sizes


def _conv(inward: int, outward: int, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(inward, outward, 3, padding=1, bias=bias)


def load_tiny_autoencoder(path: Path | str) -> TinyAutoencoder:
    """Read a file in the published layout, of any widths, as float32.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: a pickle, damaged, or not TAEHV for 8x8 pixels and 4 frames a latent; the text says which.
    """
    model = TinyAutoencoder(_sizes(read_header(path).shapes, path))
    fill_module(model, load_file(path), path)
    return model.eval().requires_grad_(False)


def _sizes(shapes: Shapes, path: Path | str) -> TinySizes:
    try:
        width, colours = shapes["encoder.0.weight"][:2]
        joins = [shapes[f"encoder.{i}.conv.weight"] for i in (2, 7, 12)]
        splits = [shapes[f"decoder.{i}.conv.weight"] for i in (7, 13, 19)]
        widths = tuple(shapes[f"decoder.{i}.weight"][0] for i in (1, 8, 14, 20))
        latent = shapes["encoder.17.weight"][0]
    except KeyError as error:
        raise CheckpointError(
            f"{path}: no tiny Wan autoencoder (TAEHV): {error} is missing; give taew2_1.safetensors"
        ) from error
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"{path}: a tensor of an impossible shape ({error}); fetch it again") from error
    if colours != 3:
        raise CheckpointError(
            f"{path}: reads patches of {colours} channels, as the files for Wan 2.2 and others do; the engines here "
            "need Wan 2.1's: give taew2_1.safetensors"
        )
    if any(len(shape) != 4 or not shape[0] or not shape[1] for shape in (*joins, *splits)):
        raise CheckpointError(f"{path}: joins and splits frames with {joins}, {splits}; fetch it again")
    joined, split = tuple(s[1] // s[0] for s in joins), tuple(s[0] // s[1] for s in splits)
    for name, counts in (("encoder", joined), ("decoder", split)):
        if math.prod(counts) != CHUNK:
            raise CheckpointError(
                f"{path}: its {name} has {math.prod(counts)} frames a latent, Wan 2.1 has {CHUNK}; "
                "give taew2_1.safetensors"
            )
    return TinySizes(latent, width, widths, joined, split)  # type: ignore[arg-type]
