"""Latents of successive clips, each frame encoded and each latent decoded once.

A clip of 4n+1 frames has n+1 latents (for a codec whose ``group`` is 4): the first stands for one frame, the others for
four each. A clip that continues the previous one shares 4m+1 frames with it and so its last m+1 latents; the first of
these stands for four frames, of which only the last is in the clip. With an overlap of 5 frames:

    clip 1   0 | 1 2 3 4 | 5 6 7 8 | 9 10 11 12
    clip 2                       8 | 9 10 11 12 | 13 14 15 16 | 17 18 19 20
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from dkt_ros.engines.video_codecs import Codec, CodecStream
from dkt_ros.engines.wan import CHUNK
from dkt_ros.frames import Clip, Frame


class _Mark(NamedTuple):
    """The decoder as it is before that latent of the clip."""

    latent: int
    decoder: CodecStream


class LatentStream:
    """Follows the clips of recordings, one recording after another; one thread at a time.

    For each clip, ask ``latents`` and then, of whatever was made of these, ``decode``. The encoder goes on from the end
    of the previous clip, the decoder from before the shared latents, as it was when the previous clip was decoded: the
    frames equal those of one long recording as far as the shared latents were not changed in between.

    A clip starts a new recording if it says so (``clip.starts``), if it does not begin with the previous clip's frames,
    or if that one was padded or never decoded. A larger overlap than the recording's first also starts a new one, for
    the decoder cannot go back further. Padding frames are ordinary frames.
    """

    def __init__(self, codec: Codec) -> None:
        self._codec = codec
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next clip starts a recording."""
        self._encoder = self._codec.encoder()
        self._clip: Clip | None = None
        self._latents: Tensor | None = None
        self._decoded: Tensor | None = None
        self._mark = _Mark(0, self._codec.decoder())
        self._shared = 0

    def latents(self, clip: Clip, to_video: Callable[[Sequence[Frame]], Tensor]) -> Tensor:
        """Encode what is new of a clip.

        Args:
            clip: the next clip.
            to_video: makes (1, 3, n, H, W) in [-1, 1] of n frames; asked once, for the frames not seen before.

        Returns:
            (1, z, n + 1, h, w) normalised latents of the whole clip, float32.

        Raises:
            ValueError: the clip continues the previous one with an overlap that is not 4m+1 frames.
        """
        # Should anything fail below, the next clip starts anew.
        previous, self._clip = (self._clip if self._continues(clip) else None), None
        if previous is None:
            self.reset()
            encoded = self._encoder.push(to_video(clip.frames))
        else:
            assert self._latents is not None and self._decoded is not None
            shared = self._in_latents(clip.overlap)
            start = self._latents.shape[2] - shared
            # The first clip cannot know how much the second will share: then its latents are decoded once more.
            decoder = self._mark.decoder
            if start > self._mark.latent:
                decoder.push(self._decoded[:, :, self._mark.latent : start])
            self._mark, self._shared = _Mark(0, decoder), shared
            fresh = self._encoder.push(to_video(clip.frames[clip.overlap :]))
            encoded = torch.cat([self._latents[:, :, start:], fresh], dim=2)
        self._clip, self._latents, self._decoded = clip, encoded, None
        return encoded

    def decode(self, latents: Tensor) -> Tensor:
        """Decode the clip that ``latents`` was asked for last.

        Args:
            latents: (1, z, n + 1, h, w), normalised, of the whole clip.

        Returns:
            (1, 3, 4n + 1, H, W) float32 in [-1, 1].

        Raises:
            RuntimeError: no clip is waiting to be decoded.
            ValueError: the latents are not as many as the clip's.
        """
        if self._clip is None or self._latents is None or self._decoded is not None:
            raise RuntimeError("no clip to decode: ask for its latents first, and decode them once")
        if latents.shape[2] != self._latents.shape[2]:
            raise ValueError(f"{latents.shape[2]} latent frames: this clip has {self._latents.shape[2]}")
        clip, self._clip = self._clip, None
        decoder = self._mark.decoder
        # The next clip will probably share as much as this one did.
        start = latents.shape[2] - self._shared if self._shared else 0
        parts = [decoder.push(latents[:, :, :start])] if start else []
        self._mark = _Mark(start, decoder.copy())
        parts += [decoder.push(latents[:, :, start:])]
        self._clip, self._decoded = clip, latents
        frames = torch.cat(parts, dim=2)
        return frames[:, :, self._codec.group - 1 :] if self._shared else frames

    def _continues(self, clip: Clip) -> bool:
        before = self._clip
        if before is None or self._latents is None or self._decoded is None or clip.starts or before.padding:
            return False
        if not 1 <= clip.overlap < len(before.frames) or clip.frames[0] is not before.frames[-clip.overlap]:
            return False
        if clip.overlap % CHUNK != 1:
            raise ValueError(f"overlap of {clip.overlap} frames: must be 4m+1 to keep latents, such as 1, 5 or 9")
        return self._latents.shape[2] - self._in_latents(clip.overlap) >= self._mark.latent

    def _in_latents(self, overlap: int) -> int:
        return (overlap - 1) // self._codec.group + 1
