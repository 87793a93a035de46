"""What can be trained. A task is a module here with ``build(setup) -> Task``; the loop around it is in ``trainer.py``.

A task knows its network, its data, its loss and what its result looks like to the node. It does not know about
optimiser steps, accumulation, averaging, resuming, logging or several processes: that stands once, in the trainer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dkt_ros.engines import Engine
from dkt_ros.training.recipe import Recipe


@dataclass(frozen=True)
class Setup:
    """What a task is built from.

    Attributes:
        recipe: of it, ``model``, ``lora``, ``data``, ``start_from`` and the ``options`` of the phases are the task's to
            read, and to refuse where it does not know a word (``recipe.refuse_unknown``).
        data: the folder of ``--data``: ``train/`` for the task; ``val/`` is the trainer's.
        base: the files and folders of ``--base``: published weights to start from; empty for a task that needs none.
        device: where frozen parts outside of ``Task.module`` belong; the trainer moves ``module`` itself.
    """

    recipe: Recipe
    data: Path
    base: tuple[Path, ...]
    device: torch.device


@dataclass(frozen=True)
class Group:
    """Parameters that are trained alike.

    Attributes:
        parameters: by their names in ``Task.module.named_parameters()``; each float32, whatever the frozen rest is.
        kind: "adamw" or "muon" (see ``muon.py``; matrices only).
        rate: times the phase's learning rate.
    """

    parameters: Mapping[str, nn.Parameter]
    kind: str = "adamw"
    rate: float = 1.0


class Task(Protocol):
    """One thing to train.

    Attributes:
        module: ``module(batch)`` returns the loss terms of one batch, scalars, with their weighted sum under "total"
            (the only one that is differentiated: a term that is no part of it comes detached); the same names for all
            batches of a phase. The trainer wraps exactly this call, so that gradients are averaged over processes; it
            runs under autocast where the recipe says so. What is trained are its parameters with ``requires_grad``. It
            draws nothing by chance except from torch's own generator, which the trainer seeds for every batch.
    """

    module: nn.Module

    @property
    def engine_name(self) -> str:
        """The engine that runs on the result, as in ``--engine``."""
        ...

    def groups(self) -> Sequence[Group]:
        """Every trainable parameter of ``module``, once."""
        ...

    def begin(self, phase: int) -> None:
        """Called right before the first step of phase number ``phase`` (from 0), not when a run resumes inside one.

        The same in every process.
        """
        ...

    def draw(self, rng: np.random.Generator, step: int) -> Any:
        """One batch on the CPU for the optimiser step ``step`` (from 0): tensors in tuples, dicts or dataclasses.

        Depends on ``rng``, ``step`` and the data only. Called from another thread while a step runs.
        """
        ...

    def refresh(self) -> None:
        """Look for data that came meanwhile. Never called while ``draw`` runs."""
        ...

    def summary(self) -> str:
        """Lines that say which data it trains on and what was skipped so far; may be asked while ``draw`` runs."""
        ...

    def state(self) -> dict[str, Tensor]:
        """What must be kept to resume, besides the trainable parameters (such as measured statistics)."""
        ...

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what ``state`` gave; the trainable parameters are restored already."""
        ...

    def save(self, path: Path, facts: Mapping[str, Any]) -> None:
        """Write the safetensors file that the node loads by ``--weights``, from the parameters as they stand.

        Through ``engines.checkpoints.save_weights``, so that it is whole or not there. The header's "config" holds
        ``facts`` (``steps``, ``recipe`` with ``name`` and ``hash``, ``validation``: the last scores) and what the task
        adds: ``licence``, ``description``, ``clip_lengths``, ``area``, ``sequences``, ``skipped_files`` (how many could
        not be read) and what its engine needs. Called in one process only, with the averaged parameters in place.
        """
        ...

    def engine(self) -> Engine:
        """An engine around the parameters as they stand, for the validation; used up before the next step."""
        ...


def build_task(setup: Setup) -> Task:
    """The task that the recipe names.

    Raises:
        ValueError: there is no such task, or its recipe or base is wrong; the text says how.
        FileNotFoundError, CheckpointError: data or base weights are missing or damaged.
    """
    name = setup.recipe.task
    known = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))
    if name not in known:
        raise ValueError(f"recipe {setup.recipe.name}: task {name!r}: no such task; choose one of {', '.join(known)}")
    task: Task = import_module(f"dkt_ros.training.tasks.{name}").build(setup)
    return task
