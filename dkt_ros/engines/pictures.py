"""From frames to DKT's working pictures and back: rotation, size, value range, disparity, normals, colours.

A picture that is higher than wide is turned a quarter counter-clockwise, because the model was trained on wide ones;
aspect is not kept. The published code rounds down to 8 bits after each of its two resizes, which darkens disparity by
about 1/255; here floats stay floats, and ``quantised`` asks for the published numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dkt_ros.frames import Float32, Frame, UInt8

#: Vectors shorter than this have no direction.
_SHORTEST = 1e-3
#: Frames that are resized at once.
_AT_ONCE = 8


def is_portrait(size: tuple[int, int]) -> bool:
    """Whether a picture of (width, height) is turned for the model."""
    return size[0] < size[1]


def to_video(
    frames: Sequence[Frame], size: tuple[int, int], device: torch.device | str = "cpu", quantised: bool = False
) -> Tensor:
    """Working pictures of frames of one size.

    Args:
        frames: see ``Frame.rgb``.
        size: (width, height) of the working pictures.
        device: where the pictures are resized and returned.
        quantised: round down to 8 bits after the resize, as published.

    Returns:
        (1, 3, n, height, width) float32 in [-1, 1].
    """
    # A few at once: a float is four times the size of a pixel's byte, and the resize has copies of it.
    pieces = [frames[i : i + _AT_ONCE] for i in range(0, len(frames), _AT_ONCE)]
    return torch.cat([_piece(piece, size, device, quantised) for piece in pieces], dim=2)


def _piece(frames: Sequence[Frame], size: tuple[int, int], device: torch.device | str, quantised: bool) -> Tensor:
    pixels = np.stack([frame.rgb for frame in frames])
    if is_portrait(frames[0].size):
        pixels = np.rot90(pixels, axes=(1, 2))
    # A picture may be a mirrored or otherwise strided view, which torch does not take.
    pictures = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2)
    if quantised:
        pictures = resize_quantised(pictures, size)
    if (pictures.shape[3], pictures.shape[2]) == size:
        video = pictures.float() * (2 / 255) - 1
    else:
        video = _resized(pictures, size) * 2 - 1
    return video.permute(1, 0, 2, 3).unsqueeze(0).contiguous()


def resize_quantised(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, 3, h, w) uint8 at another (width, height), bicubic and antialiased, rounded down to uint8: as published."""
    return (_resized(pictures, size) * 255).to(torch.uint8)


def _resized(pictures: Tensor, size: tuple[int, int]) -> Tensor:
    """(n, 3, h, w) uint8 -> (n, 3, height, width) float32 in [0, 1], bicubic and antialiased."""
    values = pictures.float() / 255
    return functional.interpolate(values, size[::-1], mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)


def to_disparity(video: Tensor, portrait: bool) -> Float32:
    """Decoded video (3, n, h, w) in [-1, 1] -> (n, h, w) float32 disparity in [0, 1], larger is nearer.

    It is the mean of the three channels. For a ``portrait`` the pictures are turned back and (h, w) change places.
    """
    disparity = ((video.float().mean(dim=0) + 1) / 2).cpu().numpy()
    return _turned_back(disparity) if portrait else disparity


def to_uint8(video: Tensor) -> Tensor:
    """Decoded video (3, n, h, w) in [-1, 1] -> (n, 3, h, w) uint8, rounded down: as published."""
    return ((video.float() + 1) * 127.5).clamp(0, 255).to(torch.uint8).permute(1, 0, 2, 3)


def to_quantised_disparity(video: Tensor, size: tuple[int, int]) -> Float32:
    """Decoded video (3, n, h, w) -> (n, height, width) float32 multiples of 1/765, at the frames' own (width, height).

    The published way back: rounded down to 8 bits, resized, rounded down again, then the channels' mean.
    """
    width, height = size
    upright = (height, width) if is_portrait(size) else size
    pictures = resize_quantised(to_uint8(video), upright)
    disparity = (pictures.float().mean(dim=1) / 255).cpu().numpy()
    return _turned_back(disparity) if is_portrait(size) else disparity


@dataclass(frozen=True)
class Axes:
    """How a model's three normal channels map onto the optical frame (x right, y down, z forward).

    Attributes:
        channels: which channel (0, 1, 2) gives x, y and z.
        signs: 1 or -1 for each.
    """

    channels: tuple[int, int, int]
    signs: tuple[float, float, float]

    @classmethod
    def parse(cls, text: str) -> Axes:
        """From three signed letters: "+x-y-z" takes x as it is and turns y and z round; "+y-x+z" also swaps x and y.

        Raises:
            ValueError: anything else.
        """
        found = re.fullmatch(r"([+-][xyz]){3}", text)
        letters, signs = text[1::2], text[0::2]
        if not found or sorted(letters) != ["x", "y", "z"]:
            raise ValueError(
                f"normals_axes {text!r}: must be three signed letters with each of x, y and z once, such as +x+y+z or "
                "+x-y-z"
            )
        x, y, z = ("xyz".index(letter) for letter in letters)
        first, second, third = (1.0 if sign == "+" else -1.0 for sign in signs)
        return cls((x, y, z), (first, second, third))


def to_normals(video: Tensor, axes: Axes, portrait: bool) -> Float32:
    """Decoded video (3, n, h, w) in [-1, 1] -> (n, h, w, 3) float32 unit vectors in the optical frame.

    NaN where the three channels are about zero. For a ``portrait`` pictures and vectors are turned back: what was up
    in the turned picture is right in the frame.
    """
    found = video.float()
    x, y, z = (found[channel] * sign for channel, sign in zip(axes.channels, axes.signs, strict=True))
    if portrait:
        x, y = -y, x
    vectors = torch.stack([x, y, z], dim=-1)
    length = vectors.norm(dim=-1, keepdim=True)
    normals = torch.where(length < _SHORTEST, torch.nan, vectors / length).cpu().numpy()
    return _turned_back(normals) if portrait else normals


def spectral(disparity: Float32, reverse: bool = False, limits: tuple[float, float] | None = None) -> UInt8:
    """Colours of a whole video's disparity as published: matplotlib's Spectral, far red and near violet.

    Args:
        disparity: any shape, larger is nearer.
        reverse: far violet and near red.
        limits: the values that get the first and the last colour; None takes the least and the greatest.

    Returns:
        (..., 3) uint8; a constant video gets the first colour.
    """
    import matplotlib

    low, high = limits or (float(disparity.min()), float(disparity.max()))
    span = np.float32(high - low)
    share = np.zeros_like(disparity) if span <= 0 else (disparity - np.float32(low)) / span
    colours: Any = matplotlib.colormaps["Spectral_r" if reverse else "Spectral"](share)
    return np.asarray(colours[..., :3] * 255).astype(np.uint8)


def _turned_back(pictures: Float32) -> Float32:
    """(n, h, w, ...) turned a quarter clockwise: (n, w, h, ...)."""
    return np.ascontiguousarray(np.rot90(pictures, k=-1, axes=(1, 2)))
