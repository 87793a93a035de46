"""The bundled model against its bars on sets that it was not trained on, and what each of its inputs is worth.

    python -m benchmarks.bars data/heldout data/unseen --out out
    python -m benchmarks.bars data/heldout --row "without LMR=runs/no_lmr/weights.safetensors"

Each set is answered once in full and once per row of the ablation. The first three rows are the same weights with an
input withheld; a row of ``--row`` is another network, trained otherwise. Writes OUT/bars.md and OUT/bars.json.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dkt_ros.engines import Engine, EngineOptions, load_engine
from dkt_ros.evaluation.baselines import GROUPS, RAW_SENSOR
from dkt_ros.evaluation.evaluate import Recording, VideoScores, evaluate
from dkt_ros.evaluation.means import OURS, Scores, best_fill, mean_scores, number_of
from dkt_ros.evaluation.protocols import Range
from dkt_ros.evaluation.recordings import find_recordings, load_recording
from dkt_ros.evaluation.tables import markdown
from dkt_ros.files import written_whole
from dkt_ros.frames import Clip, Estimate, Float32, Prediction
from dkt_ros.perception import Perception, PerceptionSettings

BLIND, TRUSTING, ONE_FRAME = "without sensor depth", "without trust", "without video (one frame a clip)"
BARS = (
    "of sensor at most 0.35, of fill at most 0.5; blind B glass d1.25 at least 85 %; normals under 15 degrees;"
    " seam under 1.5"
)
#: title, key of ``numbers``, factor, format
COLUMNS = (
    ("C glass REL", "glass_rel", 100, ".2f"),
    ("of sensor", "of_sensor", 1, ".2f"),
    ("of fill", "of_fill", 1, ".2f"),
    ("C opaque REL", "opaque_rel", 100, ".2f"),
    ("B glass REL", "b_glass_rel", 100, ".2f"),
    ("B glass d1.25", "b_glass_delta_1_25", 100, ".1f"),
    ("normals", "normals_median_deg", 1, ".1f"),
    ("seam", "seam", 1, ".2f"),
)
LEGEND = f"""\
C glass REL: relative error on glass, clear plastic and liquid in the path's own metres, %.
of sensor: ours over the raw sensor's, where that returns something. of fill: ours over the best classical fill's.
B glass d1.25: share of the glass within a factor 1.25 after one fit to the truth a video, %.
normals: median angle on glass, degrees.
seam: mean change of the log depth error from the last frame of a clip to the first new one of the next, over the same
between frames inside a clip.
Everything is the mean over the sequences. Bars ("blind" is the row "{BLIND}"): {BARS}."""


@dataclass(frozen=True)
class Row:
    """One way of answering a set: ``path`` answers, and the table calls it ``name``."""

    name: str
    path: Perception


class Trusting:
    """An engine that is told nothing of trust: it believes every return of the sensor."""

    def __init__(self, engine: Engine) -> None:
        self.card, self._engine = engine.card, engine

    def predict(self, clip: Clip, trust: Float32 | None = None) -> Prediction:
        """See ``Engine.predict``."""
        return self._engine.predict(clip)


def rows(weights: Path | None, others: Sequence[tuple[str, Path]]) -> list[Row]:
    """The full path first, then the ablation."""

    def engine(file: Path | None) -> Engine:
        return load_engine("completion" if file else "nano", EngineOptions(weights=file, threads=1))

    return [
        Row("full", Perception(engine(weights))),
        Row(BLIND, Perception(engine(weights), PerceptionSettings(use_sensor_depth=False))),
        Row(TRUSTING, Perception(Trusting(engine(weights)))),
        Row(ONE_FRAME, Perception(engine(weights), PerceptionSettings(clip_length=1, overlap=0))),
        *(Row(name, Perception(engine(file))) for name, file in others),
    ]


def seam_jump(recording: Recording, estimates: Sequence[Estimate], path: Perception) -> tuple[float, float]:
    """Mean |change of log(depth / truth)| per pixel over the seams between clips, and over all other frame pairs.

    NaN where there is no such pair, or no metric depth. A pixel counts if both frames have a depth and a true depth.
    """
    if any(estimate.depth is None for estimate in estimates):
        return np.nan, np.nan
    truth = {frame.stamp_ns: depth for frame, depth in zip(recording.frames, recording.reference.depth, strict=True)}
    errors = [np.log(np.asarray(e.depth) / truth[e.frame.stamp_ns]) for e in estimates]
    changes = np.array([np.nanmean(np.abs(b - a)) for a, b in pairwise(errors)])
    length, step = path.clip_length, path.clip_length - path.overlap
    last = np.arange(len(changes)) + 1 - length
    seam = (last >= 0) & (last % step == 0)
    across, inside = (float(part.mean()) if part.size else np.nan for part in (changes[seam], changes[~seam]))
    return across, inside


def answer(row: Row, recording: Recording, limits: Range, compared: bool) -> tuple[VideoScores, tuple[float, float]]:
    """The scores and the seam of one row on one recording."""
    row.path.reset()
    estimates = list(row.path.run_recording(lambda: recording.frames))
    scores = evaluate(recording, estimates, limits, groups=tuple(GROUPS) if compared else ())
    return scores, seam_jump(recording, estimates, row.path)


def numbers(videos: Sequence[VideoScores], seams: Sequence[tuple[float, float]], base: Scores) -> dict[str, Any]:
    """What the table says of one row; ``base`` are the mean scores of the first row, which have the baselines."""
    ours, fill = mean_scores(videos)[OURS], best_fill(base)
    sensor = base.get(RAW_SENSOR, {})
    return {
        "glass_rel": number_of(ours, "C", "transparent", "rel"),
        "of_sensor": _ratio(*(number_of(method, "C", "transparent_seen", "rel") for method in (ours, sensor))),
        "of_fill": _ratio(*(number_of(method, "C", "transparent", "rel") for method in (ours, base[fill])))
        if fill
        else None,
        "opaque_rel": number_of(ours, "C", "opaque", "rel"),
        "b_glass_rel": number_of(ours, "B", "transparent", "rel"),
        "b_glass_delta_1_25": number_of(ours, "B", "transparent", "delta_1_25"),
        "normals_median_deg": number_of(ours, "normals", "transparent", "median_deg"),
        "seam": _ratio(*(_mean([pair[i] for pair in seams]) for i in range(2))),
        "videos": len(videos),
    }


def table(found: dict[str, dict[str, Any]]) -> str:
    """One set's rows as Markdown."""
    lines = [["", *(title for title, *_ in COLUMNS)]]
    for name, values in found.items():
        cells = [(values[key], factor, form) for _, key, factor, form in COLUMNS]
        lines.append([name, *("" if v is None else f"{factor * v:{form}}" for v, factor, form in cells)])
    return markdown(lines)


