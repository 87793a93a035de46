"""Fits the weights of the confidence to renders with ground truth, and writes them with how they were made.

    python -m benchmarks.calibrate data/val [data/train4 ...]     writes dkt_ros/resources/confidence.yaml
    dkt eval data/heldout --out out/heldout      the check, on other sequences

Never give it the sequences of the check, nor those that the engine was trained on. More
come from other seeds of the recipe of ``make heldout``; those of "train4", in the environment of ``make render-env``:

    python -m dkt_ros.training.render dataset --out data/train4 --recipe full --seed 1320 --count 120 --frames 5

Five passes of the bundled engine:

* with the sensor: pixels measured and inferred;
* with the sensor, each clip of every third sequence looked at as a video: only then do overlapping clips of this
  engine differ, so the weight of their disagreement comes from here;
* with the sensor and a model that is wrong, its answer times a smooth random field: the weight of the fit's residual
  beside a sensor comes from this pass, since fits to the model as it is all have about the same;
* without it, the table top known ("plane");
* without it, one scale for all scenes, the median of what each would need ("fixed"): the hardest use of a fixed scale.

For the second pass short sequences are played there and back until two clips overlap. Only pixels whose true
depth is within the range that ``dkt eval`` scores count. Each weight is held at 0 if the data would give it the sign
that ``FEATURES`` forbids.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.cells import cell_size, from_cells
from dkt_ros.confidence import (
    CELLS,
    COEFFICIENTS,
    FEATURES,
    KINDS,
    RIGHT,
    SCALE_RIGHT,
    Calibration,
    features,
    kind_of_inferred,
)
from dkt_ros.engines import Engine, load_engine
from dkt_ros.evaluation.alignment import align_disparity
from dkt_ros.evaluation.protocols import Range
from dkt_ros.files import written_whole
from dkt_ros.frames import PROVENANCE_MEASURED, Clip, Estimate, Float32, Frame, Prediction
from dkt_ros.metric import ScaleSettings
from dkt_ros.perception import Perception, PerceptionSettings
from dkt_ros.plane import plane_from_matrix
from dkt_ros.training.sequences import Sequence as Rendered
from dkt_ros.training.sequences import load_video, sequence_files

_Array = NDArray[np.float64]
#: kind -> rows of features in the order of ``KINDS[kind]``, whether the pixel was right, and the probability that the
#: scale was
Samples = dict[str, tuple[list[_Array], list[_Array], list[_Array]]]
#: Standard deviation of a wrong model's field: least and most.
WRONG = 0.01, 0.3


@dataclass(frozen=True)
class Scene:
    """A sequence as the camera would have given it, and the truth of each frame."""

    frames: list[Frame]
    truth: list[Float32]

    def played(self, length: int) -> Scene:
        """There and back until it has ``length`` frames."""
        last = len(self.frames) - 1
        order = [last - abs(last - i % (2 * last)) if last else 0 for i in range(length)]
        step = 33_000_000
        frames = [replace(self.frames[each], stamp_ns=(i + 1) * step) for i, each in enumerate(order)]
        return Scene(frames, [self.truth[each] for each in order])


class Wrong:
    """An engine whose answers are off by a smooth random field that stays where it is in the picture.

    Args:
        engine: gives the answers.
        random: draws the field, 4x3 numbers enlarged, and its standard deviation, log-uniform over ``WRONG``.
    """

    def __init__(self, engine: Engine, random: np.random.Generator) -> None:
        self.card = engine.card
        self._engine = engine
        size = np.exp(random.uniform(*np.log(WRONG)))
        self._field = (size * random.standard_normal((3, 4))).astype(np.float32)

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """The engine's, times 1 + field."""
        prediction = self._engine.predict(clip, trust)
        disparity = prediction.disparity
        field = cv2.resize(self._field, disparity.shape[2:0:-1], interpolation=cv2.INTER_CUBIC)
        return replace(prediction, disparity=disparity * np.maximum(1 + field, np.float32(0.1)))


