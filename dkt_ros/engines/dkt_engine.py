"""DKT (arXiv 2512.23705): relative disparity, and normals, of transparent things in a video.

A Wan transformer, conditioned on the latent of the pictures, turns noise into the latent of a video whose grey is the
disparity (or whose colours are normals) in a few steps. The text is one constant word and the image token is zero.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from dkt_ros.engines import EngineCard
from dkt_ros.engines.dkt_windowed import Denoise, decoded_video, latent_frames, video_windows
from dkt_ros.engines.flow import ClipNoise, euler, sigmas
from dkt_ros.engines.latent_stream import LatentStream
from dkt_ros.engines.pictures import Axes, is_portrait, to_disparity, to_normals, to_quantised_disparity, to_video
from dkt_ros.engines.video_codecs import Codec
from dkt_ros.engines.windows import Stretch, Window, latent_windows, windowed_steps
from dkt_ros.frames import Clip, Float32, Frame, Prediction

#: (width, height) that the model was trained at; sides of another size must be multiples of this.
WORKING_SIZE, MULTIPLE = (832, 480), 16
#: ``smaller`` ends above this.
LEAST_HEIGHT = 240
CAMERA_AXES = Axes.parse("+x+y+z")


class Transformer(Protocol):
    """See ``FoldedTransformer``."""

    def __call__(self, latents: Tensor, step: int) -> Tensor: ...

    def to(self, device: torch.device) -> object: ...


class DktEngine:
    """A ``VideoEngine``, for one thread; a lock makes a second one wait in ``predict``.

    ``predict`` is ours: each clip is one window, and what it shares with the clip before it (latents of the pictures,
    start noise, the decoder's memory) is kept; scale and shift still differ from clip to clip. ``predict_video`` is the
    published way of joining windows.

    Args:
        card: says which clip lengths are taken and whether normals are given.
        codec: of pictures and predictions.
        depth: the transformer for disparity.
        normals: the one for normals, or None.
        steps: how many steps the transformers were folded for.
        single: ``predict_video`` takes the whole recording as one window, in memory that grows with it.
        size: (width, height) of the working pictures.
        axes: of the decoded normals.
        reference_quantisation: round pictures and disparity down to 8 bits wherever the published code does, and
            resize disparity to the frames as it does; for comparison with its numbers.

    Raises:
        ValueError: a side of ``size`` is not a multiple of 16.
    """

    def __init__(
        self,
        card: EngineCard,
        codec: Codec,
        depth: Transformer,
        normals: Transformer | None = None,
        *,
        steps: int,
        single: bool = False,
        size: tuple[int, int] = WORKING_SIZE,
        axes: Axes = CAMERA_AXES,
        reference_quantisation: bool = False,
    ) -> None:
        self.card = card
        self._codec = codec
        self._transformers = [depth] if normals is None else [depth, normals]
        self._levels = sigmas(steps)
        self._single = single
        self._axes = axes
        self._quantised = reference_quantisation
        self._gpu = codec.device if codec.device.type != "cpu" else None
        self._visiting = False
        self._lock = threading.Lock()
        self._noise = ClipNoise()
        self._work_at(size)

    @property
    def device(self) -> str:
        """Where the networks run."""
        return str(self._codec.device)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the working pictures."""
        return self._size

    def _work_at(self, size: tuple[int, int]) -> None:
        if min(size) < MULTIPLE or any(side % MULTIPLE for side in size):
            raise ValueError(f"working size {size[0]}x{size[1]}: both sides must be multiples of {MULTIPLE}")
        self._size = size
        self._stream = LatentStream(self._codec)

    def smaller(self) -> str | None:
        """Need less GPU memory from the next start on.

        First smaller pictures, three quarters of each side, a few times; then the transformers wait in CPU memory while
        the codec or the other one works.

        Returns:
            What was given up, in words; None if nothing is left.
        """
        before = self._size
        width, height = (round(side * 0.75 / MULTIPLE) * MULTIPLE for side in before)
        with self._lock:
            if height >= LEAST_HEIGHT:
                self._work_at((width, height))
                return f"works at {width}x{height} instead of {before[0]}x{before[1]}"
            if self._gpu and not self._visiting:
                self._visiting = True
                self._make_room()
                return "waits in CPU memory while the codec works"
        return None

    def _make_room(self, guest: Transformer | None = None) -> None:
        """If transformers only visit the GPU: bring ``guest`` there and the others away."""
        if not self._visiting or self._gpu is None:
            return
        # Parameters that are moved in inference mode could not be moved outside it any more.
        with torch.inference_mode(False):
            for each in self._transformers:
                if each is not guest:
                    each.to(torch.device("cpu"))
            if guest is not None:
                guest.to(self._gpu)

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """See ``Engine.predict``; sensor depth is not read.

        Raises:
            ValueError: a clip length that the card does not list, or frames of different sizes.
        """
        name, count, sizes = self.card.name, len(clip.frames), {frame.size for frame in clip.frames}
        if count not in self.card.clip_lengths:
            raise ValueError(
                f"engine {name}: a clip of {count} frames; it takes {self.card.clip_lengths}; repeat the last frame"
            )
        if len(sizes) > 1:
            raise ValueError(
                f"engine {name}: frames of different sizes {sorted(sizes)} in one clip; resize them or start a new clip"
            )
        with self._lock, torch.inference_mode():
            # Should anything fail below, the stream starts anew by itself, and so does the noise with it.
            control = self._stream.latents(clip, self._to_video)
            noise = self._noise.next(control.shape, self._stream._shared).to(control)
            windows = [(0, control.shape[2])]
            clean = [next(denoise(iter([(noise, control)])))[0] for denoise in self._denoisers(windows, 0)]
            return self._prediction(self._stream.decode(torch.cat(clean)), clip.frames[0].size)

    def predict_video(
        self, frames: Iterable[Frame], count: int, clip_length: int, overlap: int
    ) -> Iterator[tuple[Clip, Prediction]]:
        """See ``VideoEngine.predict_video``; ``clip_length`` and ``overlap`` are without meaning for a single window.

        Raises:
            ValueError: sizes differ, the window is not 4n+1 or the overlap not 4m+1 (or 0) and below it, or ``count``
                was not the number of frames.
        """
        window, shared = video_windows(count, clip_length, overlap)
        length = latent_frames(count)
        windows = [(0, length)] if self._single else latent_windows(length, window, shared)
        return self._predicted(frames, count, self._denoisers(windows, shared))

    @torch.inference_mode()
    def _predicted(
        self, frames: Iterable[Frame], count: int, denoisers: Sequence[Denoise]
    ) -> Iterator[tuple[Clip, Prediction]]:
        for clip, video in decoded_video(frames, count, self._codec, self._to_video, denoisers):
            yield clip, self._prediction(video, clip.frames[0].size, same_units=clip.follows)

    def _denoisers(self, windows: Sequence[Window], overlap: int) -> list[Denoise]:
        """For each transformer, all its steps over a recording."""
        pairs = list(zip(self._levels, self._levels[1:], strict=False))
        advances = [partial(euler, level=level, after=after) for level, after in pairs]

        def denoiser(transformer: Transformer) -> Denoise:
            velocities = [partial(self._velocity, transformer, step) for step in range(len(pairs))]

            def denoise(stretches: Iterator[Stretch]) -> Iterator[Stretch]:
                for stretch in windowed_steps(stretches, windows, overlap, velocities, advances):
                    self._make_room()
                    yield stretch

            return denoise

        return [denoiser(each) for each in self._transformers]

    def _velocity(self, transformer: Transformer, step: int, latents: Tensor, control: Tensor) -> Tensor:
        """The transformer reads noisy latents, latents of the pictures, and zeros, which may be left out."""
        self._make_room(transformer)
        return transformer(torch.cat([latents, control], dim=1), step)

    def _to_video(self, frames: Sequence[Frame]) -> Tensor:
        self._make_room()
        return to_video(frames, self._size, self._codec.device, self._quantised)

    def _prediction(self, video: Tensor, size: tuple[int, int], same_units: bool = False) -> Prediction:
        """From (1 or 2, 3, n, H, W) decoded for frames of ``size``."""
        portrait = is_portrait(size)
        disparity = to_quantised_disparity(video[0], size) if self._quantised else to_disparity(video[0], portrait)
        normals = to_normals(video[1], self._axes, portrait) if len(video) > 1 else None
        return Prediction(disparity, normals, "affine", same_units)
