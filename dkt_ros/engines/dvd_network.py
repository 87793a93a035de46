"""The network of DVD: a window by itself, or the clips of a stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from torch import Tensor

from dkt_ros.engines.latent_stream import LatentStream
from dkt_ros.engines.video_codecs import Codec
from dkt_ros.frames import Clip, Frame


class Network(Protocol):
    """What the engine asks of the network; the tests put something simpler in its place."""

    def alone(self, video: Tensor) -> Tensor:
        """A window by itself: (B, 3, T, H, W) float32 in [-1, 1] -> the same shape, disparity in [0, 1]."""
        ...

    def following(self, clip: Clip, to_video: Callable[[Sequence[Frame]], Tensor]) -> Tensor:
        """A clip of a stream: -> (1, 3, T, H, W) disparity in [0, 1]."""
        ...

    def make_room(self) -> bool:
        """Keep the transformer in CPU memory between passes; False if that gains nothing."""
        ...


class Transformer(Protocol):
    """See ``FoldedTransformer``."""

    def __call__(self, latents: Tensor, step: int) -> Tensor: ...

    def to(self, device: Any) -> Any: ...


class DvdNetwork:
    """A ``Network`` of codec and transformer; the transformer was folded at the one time of the single pass."""

    def __init__(self, codec: Codec, transformer: Transformer) -> None:
        self.codec = codec
        self.transformer = transformer
        self._stream = LatentStream(codec)
        self._visits = False

    def alone(self, video: Tensor) -> Tensor:
        return _unit(self.codec.decode(self._pass(self.codec.encode(video))))

    def following(self, clip: Clip, to_video: Callable[[Sequence[Frame]], Tensor]) -> Tensor:
        return _unit(self._stream.decode(self._pass(self._stream.latents(clip, to_video))))

    def make_room(self) -> bool:
        if self._visits or self.codec.device.type == "cpu":
            return False
        self._visits = True
        self.transformer.to("cpu")
        return True

    def _pass(self, latents: Tensor) -> Tensor:
        if not self._visits:
            return self.transformer(latents, 0)
        try:
            answer: Tensor = self.transformer.to(self.codec.device)(latents, 0)
            return answer
        finally:
            self.transformer.to("cpu")


def _unit(video: Tensor) -> Tensor:
    """Decoded video, which the codec clamped to [-1, 1], -> disparity in [0, 1]."""
    return (video + 1) / 2
