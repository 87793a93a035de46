"""Engines turn one clip into a prediction. Importing this package does not import torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from dkt_ros.frames import Clip, Float32, Prediction


@dataclass(frozen=True)
class EngineCard:
    """What a caller must know about an engine before it gives it a clip.

    Attributes:
        name: as on the command line, e.g. "nano".
        kind: what its disparity means, see ``Prediction.kind``.
        clip_lengths: the numbers of frames that it accepts, each 4n+1, ascending.
        reads_sensor_depth: whether ``Frame.sensor_depth`` changes its answer.
        gives_normals: whether ``Prediction.normals`` is set.
        licence: of the weights (SPDX).
        description: one paragraph for people: what it was trained on and where it fails.
    """

    name: str
    kind: Literal["affine", "metric"]
    clip_lengths: tuple[int, ...]
    reads_sensor_depth: bool
    gives_normals: bool
    licence: str
    description: str


class Engine(Protocol):
    """A depth model for clips."""

    @property
    def card(self) -> EngineCard: ...

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """Predict disparity (and normals) for every frame of the clip.

        ``trust`` is (T, H, W) float32 0..1, how far each value of the frames' sensor depth is believed; None means
        every return is believed. Engines that do not read sensor depth ignore it.
        """
        ...


#: Engines by the name used on the command line and in node parameters.
ENGINE_NAMES: tuple[str, ...] = ("nano",)


def load_engine(name: str = "nano", threads: int | None = None) -> Engine:
    """Load an engine's weights; imports torch here and not before.

    Args:
        name: one of ``ENGINE_NAMES``.
        threads: CPU threads for inference; None leaves torch's choice.

    Raises:
        ValueError: no engine of that name.
    """
    if name not in ENGINE_NAMES:
        raise ValueError(f"engine {name!r}: no such engine; choose one of {', '.join(ENGINE_NAMES)}")
    from dkt_ros.engines import nano

    return nano.load(threads=threads)
