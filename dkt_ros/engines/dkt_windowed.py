"""DKT over a whole recording: encoded, denoised and decoded as a stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice, tee

import torch
from torch import Tensor

from dkt_ros.engines.flow import StartNoise
from dkt_ros.engines.video_codecs import Codec
from dkt_ros.engines.windows import Stretch
from dkt_ros.frames import Clip, Frame

#: Frames of a latent frame, the first of a recording excepted.
GROUP = 4
#: Latent frames that are decoded, and handed out, at once.
AT_ONCE = 4

#: From a stream of noise and control latents to the stream of clean latents.
Denoise = Callable[[Iterator[Stretch]], Iterator[Stretch]]


def latent_frames(frames: int) -> int:
    """How many latent frames hold a video of ``frames`` frames, padded to 4n+1 by repeating the last."""
    return 1 + -(-(frames - 1) // GROUP)


def video_windows(count: int, clip_length: int, overlap: int) -> tuple[int, int]:
    """Window and overlap in latent frames from those in frames.

    Raises:
        ValueError: no frames, a length that is not 4n+1, or an overlap that is neither 0 nor 4m+1 or not below it.
    """
    if count < 1:
        raise ValueError(f"count = {count}: a recording needs at least one frame")
    if clip_length < 1 or clip_length % GROUP != 1:
        raise ValueError(f"window of {clip_length} frames: must be 4n+1, such as 21 or 81")
    if overlap and overlap % GROUP != 1:
        raise ValueError(f"overlap {overlap}: must be 0 or 4m+1 frames, such as 1, 5 or 9")
    if not 0 <= overlap < clip_length:
        raise ValueError(
            f"overlap {overlap}: must be below the window of {clip_length} frames; give at most "
            f"{max(clip_length - GROUP, 0)}, or a longer window"
        )
    return latent_frames(clip_length), latent_frames(overlap) if overlap else 0


def decoded_video(
    frames: Iterable[Frame],
    count: int,
    codec: Codec,
    to_video: Callable[[Sequence[Frame]], Tensor],
    denoisers: Sequence[Denoise],
) -> Iterator[tuple[Clip, Tensor]]:
    """Encode each frame once, denoise with each of ``denoisers``, decode each latent once.

    Args:
        frames: read lazily; only those between encoder and decoder are held.
        count: how many there are.
        codec: of the pictures and of what is predicted.
        to_video: frames -> (1, 3, n, H, W) in [-1, 1].
        denoisers: one for each thing that is predicted; all start from the same noise.

    Yields:
        A clip without overlap or padding and (len(denoisers), 3, n, H, W) float32 in [-1, 1] for its n frames.

    Raises:
        ValueError: sizes differ, or ``count`` was not the number of frames.
    """
    waiting: deque[Frame] = deque()
    encoded = _encoded(_counted(frames, count), count, codec, to_video, waiting)
    flows = [
        denoise(_with_noise(each, latent_frames(count)))
        for denoise, each in zip(denoisers, tee(encoded, len(denoisers)), strict=True)
    ]
    decoder = codec.decoder()
    follows = False
    for stretches in zip(*flows, strict=True):
        for latents in torch.cat([stretch[0] for stretch in stretches]).split(AT_ONCE, dim=2):
            video = decoder.push(latents)
            taken = tuple(waiting.popleft() for _ in range(min(video.shape[2], len(waiting))))
            yield Clip(taken, follows=follows), video[:, :, : len(taken)]
            follows = True


def _counted(frames: Iterable[Frame], count: int) -> Iterator[Frame]:
    """``frames``, checked for number and size."""
    rest, size = iter(frames), None
    for number in range(1, count + 1):
        frame = next(rest, None)
        if frame is None:
            raise ValueError(f"count = {count}, but only {number - 1} frames came; count the recording's frames first")
        size = size or frame.size
        if frame.size != size:
            raise ValueError(
                f"frame {number} is {frame.size[0]}x{frame.size[1]}, those before it {size[0]}x{size[1]}: one "
                "recording must have frames of one size; cut it there"
            )
        # Asked before the last frame is used: nothing asks for more frames after it.
        if number == count and next(rest, None) is not None:
            raise ValueError(f"count = {count}, but frame {count + 1} came; count the recording's frames first")
        yield frame


def _encoded(
    frames: Iterator[Frame],
    count: int,
    codec: Codec,
    to_video: Callable[[Sequence[Frame]], Tensor],
    waiting: deque[Frame],
) -> Iterator[Tensor]:
    """Latent frames one by one; the frames that went in are appended to ``waiting``."""
    encoder = codec.encoder()
    for index in range(latent_frames(count)):
        wanted = GROUP if index else 1
        group = list(islice(frames, wanted))
        waiting.extend(group)
        yield encoder.push(to_video(group + [group[-1]] * (wanted - len(group))))


def _with_noise(encoded: Iterable[Tensor], length: int) -> Iterator[Stretch]:
    noise: StartNoise | None = None
    for control in encoded:
        _, channels, frames, height, width = control.shape
        noise = noise or StartNoise(channels, length, height, width)
        yield noise.take(frames).to(control), control