class Watched(Perception):
    """A ``Perception`` that hands out the features of its last frame's confidence."""

    found: dict[str, Float32] | None = None

    def _confidence(self, *arguments: Any) -> Float32:
        self.found = features(*arguments)
        return super()._confidence(*arguments)

    def _estimate(self, *arguments: Any) -> Estimate:
        self.found = None
        estimate = super()._estimate(*arguments)
        self.kept.append((estimate, self.found))
        return estimate

    def watch(self, frames: Sequence[Frame]) -> Iterator[tuple[Estimate, dict[str, Float32]]]:
        """Each estimate in metres and the features of its cells."""
        self.kept: list[tuple[Estimate, dict[str, Float32] | None]] = []
        self.reset()
        for _ in self.run(frames):
            pass
        yield from ((estimate, found) for estimate, found in self.kept if found is not None)


def load_scene(path: Path) -> Scene:
    """A rendered sequence; its frames know the table top as their plane."""
    video = load_video(path)
    if not isinstance(video, Rendered):
        raise SystemExit(f"{path}: no rendered sequence with sensor depth; render one with dkt_ros.training.render")
    planes = [plane_from_matrix(np.linalg.inv(pose)) for pose in video.camera_to_world]
    frames = [replace(frame, plane=plane) for frame, plane in zip(video.frames(), planes, strict=True)]
    return Scene(frames, list(video.depth))


def collect(perception: Watched, scene: Scene, limits: Range, pixels: int, samples: Samples, seed: int) -> None:
    """Add ``pixels`` random pixels of each frame."""
    random = np.random.default_rng(seed)
    truth_of = {frame.stamp_ns: truth for frame, truth in zip(scene.frames, scene.truth, strict=True)}
    for estimate, found in perception.watch(scene.frames):
        depth, truth = estimate.depth, truth_of[estimate.frame.stamp_ns]
        assert depth is not None and estimate.fit is not None
        with np.errstate(invalid="ignore"):
            scored = np.isfinite(depth) & (truth >= limits.near_m) & (truth <= limits.far_m)
            right = np.abs(depth - truth) <= RIGHT * truth
        chosen = random.permutation(np.flatnonzero(scored))[:pixels]
        measured = estimate.provenance.ravel()[chosen] == PROVENANCE_MEASURED
        size = cell_size(depth.shape, CELLS)
        for kind, own in (("measured", measured), (kind_of_inferred(estimate.fit), ~measured)):
            where = chosen[own]
            rows = [from_cells(found[name], depth.shape, size, smooth=False).ravel()[where] for name in KINDS[kind]]
            samples.setdefault(kind, ([], [], []))
            samples[kind][0].append(np.stack(rows, 1).astype(np.float64))
            samples[kind][1].append(right.ravel()[where].astype(np.float64))
            known = np.ones(len(where))
            if kind != "measured":
                known = from_cells(found[SCALE_RIGHT], depth.shape, size, smooth=False).ravel()[where]
            samples[kind][2].append(known.astype(np.float64))


