"""How well trust and gate tell the sensor's truth from what it sees through glass, on rendered sequences.

    python benchmarks/gate.py DIRECTORY [--engine nano] [--stride 2]

Without ``--engine`` the model is imitated: the true inverse depth, blurred, with an error that changes slowly over the
picture and one per object; three such models, from good to poor. One clip of 9 frames per sequence, every
``stride``-th frame scored. "wrong" is a return on transparent pixels off by more than 3 %, "right" one on other
pixels off by less. Use validation seeds for tuning and held-out seeds for reporting.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np

from dkt_ros import fusion, metric
from dkt_ros.engines import load_engine
from dkt_ros.frames import Clip, Float32
from dkt_ros.training.sequences import Sequence, load_sequence, sequence_files

FRAMES, WIDTH = 9, 160
#: Slow error, error per object (both 1-sigma shares of 1/z), blur (pixels at WIDTH).
IMITATIONS = {"good model": (0.01, 0.0, 0.8), "fair model": (0.01, 0.02, 1.0), "poor model": (0.02, 0.04, 1.5)}


def imitated(sequence: Sequence, slow: float, per_object: float, blur: float) -> Float32:
    """(FRAMES, h, WIDTH) float32 relative disparity."""
    random = np.random.default_rng(0)
    of_object = np.append(0.0, per_object * random.normal(size=255))
    result = []
    for depth, instance in zip(sequence.depth[:FRAMES], sequence.instance[:FRAMES], strict=True):
        inverse = np.where(np.isfinite(depth), 1 / depth, np.nanmin(1 / depth)) * (1 + of_object[instance])
        size = (WIDTH, round(WIDTH * depth.shape[0] / depth.shape[1]))
        inverse = cv2.GaussianBlur(cv2.resize(inverse, size, interpolation=cv2.INTER_AREA), (0, 0), blur)
        if not result:
            bumps = cv2.resize(random.normal(size=(4, 5)), size, interpolation=cv2.INTER_CUBIC)
        result.append((inverse * (1 + slow * bumps / bumps.std()) - 0.3) / 1.7)
    return np.array(result, np.float32)


def score(sequence: Sequence, disparity: Float32, trust: Float32, stride: int, sums: dict[str, np.ndarray]) -> None:
    """Add (part, whole) of every quantity to ``sums``."""
    sensor = sequence.sensor_depth[:FRAMES]
    fit = metric.ScaleEstimator().update(disparity, sensor, trust)
    sums["clips refused"] += (fit is None or not fit.accepted, 1)
    if fit is None or not fit.accepted:
        return
    size = sensor.shape[:0:-1]
    for t in range(0, FRAMES, stride):
        truth, glass = sequence.depth[t], sequence.transparent[t]
        model = metric.disparity_to_depth(np.asarray(cv2.resize(disparity[t], size), np.float32), fit)
        gated = metric.disagreement_gate(trust[t], sensor[t], model)
        fused = fusion.fuse(sensor[t], gated, model).depth
        error = np.abs(sensor[t] / truth - 1)
        for name, above in (("wrong caught", 0.03), ("wrong by 10 % caught", 0.1)):
            wrong = glass & (error > above)
            sums[name] += (np.sum(wrong & (gated == 0)), wrong.sum())
        right = ~glass & (error < 0.03)
        sums["right dropped by trust"] += (np.sum(right & (trust[t] == 0)), right.sum())
        sums["right dropped by gate"] += (np.sum(right & (trust[t] > 0) & (gated == 0)), right.sum())
        for where, pixels in (("glass", glass), ("opaque", ~glass)):
            for source, depth in (("sensor", sensor[t]), ("model", model), ("fused", fused)):
                known = pixels & np.isfinite(depth) & np.isfinite(truth)
                sums[f"REL {where} {source}"] += (np.abs(depth / truth - 1)[known].sum(), known.sum())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--engine", help="an engine by name instead of imitations")
    parser.add_argument("--stride", type=int, default=2)
    arguments = parser.parse_args()
    paths = sequence_files(arguments.directory)
    if not paths:
        parser.error(f"{arguments.directory}: no *.tar; render some with dkt_ros.training.render")
    engine = load_engine(arguments.engine) if arguments.engine else None
    tables: dict[str, dict[str, np.ndarray]] = defaultdict(lambda: defaultdict(lambda: np.zeros(2)))
    for path in paths:
        sequence = load_sequence(path)
        trust = metric.sensor_trust(sequence.sensor_depth[:FRAMES], None)
        if engine:
            predicted = engine.predict(Clip(tuple(sequence.frames()[:FRAMES])), trust).disparity
            score(sequence, predicted, trust, arguments.stride, tables[engine.card.name])
        else:
            for name, errors in IMITATIONS.items():
                score(sequence, imitated(sequence, *errors), trust, arguments.stride, tables[name])
    print(f"{len(paths)} sequences{'':21}" + "".join(f"{name:>12}" for name in tables))
    for row in next(iter(tables.values())):
        shares = (table[row][0] / max(table[row][1], 1) for table in tables.values())
        print(f"{row:34}" + "".join(f"{share:12.2%}" for share in shares))


if __name__ == "__main__":
    main()
