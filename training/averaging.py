"""Averaged weights: what is saved for the node and validated, while the optimiser works on the current ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """Exponential moving average of parameters, where they are and as precise.

    Args:
        parameters: by name; looked at again at every ``follow``.
        keep: what the average keeps of itself at a step; 0 keeps no average, and ``in_place`` changes nothing.

    Attributes:
        values: the averages by name; empty with ``keep`` 0.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], keep: float) -> None:
        self._parameters = dict(parameters) if keep else {}
        self._keep = keep
        self.values: dict[str, Tensor] = {name: p.detach().clone() for name, p in self._parameters.items()}

    @torch.no_grad()
    def follow(self, step: int) -> None:
        """Move toward the parameters after ``step`` steps; fast at the start, when there is little to average."""
        if self.values:
            keep = min(self._keep, (1 + step) / (10 + step))
            torch._foreach_lerp_(list(self.values.values()), [p.data for p in self._parameters.values()], 1 - keep)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the parameters hold the averages. Nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, parameter in self._parameters.items():
            parameter.data, self.values[name] = self.values[name], parameter.data
