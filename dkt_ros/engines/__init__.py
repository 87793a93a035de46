"""Engines turn one clip into a prediction. Importing this package does not import torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol

from dkt_ros.choices import ENGINE_NAMES
from dkt_ros.frames import Clip, Float32, Frame, Prediction


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
        clip_length, overlap: the frames of a clip, and those that it shares with the one before, that suit it best.
        whole_groups: True if the overlap must be 4m+1 frames, because latents are kept from clip to clip.
        whole_video: True if it wants a whole recording (see ``VideoEngine``) and cannot follow a stream.
    """

    name: str
    kind: Literal["affine", "metric"]
    clip_lengths: tuple[int, ...]
    reads_sensor_depth: bool
    gives_normals: bool
    licence: str
    description: str
    clip_length: int = 9
    overlap: int = 5
    whole_groups: bool = False
    whole_video: bool = False


@dataclass(frozen=True)
class EngineOptions:
    """What a user may choose about an engine. None leaves the choice to it; one that it cannot honour it refuses.

    Attributes:
        weights: file or folder, or several: what training wrote comes after its base; the bundled engine needs none.
        profile: "reference" (the published window) or "low_latency" (short windows).
        steps: denoising steps.
        mode: "single" (the recording is one window), "windowed" (the published way of joining windows) or "streaming"
            (clip by clip, as the node runs).
        device: "cpu", "cuda" or "cuda:N"; None takes a GPU where there is one.
        precision: "float32" or "bfloat16"; None takes bfloat16 on a GPU and float32 on a CPU.
        threads: CPU threads of torch, for the whole process.
        vae: "full"; "tiny": a small video autoencoder among the weights decodes; "tiny_both": it encodes, too.
        compiled: True runs the networks through ``torch.compile``: a slow start (kept for the next one), then faster.
        stitching: which of the published rules joins windows, where there are several.
        normals_axes: how the decoded channels map onto the optical frame, such as "+x+y+z" or "+x-y-z".
    """

    weights: Path | tuple[Path, ...] | None = None
    profile: str | None = None
    steps: int | None = None
    mode: str | None = None
    device: str | None = None
    precision: str | None = None
    threads: int | None = None
    vae: str | None = None
    compiled: bool | None = None
    stitching: str | None = None
    normals_axes: str | None = None

    def refuse(self, engine: str, *names: str) -> None:
        """Raise ValueError if one of these options is given: the engine has no use for it."""
        for name in names:
            if getattr(self, name) is not None:
                remedy = "leave it out"
                if name == "weights":
                    remedy += ", or, for a file that training wrote, choose engine completion (or dkt, dvd)"
                raise ValueError(f"{name} = {getattr(self, name)}: engine {engine!r} has no such choice; {remedy}")


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


class VideoEngine(Engine, Protocol):
    """An engine whose card says ``whole_video``: the published, offline way of joining windows."""

    def predict_video(
        self, frames: Iterable[Frame], count: int, clip_length: int, overlap: int
    ) -> Iterator[tuple[Clip, Prediction]]:
        """Predict one recording without cuts, in memory that does not grow with it.

        Args:
            frames: of one size, oldest first, read once and lazily.
            count: how many there are; the start noise depends on it.
            clip_length: frames of a window, 4n+1.
            overlap: frames that windows share.

        Yields:
            Successive clips without overlap (all but the first follow) and their predictions, in the same units
            throughout (``same_units`` for all but the first).

        Raises:
            ValueError: sizes differ, the window or overlap does not suit, or ``count`` was not the number of frames.
        """
        ...


def load_engine(name: str = "nano", options: EngineOptions | None = None) -> Engine:
    """Load an engine's weights; imports torch here and not before.

    Args:
        name: one of ``ENGINE_NAMES``.
        options: the user's choices.

    Raises:
        ValueError: no engine of that name, or an option that it does not have.
        FileNotFoundError, CheckpointError: the weights are missing, damaged, or another model's; the text says which.
        ImportError: a package of an extra is missing; the text names it.
    """
    from dkt_ros.engines.headers import refuse_absent

    if name not in ENGINE_NAMES:
        raise ValueError(f"engine {name!r}: no such engine; choose one of {', '.join(ENGINE_NAMES)}")
    options = options or EngineOptions()
    if options.weights is not None:
        for place in options.weights if isinstance(options.weights, tuple) else (options.weights,):
            refuse_absent(place)  # here, as torch takes seconds to import
    engine: Engine = import_module(f"dkt_ros.engines.{name}").load(options)
    return engine
