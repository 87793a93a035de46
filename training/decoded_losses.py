"""What a completion by DVD is asked for beside its latents: the decoded first frame of each clip.

The codec makes the first frame of the first latent alone, so this is exact and cheap; clips begin anywhere, so every
frame is a first one now and then.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from dkt_ros.training.losses import gradient_loss
from dkt_ros.training.published_losses import weighted_mean
from dkt_ros.training.wan_samples import Batch

#: Each level of the multi-scale gradient halves the picture.
SCALES = 4


def decoded_loss(first: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Terms to be added up, in normalised units.

    Args:
        first: (B, 3, 1, H, W) decoded.
        batch: of a completion.

    Returns:
        "decoded": mean absolute error; "gradient": of its steps to the right and down, over several scales; "seam":
        the same about the outline of what is unknown, where sensor and answer meet.
    """
    assert batch.weight is not None and batch.ring is not None
    answer, truth = first.mean(dim=1), batch.target[:, 0, :1]
    weight = batch.weight[:, :1]
    terms = {"decoded": weighted_mean((answer - truth).abs(), weight)}
    terms["seam"] = gradient_loss(answer, truth, batch.ring[:, :1] * (weight > 0).float())
    steps = []
    for _ in range(SCALES):
        steps.append(gradient_loss(answer, truth, weight))
        answer, truth, weight = (F.avg_pool2d(each, 2) for each in (answer, truth, weight))
    terms["gradient"] = torch.stack(steps).mean()
    return terms
