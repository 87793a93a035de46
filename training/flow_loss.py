"""DKT's loss: the mean squared error of the velocity, at noise levels drawn from the sampler's schedule of 1000 steps.

What is known: a latent at level s is ``(1 - s) clean + s noise``; the transformer is told 1000 s rounded to bfloat16
and answers ``noise - clean``; DKT was trained with DiffSynth-Studio, whose training draws one of the 1000 levels
``5 u / (1 + 4 u)``, u = 1, .999, ..., .001, all as often, and multiplies each clip's error by a bell over time,
``exp(-2 ((t - 500) / 1000)^2)`` less its least value, scaled to a mean of 1 ("bell"). Whether DKT's authors kept that
weight is not published; "flat" leaves it out.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from dkt_ros.engines.flow import times
from dkt_ros.training.published_losses import weighted_mean

#: Noise levels to draw from.
LEVELS = 1000
WEIGHTINGS = ("bell", "flat")


@cache
def schedule() -> tuple[Tensor, Tensor, Tensor]:
    """For each of the levels, from noise to clean: the level, the time that is told, and the bell's weight."""
    exact = torch.tensor(times(LEVELS, rounded=False), dtype=torch.float64)
    bell = torch.exp(-2 * ((exact - LEVELS / 2) / LEVELS) ** 2)
    bell = bell - bell.min()
    return (exact / LEVELS).float(), exact.float().bfloat16().float(), (bell * (LEVELS / bell.sum())).float()


def noised(clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """Latents (B, C, t, h, w) at ``level``, (B,) indices into ``schedule``."""
    sigma = schedule()[0].to(clean.device)[level].view(-1, 1, 1, 1, 1)
    return (1 - sigma) * clean + sigma * noise


def told_times(level: Tensor) -> Tensor:
    """What the transformer is told at ``level``: (B,) float32."""
    return schedule()[1].to(level.device)[level]


def flow_loss(
    velocity: Tensor,
    clean: Tensor,
    noise: Tensor,
    level: Tensor,
    weighting: str = "bell",
    weight: Tensor | None = None,
) -> dict[str, Tensor]:
    """The plain error "mse" and the weighted one, "total".

    Args:
        velocity: (B, C, t, h, w), predicted; ``clean`` and ``noise`` likewise.
        level: (B,) indices into ``schedule``.
        weighting: one of ``WEIGHTINGS``.
        weight: (B, 1, t, h, w) of every latent cell; None: all alike.
    """
    error = (velocity.float() - (noise - clean).float()).square()
    each = torch.stack([weighted_mean(one, None if weight is None else weight[i]) for i, one in enumerate(error)])
    factor = schedule()[2].to(each.device)[level] if weighting == "bell" else torch.ones_like(each)
    return {"mse": each.mean().detach(), "total": (each * factor).mean()}
