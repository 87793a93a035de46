"""Completion of sensor depth by DKT or DVD, whose first layer was widened in training (see ``lora.WIDENED``).

Beside what the base reads stand 20 more channels (design: DepthLab's job inside a Wan-latent model): the latent of the
partial disparity, normalised by its own trusted range and filled by push-pull, as a grey video; and the trust, averaged
over the latent's cells, the frames of a group as channels. Training makes them with the same functions. Every clip is
encoded by itself, as in training; successive clips agree through the range, which is held as long as it fits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from dkt_ros.engines import EngineCard
from dkt_ros.engines.completion_model import fold_trust
from dkt_ros.engines.conditioning import DisparityRange, check_clip, fill_partial, held_range, partial_at
from dkt_ros.engines.flow import ClipNoise, euler, sigmas
from dkt_ros.engines.headers import CheckpointError, read_header
from dkt_ros.engines.video_codecs import Codec
from dkt_ros.frames import Clip, Float32, Frame, Prediction

#: Normalised disparity beyond this is cut off, in the condition, the target and the answer: what the sensor missed may
#: well stand nearer than all that it saw.
LIMIT = 1.2
#: Below this height of working pictures ``smaller`` has nothing more to give.
LEAST_HEIGHT = 240


def grey_video(disparity: Tensor) -> Tensor:
    """Normalised disparity (B, T, H, W) -> (B, 3, T, H, W) within +-LIMIT, three equal channels."""
    return disparity.clamp(-LIMIT, LIMIT).unsqueeze(1).expand(-1, 3, -1, -1, -1)


def completion_latents(codec: Codec, pictures: Tensor, filled: Tensor, trust: Tensor) -> tuple[Tensor, Tensor]:
    """What the transformer reads of a clip.

    Args:
        codec: of pictures and disparity.
        pictures: (B, 3, T, H, W) in [-1, 1].
        filled, trust: (B, T, H, W), see ``conditioning.fill_partial``.

    Returns:
        Latents of the pictures (B, 16, t, h, w); the condition (B, 20, t, h, w). Both float32 on the codec's device.
    """
    both = codec.encode(torch.cat([pictures, grey_video(filled).to(pictures)]))
    shown, partial = both.chunk(2)
    folded = fold_trust(trust.to(partial), codec.cell, codec.group)
    return shown, torch.cat([partial, folded], dim=1)


class Pass(Protocol):
    """From a clip's latents to those of its disparity."""

    def __call__(self, shown: Tensor, condition: Tensor, shared: int) -> Tensor:
        """(1, 16, t, h, w) and (1, 20, t, h, w) -> (1, 16, t, h, w).

        The first ``shared`` latent frames are the last ones of the call before.
        """
        ...


class FlowPass:
    """DKT's steps from noise; latent frames that two clips share start from the same noise."""

    def __init__(self, transformer: Callable[[Tensor, int], Tensor], steps: int) -> None:
        self._transformer = transformer
        self._levels = sigmas(steps)
        self._noise = ClipNoise()

    def __call__(self, shown: Tensor, condition: Tensor, shared: int) -> Tensor:
        latents = self._noise.next(shown.shape, shared).to(shown)
        for step, (level, after) in enumerate(zip(self._levels, self._levels[1:], strict=False)):
            velocity = self._transformer(torch.cat([latents, shown, condition], dim=1), step)
            latents = euler(latents, velocity, level, after)
        return latents


class SinglePass:
    """DVD's one pass."""

    def __init__(self, transformer: Callable[[Tensor, int], Tensor]) -> None:
        self._transformer = transformer

    def __call__(self, shown: Tensor, condition: Tensor, shared: int) -> Tensor:
        return self._transformer(torch.cat([shown, condition], dim=1), 0)


@dataclass(frozen=True)
class Working:
    """How a base takes pictures.

    Attributes:
        size: (width, height) of a frame, and the engine's own -> (width, height) of the working picture, and whether it
            is turned a quarter counter-clockwise.
        video: frames, that size and the device -> (1, 3, n, h, w) in [-1, 1], turned if need be.
    """

    size: Callable[[tuple[int, int], tuple[int, int]], tuple[tuple[int, int], bool]]
    video: Callable[[Sequence[Frame], tuple[int, int], torch.device], Tensor]