def logistic(
    rows: _Array, right: _Array, signs: Sequence[int], scale_right: _Array, given: Mapping[int, float] | None = None
) -> tuple[float, _Array]:
    """Bias and weights of least log loss of ``scale_right * sigmoid(bias + rows @ weights)``.

    A weight whose sign is not allowed is 0; those of ``given``, by column, are as they are.
    """
    given = given or {}
    fixed = sum((weight * rows[:, column] for column, weight in given.items()), np.zeros(len(rows)))
    used = np.array([column not in given for column in range(rows.shape[1])])
    scale = np.where(rows.std(0) > 1e-9, rows.std(0), np.inf)
    while True:
        matrix = np.c_[np.ones(len(rows)), (rows / scale) * used]
        weights = np.zeros(matrix.shape[1])
        ridge = np.full(len(weights), 1e-3)
        for _ in range(100):
            rest = 1 / (1 + np.exp(-np.clip(fixed + matrix @ weights, -30, 30)))
            p = scale_right * rest
            against = (1 - rest) / np.maximum(1 - p, 1e-12)
            slope = matrix.T @ ((p - right) * against) / len(right) + ridge * weights
            curve = (matrix * (p * (1 - rest) * against)[:, None]).T @ matrix / len(right) + np.diag(ridge)
            step = np.linalg.solve(curve, slope)
            # Newton's steps may overshoot far from the answer.
            weights -= step * min(1.0, 2.0 / np.abs(step).max())
            if np.abs(step).max() < 1e-7:
                break
        wrong = used & (np.sign(weights[1:]) * np.asarray(signs) < 0)
        if not wrong.any():
            found = np.where(used, weights[1:] / scale, 0.0)
            found[list(given)] = list(given.values())
            return float(weights[0]), found
        used &= ~wrong


def fitted(samples: Samples, videos: Samples, wrong: Samples) -> Calibration:
    """The weights of every kind.

    That of ``clips`` comes from ``videos``, that of ``residual`` of inferred pixels from ``wrong``. All others are of
    ``samples``, beside these.
    """
    clips = _alone("clips", videos)
    beside = {"clips": clips, "residual": _alone("residual", wrong)}
    weights: dict[str, dict[str, float]] = {}
    for kind, names in KINDS.items():
        rows, right, scale_right = (np.concatenate(each) for each in samples[kind])
        given = beside if kind == "inferred" else {"clips": clips}
        columns = {names.index(name): weight for name, weight in given.items() if name in names}
        bias, found = logistic(rows, right, [FEATURES[name] for name in names], scale_right, columns)
        weights[kind] = {"bias": bias, **dict(zip(names, found.tolist(), strict=True))}
    return Calibration({kind: {n: round(w, 4) + 0.0 for n, w in each.items()} for kind, each in weights.items()})


def _alone(name: str, samples: Samples) -> float:
    """The weight of one feature of inferred pixels."""
    rows, right, scale_right = (np.concatenate(each) for each in samples["inferred"])
    names = KINDS["inferred"]
    _, found = logistic(rows, right, [FEATURES[each] for each in names], scale_right)
    return float(found[names.index(name)])


def common_scale(scenes: Sequence[Scene], engine: Engine, limits: Range) -> tuple[float, float]:
    """Median of the scale and shift that the scenes would need without a sensor."""
    perception = Perception(engine, PerceptionSettings(use_sensor_depth=False))
    lines = []
    for scene in scenes:
        bare = [replace(frame, plane=None) for frame in scene.frames]
        perception.reset()
        disparity = np.stack([estimate.disparity for estimate in perception.run(bare)])
        truth = np.stack(scene.truth)
        with np.errstate(invalid="ignore"):
            line = align_disparity(disparity, truth, (truth >= limits.near_m) & (truth <= limits.far_m))
        if not line.flag:
            lines.append((line.scale, line.shift))
    scale, shift = np.median(np.array(lines, np.float64), axis=0)
    return float(scale), float(shift)


def as_text(calibration: Calibration, header: Sequence[str]) -> str:
    """The file, readable."""
    lines = [f"# {line}".rstrip() for line in header]
    for kind, weights in calibration.weights.items():
        lines.append(f"{kind}: {{{', '.join(f'{name}: {weight:g}' for name, weight in weights.items())}}}")
    return "\n".join(lines) + "\n"


def spread(folder: Path, most: int) -> list[Path]:
    """At most so many sequences of a folder, evenly over its list."""
    paths = sequence_files(folder)
    if len(paths) <= most:
        return paths
    return [paths[i] for i in np.linspace(0, len(paths) - 1, most).round().astype(int)]


