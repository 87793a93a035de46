"""Muon (Jordan et al. 2024) for the hidden matrices, AdamW for the rest, as one optimiser.

Muon replaces a matrix's momentum by the nearest orthogonal one, so that every direction learns at the same speed. With
the update scaled to AdamW's size (Liu et al. 2025, "Muon is scalable for LLM training"), both share one rate.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MOMENTUM = 0.95


class HiddenMatrices(torch.optim.Optimizer):
    """Muon over parameters of two dimensions or more; convolution kernels count as (out, in * taps) matrices."""

    def __init__(self, parameters: Iterable[nn.Parameter], weight_decay: float) -> None:
        super().__init__(list(parameters), {"lr": 1.0, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            rate = group["lr"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - MOMENTUM)
                matrix = parameter.grad.lerp(momentum, MOMENTUM).flatten(1)
                update = orthogonal(matrix) * (0.2 * max(matrix.shape) ** 0.5)
                parameter.mul_(1 - rate * group["weight_decay"])
                parameter.add_(update.view_as(parameter), alpha=-rate)


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """About U V^T of the matrix's singular value decomposition, by Newton-Schulz iteration.

    In bfloat16 on a GPU; in float32 on a CPU, where one without bfloat16 units takes six seconds a step otherwise.
    """
    x = matrix.to(torch.bfloat16 if matrix.is_cuda else torch.float32)
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return (x.T if tall else x).to(matrix.dtype)


def hidden_matrices(model: nn.Module) -> dict[str, nn.Parameter]:
    """The weights between hidden layers: what Muon is for; not first and last layers, tables, norms or biases."""
    ends = ("conv_in", "conv_out", "quant_conv", "patch_embedding", "proj_out", "scale_shift_table", "time_", "text_")
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim >= 2 and min(parameter.flatten(1).shape) >= 16 and not any(end in name for end in ends)
    }
