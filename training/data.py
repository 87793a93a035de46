"""Training samples from rendered sequences: a fresh sensor, a fresh crop and fresh colours at every draw.

Everything here is numpy until ``draw_batch`` stacks tensors. A draw depends only on its ``rng`` and on the sequences.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkt_ros.engines.completion_model import Condition
from dkt_ros.engines.conditioning import BETA_RANGE, disparity_range, fill_partial
from dkt_ros.frames import Float32
from dkt_ros.training.render.sensor import simulate_depth_sensor
from dkt_ros.training.sequences import CLEAR_PLASTIC, Sequence, SequenceError, load_sequence, sequence_files
from dkt_ros.training.sources.tars import refuse_held_out
from dkt_ros.trust import sensor_trust

_log = logging.getLogger(__name__)

#: Crops (height, width) of the rendered 96x160, drawn per batch; 4:3 among them, the aspect of most depth cameras.
CROPS = ((96, 160), (96, 160), (96, 128), (96, 144), (80, 128))
#: How often a clip has no sensor at all; only a few points; rectangles cut out; the transparent mask given; half lost.
NO_SENSOR, SPARSE, RECTANGLES, MASKED, HALF = 0.12, 0.01, 0.05, 0.10, 0.01


@dataclass(frozen=True)
class Sample:
    """One clip: what the network reads and what it should say. (T, H, W) float32 unless said.

    Attributes:
        rgb: (T, H, W, 3) in [-1, 1].
        filled, trust: see ``Condition``.
        disparity: true normalised disparity, 0 where unknown.
        known: bool, where the truth is known.
        transparent: bool; ``rim``: bool, within 2 px of the outline of something transparent.
        wrong: 0..1, how far the filled sensor should be replaced.
        normals: (T, H, W, 3), 0 where unknown.
        inverse_depth: true 1/z in 1/m, 0 where unknown.
        has_sensor: whether any sensor depth is in ``filled``.
    """

    rgb: Float32
    filled: Float32
    trust: Float32
    disparity: Float32
    known: NDArray[np.bool_]
    transparent: NDArray[np.bool_]
    rim: NDArray[np.bool_]
    wrong: Float32
    normals: Float32
    inverse_depth: Float32
    has_sensor: bool


@dataclass(frozen=True)
class Batch:
    """Stacked samples: ``condition`` as the network reads it; the rest (B, T, H, W), ``normals`` (B, 3, T, H, W)."""

    condition: Condition
    disparity: Tensor
    known: Tensor
    transparent: Tensor
    rim: Tensor
    wrong: Tensor
    normals: Tensor
    has_sensor: Tensor


class SequencePool:
    """The rendered sequences of a folder, in memory. ``refresh`` adds what was rendered meanwhile.

    Attributes:
        sequences: those loaded so far.
        skipped: name of a file that could not be read at the last ``refresh`` (damaged, or still being copied) ->
            reason; tried again at the next.

    Raises:
        FileNotFoundError: there are no files.
        SequenceError: none of them can be read.
        SourceError: one is held out for the final scores; by ``refresh``, too.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.sequences: list[Sequence] = []
        self.skipped: dict[str, str] = {}
        self._names: set[str] = set()
        self._told: set[str] = set()
        self.refresh()
        if self.skipped and not self.sequences:
            raise SequenceError(
                f"none of the {len(self.skipped)} *.tar can be read; the first: {next(iter(self.skipped.values()))}"
            )
        if not self.sequences:
            raise FileNotFoundError(f"{self.directory}: no *.tar; render some with `python -m dkt_ros.training.render`")

    def refresh(self) -> int:
        """Load new files; returns how many sequences there are."""
        self.skipped = {}
        for path in sequence_files(self.directory):
            if path.name not in self._names:
                self._load(path)
        return len(self.sequences)

    def long_enough(self, frames: int) -> list[Sequence]:
        """The sequences of at least ``frames`` frames; ValueError if there is none."""
        long = [sequence for sequence in self.sequences if len(sequence) >= frames]
        if not long:
            lengths = ", ".join(map(str, sorted({len(sequence) for sequence in self.sequences})))
            raise ValueError(
                f"{self.directory}: clips of {frames} frames asked for, its sequences have {lengths}; take shorter "
                "clips in the recipe, or render with --frames"
            )
        return long

    def _load(self, path: Path) -> None:
        try:
            sequence = load_sequence(path)
        except (SequenceError, FileNotFoundError) as error:
            self.skipped[path.name] = str(error)
            if path.name not in self._told:
                _log.warning("skipped, to be tried again at the next look for new files: %s", error)
            self._told.add(path.name)
            return
        refuse_held_out(path, sequence)
        self.sequences.append(sequence)
        self._names.add(path.name)


