"""What every video codec here can do, and one made of two."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor


class CodecStream(Protocol):
    """Pieces of one recording, oldest first: frames in and latents out, or the other way."""

    def push(self, piece: Tensor, /) -> Tensor: ...

    def copy(self) -> CodecStream: ...


class Codec(Protocol):
    """See ``wan_codec.WanCodec``.

    Attributes:
        device: where its networks run.
        cell, group: pixels along each side, and frames, of a latent.
        z_dim: channels of a latent.
    """

    device: torch.device
    cell: int
    group: int
    z_dim: int

    def encode(self, video: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, z, t, h, w).

        Raises:
            ValueError: T is not 4n+1, or a side is not a multiple of ``cell``.
        """
        return self.encoder().push(video)

    def decode(self, latents: Tensor) -> Tensor:
        """(B, z, t, h, w) -> (B, 3, T, H, W), clamped."""
        return self.decoder().push(latents)

    def encoder(self) -> CodecStream: ...

    def decoder(self) -> CodecStream: ...


class MixedCodec(Codec):
    """Encodes with one codec and decodes with another of the same latents, such as a small one.

    The transformers were trained on the full codec's latents, so these they get; decoding is where the time goes.

    Raises:
        ValueError: the two do not have the same latents.
    """

    def __init__(self, encoding: Codec, decoding: Codec) -> None:
        self._encoding, self._decoding = encoding, decoding
        self.device = encoding.device
        self.cell, self.group, self.z_dim = encoding.cell, encoding.group, encoding.z_dim
        other = decoding.cell, decoding.group, decoding.z_dim
        if other != (self.cell, self.group, self.z_dim):
            raise ValueError(
                f"one codec has {self.cell} pixels, {self.group} frames and {self.z_dim} channels a latent, the other "
                f"{other}; give the small codec made for Wan 2.1"
            )

    def encoder(self) -> CodecStream:
        """Of the first codec."""
        return self._encoding.encoder()

    def decoder(self) -> CodecStream:
        """Of the second codec."""
        return self._decoding.decoder()
