"""Batches, drawn in another thread while the step before them runs; what is drawn depends on seed and step only."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dkt_ros.training.tasks import Task


class Drawer:
    """Gives a process its batches of each step.

    A step has ``accumulate`` batches in slots 0, 1, ...; process r of n takes the slots r, r + n, ... So n processes
    see what one would see, and never the same batch.

    Args:
        seed: of the recipe.
        slots: of this process.
        last: no batch is drawn ahead for this step or later.
        refresh_every: nothing is drawn ahead from a step before such a multiple to the step at it, as new data may come
            in between; 0 for never.
    """

    def __init__(self, task: Task, seed: int, slots: range, last: int, refresh_every: int) -> None:
        self._task, self._seed, self._slots = task, seed, slots
        self._last, self._refresh_every = last, refresh_every
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="draw")
        self._ahead: tuple[tuple[int, int], Future[Any]] | None = None

    def take(self, step: int, slot: int) -> Any:
        """The batch of a slot; the next one is begun at once. Seeds torch's generator for it."""
        if self._ahead is not None and self._ahead[0] == (step, slot):
            batch = self._ahead[1].result()
        else:
            batch = self._draw(step, slot)
        self._ahead = None
        if (coming := self._after(step, slot)) is not None:
            self._ahead = (coming, self._thread.submit(self._draw, *coming))
        torch.manual_seed(int(np.random.SeedSequence([self._seed, step, slot, 1]).generate_state(1, np.uint64)[0]))
        return batch

    def _after(self, step: int, slot: int) -> tuple[int, int] | None:
        if slot != self._slots[-1]:
            return step, slot + self._slots.step
        refreshed = self._refresh_every and (step + 1) % self._refresh_every == 0
        return None if refreshed or step + 1 >= self._last else (step + 1, self._slots[0])

    def _draw(self, step: int, slot: int) -> Any:
        return self._task.draw(np.random.default_rng([self._seed, step, slot]), step)


def moved(batch: Any, device: torch.device) -> Any:
    """The batch with its tensors on ``device``, whatever tuples, lists, dicts and dataclasses they lie in."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, dict):
        return {key: moved(value, device) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(moved(value, device) for value in batch))
    if isinstance(batch, (tuple, list)):
        return type(batch)(moved(value, device) for value in batch)
    if is_dataclass(batch) and not isinstance(batch, type):
        return type(batch)(**{f.name: moved(getattr(batch, f.name), device) for f in fields(batch)})
    return batch