def gather(
    folders: Sequence[Path], most: int, pixels: int, limits: Range
) -> tuple[Samples, Samples, Samples, list[str]]:
    """Samples of the engine, of it looking at videos, of wrong models, and the header's lines about the data."""
    from dkt_ros.engines import nano
    from dkt_ros.engines.completion import CompletionEngine, load_completion_model

    chosen = {folder.name: spread(folder, most) for folder in folders}
    paths = [path for each in chosen.values() for path in each]
    if not paths:
        raise SystemExit(f"{', '.join(map(str, folders))}: no rendered sequences (*.tar)")
    scenes = [load_scene(path) for path in paths]
    engine = load_engine("nano")
    together = CompletionEngine(load_completion_model(nano.WEIGHTS), nano.CARD, nano.AREA, True)
    scale, shift = common_scale(scenes, engine, limits)
    blind = PerceptionSettings(use_sensor_depth=False)
    fixed = replace(blind, scale=ScaleSettings(fixed_scale=scale, fixed_shift=shift))
    length = 2 * engine.card.clip_length - engine.card.overlap
    samples: Samples = {}
    videos: Samples = {}
    wrong: Samples = {}
    for number, scene in enumerate(scenes):
        bare = Scene([replace(frame, plane=None) for frame in scene.frames], scene.truth)
        collect(Watched(engine), bare, limits, pixels, samples, number)
        collect(Watched(engine, blind), scene, limits, pixels, samples, number)
        collect(Watched(engine, fixed), bare, limits, pixels, samples, number)
        off = Wrong(engine, np.random.default_rng(number))
        collect(Watched(off), bare, limits, pixels, wrong, number)
        if number % 3 == 0:
            collect(Watched(together), bare.played(length), limits, pixels, videos, number)
        print(f"{number + 1}/{len(scenes)} {paths[number].stem}", flush=True)
    named = "; ".join(f"{name}: {_range(each)}" for name, each in chosen.items() if each)
    counts = {
        kind: (sum(map(len, right)), float(np.concatenate(right).mean())) for kind, (_, right, _) in samples.items()
    }
    lines = [
        f"Sequences: {named}.",
        f"True depth within {limits.near_m} to {limits.far_m} m; {pixels} random pixels a frame:",
        *(f"  {kind}: {count} pixels, {share:.1%} of them right" for kind, (count, share) in counts.items()),
        f'"fixed" is under fixed_scale {scale:.3f}, fixed_shift {shift:.3f}.',
    ]
    return samples, videos, wrong, lines


def _range(paths: Sequence[Path]) -> str:
    return f"{len(paths)} sequences, {paths[0].stem} to {paths[-1].stem}"


def _commit() -> str:
    told = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "unknown"


def main() -> None:
    """Fit, write, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="rendered sequences (*.tar)")
    parser.add_argument("--out", type=Path, default=COEFFICIENTS, help="the file of weights (%(default)s)")
    parser.add_argument("--most", type=int, default=40, help="sequences of a folder, evenly over it (%(default)s)")
    parser.add_argument("--pixels", type=int, default=1000, help="of each frame (%(default)s)")
    arguments = parser.parse_args()
    samples, videos, wrong, data = gather(arguments.folders, arguments.most, arguments.pixels, Range())
    folders = " ".join(folder.name for folder in arguments.folders)
    header = [
        "Weights of the confidence, see dkt_ros/confidence.py: log odds that a pixel's depth is within",
        f"{RIGHT:.0%} of the truth = bias + sum of weight * feature, for each kind of pixel.",
        f"Made by `python -m benchmarks.calibrate {folders} --most {arguments.most}`",
        f"on commit {_commit()}, engine nano; how to render the sequences: see --help.",
        *data,
    ]
    text = as_text(fitted(samples, videos, wrong), header)
    with written_whole(arguments.out) as temporary:
        temporary.write_text(text)
    print(text, end="")


if __name__ == "__main__":
    main()