class WanCompletionEngine:
    """An ``Engine`` that reads sensor depth. Disparity is in units of the clip's own trusted range, which is held from
    clip to clip as long as the new one fits in it; without trusted depth the units are the network's own.

    Not for two threads at once: a lock makes the second wait.

    Args:
        card: what callers are told.
        codec: of pictures and disparity; it should not cut off below ``LIMIT``.
        network: the transformer's pass over one clip.
        working: how its base takes pictures.
        size: (width, height) given to ``working``.
    """

    def __init__(self, card: EngineCard, codec: Codec, network: Pass, working: Working, size: tuple[int, int]) -> None:
        self.card = card
        self._codec = codec
        self._network = network
        self._working = working
        self._size = size
        self._limits: DisparityRange | None = None
        self._before: tuple[Frame, ...] = ()
        self._lock = threading.Lock()

    @property
    def device(self) -> str:
        """Where the networks run."""
        return str(self._codec.device)

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """See ``Engine.predict``.

        Raises:
            ValueError: a clip length that the card does not list, frames of different sizes, or trust of another shape.
        """
        check_clip(self.card, clip, trust)
        (width, height), turned = self._working.size(clip.frames[0].size, self._size)
        with self._lock, torch.inference_mode():
            joins = clip.overlap == 0 or any(frame is clip.frames[0] for frame in self._before)
            continues = bool(self._before) and not clip.starts and joins
            before = self._limits if continues else None
            shared = (clip.overlap - 1) // self._codec.group + 1
            if not continues or clip.overlap % self._codec.group != 1 or shared > len(self._before):
                shared = 0
            self._before = ()  # should anything fail below, the next clip starts anew
            sensed, believed = partial_at(*_turned(clip.frames, trust, turned), (width, height))
            self._limits = held_range(before, sensed, believed)
            filled, believed = fill_partial(sensed, believed, self._limits)
            pictures = self._working.video(clip.frames, (width, height), self._codec.device)
            given = torch.from_numpy(filled)[None], torch.from_numpy(believed)[None]
            latents = self._network(*completion_latents(self._codec, pictures, *given), shared)
            disparity = self._codec.decode(latents)[0].float().mean(dim=0).cpu().numpy()
            self._before = clip.frames
        if turned:
            disparity = np.ascontiguousarray(np.rot90(disparity, k=-1, axes=(1, 2)))
        return Prediction(disparity, None, "affine", same_units=before is not None and self._limits is before)

    def smaller(self) -> str | None:
        """Need less GPU memory from the next start on: three quarters of each side, a few times.

        Returns:
            What was given up, in words; None if nothing is left.
        """
        width, height = (round(side * 0.75 / 16) * 16 for side in self._size)
        if height < LEAST_HEIGHT:
            return None
        before, self._size = self._size, (width, height)
        return f"works at {width}x{height} instead of {before[0]}x{before[1]}"


def _turned(
    frames: Sequence[Frame], trust: Float32 | None, turned: bool
) -> tuple[list[Float32 | None], Float32 | None]:
    depths = [frame.sensor_depth for frame in frames]
    if not turned:
        return depths, trust
    return (
        [None if depth is None else np.ascontiguousarray(np.rot90(depth)) for depth in depths],
        None if trust is None else np.ascontiguousarray(np.rot90(trust, axes=(1, 2))),
    )


@dataclass(frozen=True)
class Trained:
    """What the header of a file of our own training says that an engine needs.

    Attributes:
        size: (width, height) of its working pictures; None if it does not say.
        clip_lengths: numbers of frames that it was trained on, ascending.
        licence, description: for the card.
    """

    size: tuple[int, int] | None
    clip_lengths: tuple[int, ...]
    licence: str
    description: str


def read_trained(path: Path) -> Trained | None:
    """From a file of our own training; None for a published file, whose header says nothing.

    Raises:
        CheckpointError: the header is damaged.
    """
    config: Mapping[str, Any] = read_header(path).config()
    if "task" not in config:
        return None
    try:
        lengths = tuple(sorted(int(length) for length in config["clip_lengths"]))
        size = tuple(int(side) for side in config["size"]) if "size" in config else None
        if not lengths or any(length % 4 != 1 or length < 1 for length in lengths):
            raise ValueError(f"clips of {lengths} frames")
        if size is not None and (len(size) != 2 or any(side < 16 or side % 16 for side in size)):
            raise ValueError(f"working pictures of {size}")
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its header is damaged ({error}); give the file that training wrote") from error
    steps, sequences = config.get("steps", "an unknown number of"), config.get("sequences", "an unknown number of")
    words = f"{path.name}, trained for {steps} steps on {sequences} sequences. Nothing is known of its quality."
    pair = (size[0], size[1]) if size else None
    return Trained(pair, lengths, str(config.get("licence", "unknown")), str(config.get("description", words)))


def completion_card(name: Literal["dkt", "dvd"], trained: Trained) -> EngineCard:
    """What callers are told about a completion model of our own training."""
    lengths = trained.clip_lengths
    length = max((n for n in lengths if n <= 21), default=lengths[0])
    return EngineCard(
        name=name,
        kind="affine",
        clip_lengths=lengths,
        reads_sensor_depth=True,
        gives_normals=False,
        licence=trained.licence,
        description=trained.description,
        clip_length=length,
        overlap=5 if length > 5 else 0,
    )
