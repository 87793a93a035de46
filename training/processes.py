"""One process or several, through accelerate: who we are, what is ours, and what all of them know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from dkt_ros.training.recipe import Recipe

if TYPE_CHECKING:
    from accelerate import Accelerator


def start_processes(cpu: bool = False) -> Accelerator:
    """Join the processes that ``accelerate launch`` or ``torchrun`` started; alone, if nothing did.

    Precision is the recipe's, whatever accelerate is configured to.

    Raises:
        ImportError: accelerate is not installed.
        ValueError: accelerate is configured to split one model over several processes.
    """
    try:
        from accelerate import Accelerator, DistributedDataParallelKwargs
    except ImportError as error:
        raise ImportError("training needs the package accelerate: pip install 'dkt_ros[train]'") from error
    # A phase may train a part of the network only; buffers are set alike everywhere, by the tasks.
    averaging = DistributedDataParallelKwargs(find_unused_parameters=True, broadcast_buffers=False)
    accelerator = Accelerator(cpu=cpu, mixed_precision="no", kwargs_handlers=[averaging])
    kind = str(accelerator.distributed_type.value)
    if kind not in ("NO", "MULTI_GPU", "MULTI_CPU"):
        raise ValueError(f"accelerate is configured for {kind}; this trainer averages gradients: --multi_gpu")
    return accelerator


def slots_of(recipe: Recipe, process: int, processes: int) -> range:
    """The batches of each step that are those of one process out of several.

    Raises:
        ValueError: the processes cannot share the recipe's batches evenly.
    """
    if recipe.accumulate % processes:
        raise ValueError(
            f"recipe {recipe.name}: accumulate is {recipe.accumulate}, which {processes} processes cannot share evenly;"
            f" start as many as divide it, or set it to a multiple of {processes}"
        )
    return range(process, recipe.accumulate, processes)


def compute_less_memory(module: nn.Module) -> int:
    """Switch gradient checkpointing on wherever diffusers' classes have it; returns in how many.

    Raises:
        ValueError: nowhere.
    """
    able: list[Any] = [part for part in module.modules() if getattr(part, "_supports_gradient_checkpointing", False)]
    for part in able:
        part.enable_gradient_checkpointing()
    if not able:
        raise ValueError(f"checkpointing: true, but nothing in {type(module).__name__} can; set it to false")
    return len(able)


def mean_over(accelerator: Accelerator, values: Mapping[str, float]) -> dict[str, float]:
    """The mean over all processes of numbers that each has under the same names."""
    if accelerator.num_processes == 1:
        return dict(values)
    row = torch.tensor(list(values.values()), dtype=torch.float32, device=accelerator.device)
    return dict(zip(values, accelerator.reduce(row, "mean").tolist(), strict=True))
