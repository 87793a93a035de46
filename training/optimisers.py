"""The optimisers of a task's parameter groups, and their state by parameter name, for safetensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dkt_ros.engines.checkpoints import CheckpointError
from dkt_ros.training.muon import HiddenMatrices
from dkt_ros.training.recipe import Optimiser
from dkt_ros.training.tasks import Group

_PREFIX = "optimiser."


class Optimisers:
    """One optimiser for each group.

    Raises:
        ValueError: a parameter is in two groups, in none, is not float32, or a group is of an unknown kind.
    """

    def __init__(self, groups: Sequence[Group], trainable: Mapping[str, nn.Parameter], numbers: Optimiser) -> None:
        names = [name for group in groups for name in group.parameters]
        if sorted(names) != sorted(trainable):
            astray = sorted(set(names) ^ set(trainable)) or sorted({n for n in names if names.count(n) > 1})
            raise ValueError(f"every trainable parameter belongs to one group; not so: {astray[:3]}")
        if rounded := sorted(name for name, p in trainable.items() if p.dtype != torch.float32):
            raise ValueError(f"trained parameters must be float32, these are not: {rounded[:3]}")
        self._named = dict(trainable)
        self._each = [(_optimiser(group, numbers), group.rate) for group in groups if group.parameters]

    def step(self, rate: float) -> None:
        """One update at the learning rate ``rate`` times each group's own."""
        for optimiser, factor in self._each:
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
            optimiser.step()

    def state(self) -> dict[str, Tensor]:
        """``optimiser.KEY.PARAMETER`` -> tensor."""
        return {
            f"{_PREFIX}{key}.{name}": value
            for name, parameter in self._named.items()
            for optimiser, _ in self._each
            for key, value in optimiser.state.get(parameter, {}).items()
        }

    def load_state(self, tensors: Mapping[str, Tensor], source: object) -> None:
        """Take back what ``state`` gave; other tensors are left alone.

        Raises:
            CheckpointError: one is of no parameter here.
        """
        owner = {p: optimiser for optimiser, _ in self._each for g in optimiser.param_groups for p in g["params"]}
        for full, value in tensors.items():
            if full.startswith(_PREFIX):
                key, name = full.removeprefix(_PREFIX).split(".", 1)
                if name not in self._named:
                    raise CheckpointError(f"{source}: {name} is no parameter of this task; resume with its own recipe")
                parameter = self._named[name]
                # AdamW counts its steps on the CPU.
                owner[parameter].state[parameter][key] = value if key == "step" else value.to(parameter.device)


def _optimiser(group: Group, numbers: Optimiser) -> torch.optim.Optimizer:
    parameters = list(group.parameters.values())
    if group.kind == "muon":
        return HiddenMatrices(parameters, numbers.weight_decay)
    if group.kind != "adamw":
        raise ValueError(f"optimiser {group.kind!r}: must be 'adamw' or 'muon'")
    return torch.optim.AdamW(
        parameters, lr=1.0, betas=numbers.betas, eps=numbers.eps, weight_decay=numbers.weight_decay
    )
