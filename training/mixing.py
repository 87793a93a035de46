"""Which clips a training step sees: several sets, mixed as the published recipes mix them.

DKT co-trains on pictures and videos with clips of F = 4 N + 1 frames, N drawn from 0..5: one loader with
``frames: [1, 5, 9, 13, 17, 21]``, in which picture sets take part where F = 1 was drawn, beside one-frame clips of the
videos. DVD draws one of four loaders for every micro-step, with weights 9, 1, 40 and 10: Hypersim pictures, Virtual
KITTI pictures (8 a batch), TartanAir clips, Virtual KITTI clips (45 frames, one a batch).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dkt_ros.training.clip import TrainingClip
from dkt_ros.training.recipe import like, listed, refuse_unknown, table
from dkt_ros.training.sources.ordinary import HYPERSIM, TARTANAIR, VKITTI
from dkt_ros.training.sources.source import FrameFiles, Layout, Source, SourceError
from dkt_ros.training.sources.tars import TarFiles
from dkt_ros.training.sources.transparent import CLEARGRASP, DREDS, HISS

_log = logging.getLogger(__name__)

#: What a recipe may say under ``format``, besides "transphy3d".
LAYOUTS: Mapping[str, Layout] = {
    "hiss": HISS,
    "dreds": DREDS,
    "cleargrasp": CLEARGRASP,
    "hypersim": HYPERSIM,
    "vkitti": VKITTI,
    "tartanair": TARTANAIR,
}
#: How a clip comes to a loader's size: stretched; scaled to cover it and cut at a random place; or scaled only if it
#: is too small, and cut at the bottom in the middle (the cut of the KITTI benchmark).
FITS = ("squash", "cover", "bottom")
#: Values of the same types as those of ``Loader``.
_LOADER: Mapping[str, Any] = {"weight": 1.0, "batch": 1, "fit": "squash", "flip": 0.5}


class MissingSetError(SourceError):
    """A recipe names a set whose folder is not there, or not what it should be."""


@dataclass(frozen=True)
class Loader:
    """One kind of batch.

    Attributes:
        name: for the log.
        sets: name -> (set, weight). Picture sets take part in clips of one frame only.
        weight: how often this loader is drawn, beside the others.
        frames: lengths of clips, one drawn for every batch, all as often.
        batch: clips per batch.
        size: (height, width) that every clip is brought to; None: as it is stored (a batch is then of one set).
        fit: one of ``FITS``.
        flip: probability that a clip is mirrored.
    """

    name: str
    sets: Mapping[str, tuple[Source, float]]
    weight: float = 1.0
    frames: tuple[int, ...] = (1,)
    batch: int = 1
    size: tuple[int, int] | None = None
    fit: str = "squash"
    flip: float = 0.5

    def __post_init__(self) -> None:
        if self.fit not in FITS:
            raise ValueError(f"loader {self.name}: fit {self.fit!r}; choose one of {', '.join(FITS)}")
        if self.weight < 0 or self.batch < 1 or not self.frames or min(self.frames) < 1 or not 0 <= self.flip <= 1:
            raise ValueError(
                f"loader {self.name}: weight {self.weight}, batch {self.batch}, frames {self.frames}, "
                f"flip {self.flip}: must be positive, flip a probability"
            )
        for frames in self.frames:
            self._chances(frames)

    def clips(self, rng: np.random.Generator, frames: int) -> list[TrainingClip]:
        """One batch of clips of ``frames`` frames: each from a set by weight, or all from one where sizes differ."""
        if self.size is None:
            source = self._source(rng, frames)
            return [self._finished(source.draw(rng, frames), rng) for _ in range(self.batch)]
        return [self.clip(rng, frames) for _ in range(self.batch)]

    def clip(self, rng: np.random.Generator, frames: int) -> TrainingClip:
        """A single clip."""
        return self._finished(self._source(rng, frames).draw(rng, frames), rng)

    def _source(self, rng: np.random.Generator, frames: int) -> Source:
        names, chances = self._chances(frames)
        return self.sets[names[rng.choice(len(names), p=chances)]][0]

    def _chances(self, frames: int) -> tuple[list[str], np.ndarray]:
        weights = {name: weight for name, (source, weight) in self.sets.items() if source.video or frames == 1}
        total = sum(weights.values())
        if total <= 0:
            raise ValueError(
                f"loader {self.name}: none of its sets ({', '.join(self.sets) or 'none'}) gives clips of {frames} "
                "frames, since pictures give one; add a video set or take the length out"
            )
        return list(weights), np.array(list(weights.values())) / total

    def _finished(self, clip: TrainingClip, rng: np.random.Generator) -> TrainingClip:
        where, mirrored = rng.random(2), rng.random() < self.flip
        if self.size is not None:
            clip = fitted(clip, self.size, self.fit, (float(where[0]), float(where[1])))
        return clip.mirrored() if mirrored else clip


class Mix:
    """Loaders, drawn by weight."""

    def __init__(self, loaders: tuple[Loader, ...]) -> None:
        if not loaders or sum(loader.weight for loader in loaders) <= 0:
            raise ValueError("a mix needs a loader of positive weight")
        self.loaders = loaders
        self._chances = np.array([loader.weight for loader in loaders]) / sum(loader.weight for loader in loaders)

    def choose(self, rng: np.random.Generator) -> tuple[Loader, int]:
        """The loader and the clip length of one batch."""
        loader = self.loaders[rng.choice(len(self.loaders), p=self._chances)]
        return loader, int(loader.frames[rng.integers(len(loader.frames))])

    def batch(self, rng: np.random.Generator) -> list[TrainingClip]:
        """One batch: clips of one length and, where the loader has a size or the set only one, of one size.

        Depends on ``rng`` and the files only.
        """
        loader, frames = self.choose(rng)
        return loader.clips(rng, frames)

    def follow(self, before: Mix) -> None:
        """Take over what the mix of the same recipe knew of its files: damaged ones stay counted."""
        for name, source in self.sets.items():
            if name in before.sets:
                source.follow(before.sets[name])

    @property
    def sets(self) -> dict[str, Source]:
        """All sets by name."""
        return {name: source for loader in self.loaders for name, (source, _) in loader.sets.items()}

    @property
    def skipped(self) -> dict[Path, str]:
        """Damaged files met so far, with reasons; may be asked while another thread draws."""
        return {path: reason for source in self.sets.values() for path, reason in source.skipped.copy().items()}

    def summary(self) -> str:
        """A line per set: how many pictures or videos it holds and how many files of it were skipped."""
        return "\n".join(
            f"{name}: {len(source)} {'videos' if source.video else 'pictures'}, {len(source.skipped)} skipped"
            for name, source in self.sets.items()
        )


def fitted(clip: TrainingClip, size: tuple[int, int], fit: str, where: tuple[float, float]) -> TrainingClip:
    """``clip`` at ``size`` (height, width); ``where`` (0..1 down, 0..1 right) places the cut of "cover"."""
    height, width = size
    if fit == "squash":
        return clip.resized(height, width)
    scale = max(height / clip.size[0], width / clip.size[1])
    if fit == "cover" or scale > 1:
        clip = clip.resized(max(height, round(scale * clip.size[0])), max(width, round(scale * clip.size[1])))
    spare = clip.size[0] - height, clip.size[1] - width
    if fit == "bottom":
        return clip.cut(spare[0], spare[1] // 2, height, width)
    return clip.cut(int(where[0] * (spare[0] + 1)), int(where[1] * (spare[1] + 1)), height, width)


def read_mix(values: Mapping[str, Any], root: Path) -> Mix:
    """The ``data`` section of a recipe.

    .. code-block:: yaml

        sets:                        # folders below --data (or absolute)
          ours: {format: transphy3d, folder: train}
          hiss: {format: hiss, folder: HISS/train}
        loaders:                     # see ``Loader``
          - {name: all, frames: [1, 5, 9, 13, 17, 21], batch: 8, size: [480, 832], sets: {ours: 1, hiss: 1}}
        skip_missing: false          # true: leave out sets that are not there, and loaders that have none left

    With ``skip_missing`` the remaining weights count among themselves, and what was left out is logged.

    Args:
        values: as above.
        root: the folder of ``--data``.

    Raises:
        MissingSetError: sets are not there; names all of them, with what they are.
        ValueError: an unknown word or a value of the wrong kind.
    """
    refuse_unknown(values, {"sets", "loaders", "skip_missing"}, "data")
    sets, missing = {}, []
    named = table(values.get("sets", {}), "data: sets")
    given_loaders = listed(values.get("loaders", []), "data: loaders")
    skip_missing = like(False, values.get("skip_missing", False), "data: skip_missing")
    for name, given in named.items():
        try:
            sets[name] = _read_set(name, given, root)
        except MissingSetError as error:
            missing.append(f"  {error}")
    if missing and not skip_missing:
        raise MissingSetError(
            f"{len(missing)} of the recipe's {len(named)} sets are not there:\n"
            + "\n".join(missing)
            + "\nGet them, change the recipe's data section, or do without them by `skip_missing: true` in it"
        )
    for line in missing:
        _log.warning("left out:%s", line)
    loaders = [_read_loader(given, sets, set(named)) for given in given_loaders]
    if gone := [given["name"] for given, loader in zip(given_loaders, loaders, strict=True) if loader is None]:
        _log.warning("left out, since none of their sets is there: loaders %s", ", ".join(gone))
    return Mix(tuple(loader for loader in loaders if loader is not None))


def _read_set(name: str, given: Mapping[str, Any], root: Path) -> Source:
    refuse_unknown(given, {"format", "folder"}, f"data: set {name}")
    kind, folder = str(given.get("format")), root / str(given.get("folder", name))
    if kind != "transphy3d" and kind not in LAYOUTS:
        raise ValueError(f"data: set {name}: format {kind!r}; choose one of transphy3d, {', '.join(LAYOUTS)}")
    described = TarFiles.described if kind == "transphy3d" else LAYOUTS[kind].described
    if not folder.is_dir():
        raise MissingSetError(f"set {name}: {folder}: no such folder. Wanted: {described}")
    try:
        return TarFiles(name, folder) if kind == "transphy3d" else FrameFiles(name, LAYOUTS[kind], folder)
    except SourceError as error:
        raise MissingSetError(str(error)) from error


def _read_loader(given: Mapping[str, Any], sets: Mapping[str, Source], named: set[str]) -> Loader | None:
    """None if none of its sets is there."""
    name = str(table(given, "data: loaders").get("name", "?"))
    where = f"data: loader {name}"
    refuse_unknown(given, {"name", "sets", *_LOADER, "frames", "size"}, where)
    if "name" not in given:
        raise ValueError(f"data: loaders: {dict(given)!r}: missing name")
    weights = table(given.get("sets", {}), f"{where}: sets")
    if unknown := sorted(map(str, set(weights) - named)):
        raise ValueError(f"{where}: unknown sets {', '.join(unknown)}; known: {', '.join(sorted(named))}")
    found = {
        each: (sets[each], like(1.0, weight, f"{where}: weight of {each}"))
        for each, weight in weights.items()
        if each in sets
    }
    if not found:
        return None
    frames, size = given.get("frames", 1), given.get("size")
    lengths = frames if isinstance(frames, (list, tuple)) else [frames]
    return Loader(
        name=name,
        sets=found,
        frames=tuple(like(5, each, f"{where}: frames") for each in lengths),
        size=None if size is None else like((480, 832), size, f"{where}: size"),
        **{key: like(kind, given[key], f"{where}: {key}") for key, kind in _LOADER.items() if key in given},
    )
