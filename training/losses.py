"""What the completion network is trained to make small. All terms are in the clip's normalised units."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dkt_ros.engines.completion_model import Completed
from dkt_ros.training.data import Batch

#: Weights of the terms.
SURFACE, GRADIENT, GATE, NORMALS = 0.5, 0.5, 0.1, 1.0
#: Extra weight of transparent pixels and of their outline, on top of 1 for every pixel.
TRANSPARENT, RIM = 3.0, 1.0


def completion_loss(answer: Completed, batch: Batch) -> dict[str, Tensor]:
    """The terms and their weighted sum, ``total``; each a mean over the pixels of known truth.

    Without a sensor everything is unknown, so all pixels weigh the same; such clips count half.
    """
    pixel = batch.known.float() * (1 + TRANSPARENT * batch.transparent + RIM * batch.rim)
    pixel = torch.where(batch.has_sensor.view(-1, 1, 1, 1), pixel, 0.5 * batch.known.float())
    terms = {
        "disparity": _mean((answer.disparity - batch.disparity).abs(), pixel),
        "surface": _mean((answer.surface - batch.disparity).abs(), pixel),
        "gradient": gradient_loss(answer.disparity, batch.disparity, pixel)
        + gradient_loss(answer.surface, batch.disparity, pixel),
        "gate": _mean(F.binary_cross_entropy_with_logits(answer.gate_logit, batch.wrong, reduction="none"), pixel),
        "normals": normals_loss(answer.normals, batch.normals, batch.transparent),
    }
    terms["total"] = (
        terms["disparity"]
        + SURFACE * terms["surface"]
        + GRADIENT * terms["gradient"]
        + GATE * terms["gate"]
        + NORMALS * terms["normals"]
    )
    return terms


def gradient_loss(value: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """Mean absolute difference of the horizontal and vertical steps, (..., H, W); sharp edges and flat planes."""
    error = value - truth
    across = _mean(error.diff(dim=-1).abs(), torch.minimum(weight[..., 1:], weight[..., :-1]))
    down = _mean(error.diff(dim=-2).abs(), torch.minimum(weight[..., 1:, :], weight[..., :-1, :]))
    return across + down


def normals_loss(value: Tensor, truth: Tensor, transparent: Tensor) -> Tensor:
    """1 - cosine plus L1 over (B, 3, T, H, W) where the true normal is known."""
    known = (truth.square().sum(dim=1) > 0.5).float() * (1 + 5.0 * transparent)
    return _mean(1 - (value * truth).sum(dim=1) + (value - truth).abs().mean(dim=1), known)


def reconstruction_loss(video: Tensor, target: Tensor) -> Tensor:
    """Codec: L1 and L1 of the gradients of (B, 3, T, H, W)."""
    return F.l1_loss(video, target) + 0.5 * gradient_loss(video, target, torch.ones_like(target))


def _mean(error: Tensor, weight: Tensor) -> Tensor:
    return (error * weight).sum() / weight.sum().clamp_min(1.0)
