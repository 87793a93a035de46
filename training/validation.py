"""How good a completion network is on sequences that it did not see: the numbers that early stopping looks at."""

from __future__ import annotations

import numpy as np
import torch

from dkt_ros.engines.completion_model import Completed, CompletionModel
from dkt_ros.frames import Float32
from dkt_ros.training.data import Sample, SequencePool, stack, validation_sample


@torch.no_grad()
def validate(model: CompletionModel, pool: SequencePool, frames: int = 5) -> dict[str, float]:
    """Mean over the sequences of the relative depth error (REL) after the metric fit that the path would make.

    ``transparent`` and ``opaque``: REL of the prediction; ``fill_transparent``: of the filled sensor it was given;
    ``alone``: REL on all pixels without a sensor, fitted to the truth; ``normals``: mean angle in degrees on
    transparent pixels.
    """
    rows: dict[str, list[float]] = {}
    model.eval()
    for sequence in pool.sequences:
        sample = validation_sample(sequence, frames)
        answer = model(stack([sample]).condition)
        for name, value in score(sample, answer).items():
            rows.setdefault(name, []).append(value)
        blind = validation_sample(sequence, frames, with_sensor=False)
        depth_error = relative_error(blind, model(stack([blind]).condition).disparity[0].numpy(), blind.known)
        rows.setdefault("alone", []).append(float(depth_error[blind.known].mean()))
    model.train()
    return {name: float(np.nanmean(values)) for name, values in rows.items()}


def score(sample: Sample, answer: Completed) -> dict[str, float]:
    """REL on transparent and opaque pixels, of the filled sensor too, and the normals' angle, of one clip."""
    glass, opaque = sample.transparent & sample.known, ~sample.transparent & sample.known
    trusted = sample.trust > 0.5
    ours = relative_error(sample, answer.disparity[0].numpy(), trusted)
    fill = relative_error(sample, sample.filled, trusted)
    cosine = np.clip((answer.normals[0].permute(1, 2, 3, 0).numpy() * sample.normals).sum(-1), -1, 1)
    if not glass.any():
        glass = opaque & False
    return {
        "transparent": _mean(ours[glass]),
        "opaque": _mean(ours[opaque]),
        "fill_transparent": _mean(fill[glass]),
        "fill_opaque": _mean(fill[opaque]),
        "normals": _mean(np.degrees(np.arccos(cosine))[glass]),
    }


def relative_error(sample: Sample, disparity: Float32, anchor: np.ndarray) -> Float32:
    """(T, H, W) |z / z_true - 1| after a robust straight-line fit of true 1/z to ``disparity`` on ``anchor`` pixels."""
    x, y = disparity[anchor].astype(np.float64), sample.inverse_depth[anchor].astype(np.float64)
    keep = np.ones(x.size, bool)
    for _ in range(4):
        scale, shift = np.polyfit(x[keep], y[keep], 1)
        residual = np.abs(scale * x + shift - y)
        keep = residual <= 3 * max(1.4826 * float(np.median(residual)), 1e-6)
    fitted = np.maximum(scale * disparity + shift, 1e-2)
    return np.abs(sample.inverse_depth / fitted - 1).astype(np.float32)


def _mean(values: Float32) -> float:
    return float(values.mean()) if values.size else float("nan")
