"""What DVD is trained on and for: its depth target and its loss, as published. The recipes that fine-tune it use them.

Target ("trunc_disparity"): d = 1/z; its quantiles 0.02 and 0.98 over all pixels of all frames of the clip; (d - q02) /
(q98 - q02 + 1e-5), held within 0..1; three equal channels; times 2 less 1; the codec's latents of that are the truth.

Loss, on float32 latents: mean squared error + 0.5 (L_t + L_h + L_w), each L the mean absolute error of the first
differences along latent time, height and width. Plain means over clips, channels and positions: the paper writes sums
and Euclidean norms, which the published code does not compute.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dkt_ros.frames import Float32

#: Weight of the terms of differences.
DIFFERENCES = 0.5
QUANTILES = (0.02, 0.98)
_EPS = np.float32(1e-5)
#: Latent axes of (B, C, t, h, w).
_AXES = {"time": 2, "height": 3, "width": 4}


@dataclass(frozen=True)
class DisparityTarget:
    """A clip's depth as the codec is shown it.

    Attributes:
        disparity: (T, H, W) float32, 0 (far) to 1 (near); unknown depth is 0, as far as can be.
        low, high: 1/m of the two quantiles; ``high`` reads just under 1.
    """

    disparity: Float32
    low: float
    high: float

    def video(self) -> Tensor:
        """(3, T, H, W) float32 in [-1, 1], three equal channels."""
        return torch.from_numpy(2 * self.disparity - 1).expand(3, -1, -1, -1)

    def inverse_depth(self) -> Float32:
        """(T, H, W) float32 1/m; what lay beyond the quantiles comes back as if it lay on them."""
        low, span = np.float32(self.low), np.float32(self.high) - np.float32(self.low) + _EPS
        return np.asarray(self.disparity * span + low, np.float32)


def disparity_target(depth: Float32, measured: NDArray[np.bool_] | None = None) -> DisparityTarget:
    """The target of one clip.

    Args:
        depth: (T, H, W) float32 metres; not finite or not positive means unknown.
        measured: (T, H, W) True where the quantiles may look, where that is less than all known depth (a sky that is
            stored as some hundred metres is known, but must not stretch the range); None for all known pixels.

    Raises:
        ValueError: no pixel is known.
    """
    known = np.isfinite(depth) & (depth > 0)
    inverse = np.divide(np.float32(1), depth, out=np.zeros(depth.shape, np.float32), where=known)
    looked_at = inverse[known if measured is None else known & measured]
    if not looked_at.size:
        raise ValueError(f"a clip of {depth.shape} without any known depth has no target; leave it out")
    low, high = np.quantile(looked_at, QUANTILES).astype(np.float32)
    disparity = np.clip((inverse - low) / (high - low + _EPS), 0, 1)
    return DisparityTarget(np.where(known, disparity, 0).astype(np.float32), float(low), float(high))


def weighted_mean(error: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of ``error``, each value counted ``weight`` times (it broadcasts); 0 where nothing counts."""
    if weight is None:
        return error.mean()
    weight = weight.expand_as(error)
    return (error * weight).sum() / weight.sum().clamp_min(1e-6)


def latent_loss(
    predicted: Tensor, target: Tensor, time: bool = True, power: int = 1, weight: Tensor | None = None
) -> dict[str, Tensor]:
    """The terms "mse", "time", "height", "width" and their weighted sum, "total".

    Args:
        predicted, target: (B, C, t, h, w) latents; an image has t = 1 and its "time" is 0.
        time: whether "time" enters the total; the published recipe has it.
        power: of the differences' errors before their mean: 1 as published, 2 squares them.
        weight: (B, 1, t, h, w) of every latent cell, for completion; a difference counts as the lighter of its two
            cells. None, as published: all alike.

    Raises:
        ValueError: the shapes differ.
    """
    if predicted.shape != target.shape:  # they would broadcast into a loss of something else
        raise ValueError(f"predicted latents {tuple(predicted.shape)}, target {tuple(target.shape)}: must agree")
    error = predicted.float() - target.float()
    terms = {"mse": weighted_mean(error.square(), weight)}
    for name, axis in _AXES.items():
        steps, length = error.diff(dim=axis), error.shape[axis]
        if length < 2:
            terms[name] = error.new_zeros(())
            continue
        pair = None if weight is None else [weight.narrow(axis, start, length - 1) for start in (0, 1)]
        terms[name] = weighted_mean(steps.abs().pow(power), torch.minimum(*pair) if pair else None)
    counted = [terms[name] for name in _AXES if time or name != "time"]
    terms["total"] = terms["mse"] + DIFFERENCES * torch.stack(counted).sum()
    return terms
