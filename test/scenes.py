"""A small analytic scene for tests: a tilted table with a box of "glass" that the sensor sees through."""

from __future__ import annotations

import numpy as np

from dkt_ros.engines import EngineCard
from dkt_ros.frames import Clip, Frame, Intrinsics, Prediction

WIDTH, HEIGHT = 80, 60
INTRINSICS = Intrinsics(70.0, 70.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
GLASS = (slice(20, 40), slice(30, 50))


def true_depth(index: int = 0) -> np.ndarray:
    """(H, W) float32 metres: the table recedes upwards, the glass box stands 10 cm nearer; the camera creeps closer."""
    rows = np.linspace(1.0, 0.6, HEIGHT, dtype=np.float32)[:, None] * np.ones((1, WIDTH), np.float32)
    depth = rows - 0.002 * index
    depth[GLASS] -= 0.1
    return depth


def seen_depth(index: int = 0) -> np.ndarray:
    """What the sensor returns: the table behind the glass, and a hole in the middle of it."""
    depth = true_depth(index)
    depth[GLASS] += 0.1
    depth[28:32, 36:44] = np.nan
    return depth


def frame(index: int = 0, *, sensor: bool = True, intrinsics: Intrinsics | None = INTRINSICS) -> Frame:
    rgb = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    return Frame(index * 100_000_000, "camera", rgb, intrinsics, seen_depth(index) if sensor else None)


class ScriptedEngine:
    """An engine for tests: the scene's true inverse depth under a scale and shift that differ from clip to clip.

    ``changing`` turns the difference between clips off; ``broken`` is called before each answer and may raise.
    """

    def __init__(self, *, normals=False, changing=True, same_units=False, broken=None, card=None) -> None:
        self.normals, self.changing, self.same_units, self.broken = normals, changing, same_units, broken
        self.calls = 0
        self.clips: list[Clip] = []
        self.trusted = None
        lengths = (1, 5, 9, 13)
        self.card = card or EngineCard("scripted", "affine", lengths, False, normals, "Apache-2.0", "for tests")

    def predict(self, clip: Clip, trust=None) -> Prediction:
        assert len(clip.frames) in self.card.clip_lengths
        self.clips.append(clip)
        if self.broken:
            self.broken(self.calls)
        self.calls += 1
        self.trusted = trust
        inverse = np.stack([1 / true_depth(each.stamp_ns // 100_000_000 % 1000) for each in clip.frames])
        scale, shift = (1 + 0.1 * (self.calls % 3), 0.2 * (self.calls % 2)) if self.changing else (1.0, 0.0)
        normals = None
        if self.normals:
            normals = np.zeros((*inverse.shape, 3), np.float32)
            normals[..., 2] = -1
        same = self.same_units and self.calls > 1
        return Prediction((inverse * scale + shift).astype(np.float32), normals, same_units=same)