def draw_batch(pool: SequencePool, rng: np.random.Generator, frames: int, size: int) -> Batch:
    """``size`` clips of ``frames`` frames from random sequences that have so many, all of the same random crop.

    Raises:
        ValueError: none is that long.
    """
    crop = CROPS[rng.integers(len(CROPS))]
    long = pool.long_enough(frames)
    samples = [draw_sample(long[rng.integers(len(long))], rng, frames, crop) for _ in range(size)]
    return stack(samples)


def draw_sample(sequence: Sequence, rng: np.random.Generator, frames: int, crop: tuple[int, int]) -> Sample:
    """One augmented clip with a freshly simulated sensor, of a sequence that has at least ``frames`` frames."""
    longest = (len(sequence) - 1) // (frames - 1) if frames > 1 else 1
    stride = int(rng.integers(1, min(longest, 2) + 1))
    start = int(rng.integers(0, len(sequence) - stride * (frames - 1)))
    when = slice(start, start + stride * (frames - 1) + 1, stride)
    depth, material = sequence.depth[when], sequence.material[when]
    sensor = simulate_depth_sensor(
        depth,
        sequence.background_depth[when],
        material,
        sequence.normals[when],
        sequence.intrinsics.fx,
        rng,
        sequence.instance[when],
    )
    height, width = (min(c, s) for c, s in zip(crop, depth.shape[1:], strict=True))
    top = int(rng.integers(0, depth.shape[1] - height + 1))
    left = int(rng.integers(0, depth.shape[2] - width + 1))
    time = slice(None, None, -1 if rng.random() < 0.5 else 1)
    mirrored = rng.random() < 0.5
    columns = slice(left, left + width)

    def cut(array: NDArray) -> NDArray:
        array = array[time, top : top + height, columns]
        return np.ascontiguousarray(array[:, :, ::-1] if mirrored else array)

    normals = cut(sequence.normals[when]).astype(np.float32)
    if mirrored:
        normals[..., 0] *= -1
    sensor, material = cut(sensor), cut(material)
    trust = draw_trust(sensor, material, rng)
    rgb = recoloured(cut(sequence.rgb[when]), rng)
    return make_sample(rgb, cut(depth), sensor, trust, normals, material, float(rng.uniform(*BETA_RANGE)))


def make_sample(
    rgb: Float32,
    depth: Float32,
    sensor: Float32,
    trust: Float32,
    normals: Float32,
    material: NDArray[np.uint8],
    beta: float,
) -> Sample:
    """Normalise and fill a clip the way the engine does, and put the truth into the same units."""
    known = np.isfinite(depth)
    inverse_depth = np.where(known, 1.0 / np.where(known, depth, 1.0), 0.0).astype(np.float32)
    trust = np.where(np.isfinite(sensor), trust, 0.0).astype(np.float32)
    sensed = np.where(trust > 0, 1.0 / np.where(trust > 0, sensor, 1.0), 0.0).astype(np.float32)
    limits = disparity_range(sensed, trust, beta)
    filled, trust = fill_partial(sensed, trust, limits)
    truth_limits = limits or disparity_range(inverse_depth, known.astype(np.float32))
    if truth_limits is None:
        raise ValueError("a clip without any true depth; render its sequence again")
    disparity = np.where(known, truth_limits.normalise(inverse_depth), 0.0).astype(np.float32)
    transparent = material >= CLEAR_PLASTIC
    error = np.abs(filled - disparity)
    wrong = np.where(transparent | (limits is None), 1.0, np.clip((error - 0.02) / 0.04, 0.0, 1.0))
    return Sample(
        rgb=rgb,
        filled=filled,
        trust=trust,
        disparity=disparity,
        known=known,
        transparent=transparent,
        rim=_rim(transparent),
        wrong=wrong.astype(np.float32),
        normals=np.nan_to_num(normals),
        inverse_depth=inverse_depth,
        has_sensor=limits is not None,
    )