def examine(folder: Path, answers: Sequence[Row], limits: Range) -> dict[str, dict[str, Any]]:
    """All rows on all sequences of a folder: name of the row -> ``numbers``; sensor and best fill come first."""
    files = find_recordings(folder)
    videos: dict[str, list[VideoScores]] = {row.name: [] for row in answers}
    seams: dict[str, list[tuple[float, float]]] = {row.name: [] for row in answers}
    with tqdm(total=len(files) * len(answers), unit="row", desc=folder.name, disable=None) as bar:
        for recording in map(load_recording, files):
            for row in answers:
                scores, seam = answer(row, recording, limits, compared=row is answers[0])
                videos[row.name].append(scores)
                seams[row.name].append(seam)
                bar.update()
    base = mean_scores(videos[answers[0].name])
    theirs = {name: _baseline(base, name) for name in (RAW_SENSOR, best_fill(base)) if name in base}
    return theirs | {row.name: numbers(videos[row.name], seams[row.name], base) for row in answers}


def main() -> int:
    """Answer, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders of rendered sequences")
    parser.add_argument("--weights", type=Path, help="a file that training wrote, instead of the bundled model")
    parser.add_argument("--row", action="append", default=[], metavar="NAME=FILE", help="another network, as a row")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for bars.md and bars.json")
    arguments = parser.parse_args()
    others = [(name, Path(file)) for name, _, file in (row.partition("=") for row in arguments.row)]
    try:
        answers = rows(arguments.weights, others)
        found = {folder.name: examine(folder, answers, Range()) for folder in arguments.data}
    except (OSError, ValueError) as error:
        parser.exit(1, f"benchmarks.bars: {error}\n")
    text = "\n\n".join([*(f"### {name}\n\n{table(values)}" for name, values in found.items()), LEGEND]) + "\n"
    print(text)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, content in (("bars.md", text), ("bars.json", json.dumps(found, indent=1) + "\n")):
        with written_whole(arguments.out / name) as temporary:
            temporary.write_text(content)
    return 0


def _baseline(base: Scores, name: str) -> dict[str, Any]:
    """A row of the table for the sensor or a fill."""
    keys = {"glass_rel": ("C", "transparent", "rel"), "opaque_rel": ("C", "opaque", "rel")}
    keys |= {"b_glass_rel": ("B", "transparent", "rel"), "b_glass_delta_1_25": ("B", "transparent", "delta_1_25")}
    return {key: None for _, key, *_ in COLUMNS} | {key: number_of(base[name], *path) for key, path in keys.items()}


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


def _mean(values: Sequence[float]) -> float | None:
    known = [value for value in values if np.isfinite(value)]
    return float(np.mean(known)) if known else None


if __name__ == "__main__":
    raise SystemExit(main())