def draw_trust(sensor: Float32, material: NDArray[np.uint8], rng: np.random.Generator) -> Float32:
    """(T, H, W) trust before the holes are taken out: most often what the path would say, now and then much less."""
    trust = sensor_trust(sensor, None) if rng.random() < 0.7 else np.ones(sensor.shape, np.float32)
    if rng.random() < MASKED:
        grown = int(rng.integers(1, 6))
        for picture, glass in zip(trust, (material >= CLEAR_PLASTIC).astype(np.uint8), strict=True):
            picture[cv2.dilate(glass, np.ones((2 * grown + 1,) * 2, np.uint8)) > 0] = 0.0
    pattern = rng.random()
    height, width = sensor.shape[1:]
    if (pattern := pattern - NO_SENSOR) < 0:
        trust[:] = 0.0
    elif (pattern := pattern - SPARSE) < 0:
        trust *= rng.random(trust.shape) < rng.uniform(0.02, 0.2)
    elif (pattern := pattern - RECTANGLES) < 0:
        for _ in range(int(rng.integers(1, 5))):
            h, w = int(rng.integers(8, height // 2)), int(rng.integers(8, width // 2))
            v, u = int(rng.integers(0, height - h)), int(rng.integers(0, width - w))
            trust[:, v : v + h, u : u + w] = 0.0
    elif pattern - HALF < 0:
        half = width // 2
        trust[:, :, slice(0, half) if rng.random() < 0.5 else slice(half, None)] = 0.0
    return trust


def recoloured(rgb: NDArray[np.uint8], rng: np.random.Generator) -> Float32:
    """(T, H, W, 3) uint8 -> float32 in [-1, 1] with drawn channel order, gain, gamma, blur and noise."""
    picture = rgb.astype(np.float32) / 255.0
    if rng.random() < 0.15:
        picture = picture[..., rng.permutation(3)]
    if rng.random() < 0.03:
        picture = np.repeat(picture.mean(axis=-1, keepdims=True), 3, axis=-1)
    gain = rng.uniform(0.75, 1.3) * rng.uniform(0.92, 1.08, 3)
    picture = np.clip(picture * gain.astype(np.float32), 0, 1) ** np.float32(rng.uniform(0.8, 1.25))
    if rng.random() < 0.2:
        picture = np.stack([cv2.GaussianBlur(p, (3, 3), rng.uniform(0.3, 0.8)) for p in picture])
    noise = rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(rng.uniform(0, 0.012))
    return np.clip(2 * (picture + noise) - 1, -1, 1).astype(np.float32)


def stack(samples: list[Sample]) -> Batch:
    """Samples of one size -> tensors."""

    def joined(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(s, name) for s in samples]))

    def channels_first(name: str) -> Tensor:
        return joined(name).permute(0, 4, 1, 2, 3).contiguous()

    return Batch(
        condition=Condition(channels_first("rgb"), joined("filled"), joined("trust")),
        disparity=joined("disparity"),
        known=joined("known"),
        transparent=joined("transparent"),
        rim=joined("rim"),
        wrong=joined("wrong"),
        normals=channels_first("normals"),
        has_sensor=torch.tensor([s.has_sensor for s in samples]),
    )


def _rim(transparent: NDArray[np.bool_]) -> NDArray[np.bool_]:
    kernel = np.ones((5, 5), np.uint8)
    pictures = transparent.astype(np.uint8)
    return np.stack([cv2.dilate(p, kernel) > cv2.erode(p, kernel) for p in pictures])
