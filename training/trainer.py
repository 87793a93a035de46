"""The loop's inside: one optimiser step of any task, its averaged weights, and how a run is saved and resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor, nn

from dkt_ros.engines.checkpoints import CheckpointError, load_weights, save_weights
from dkt_ros.training.averaging import Average
from dkt_ros.training.drawing import Drawer, moved
from dkt_ros.training.optimisers import Optimisers
from dkt_ros.training.processes import compute_less_memory, mean_over, slots_of, start_processes
from dkt_ros.training.recipe import Recipe
from dkt_ros.training.tasks import Setup, build_task
from dkt_ros.training.validation import Outcome, Validator, better

WEIGHTS, BEST, STATE = "weights.safetensors", "best.safetensors", "state.safetensors"
#: So many steps one after the other whose gradients are not finite end the run.
HOPELESS = 50


class Diverged(ArithmeticError):
    """The gradients are not finite any more; the message says what to do."""


class Trainer:
    """``advance`` makes one step. What a step draws depends on the recipe's seed, its number and the data only.

    Args:
        recipe: what to do.
        data: folder with ``train/`` and ``val/``.
        out: folder for what ``save`` and ``validate`` write.
        base: published weights, where the task starts from some.
        cpu: stay on the CPU even where there is a GPU.

    Attributes:
        step: optimiser steps made, skipped ones included.
        skipped: steps whose gradients were not finite; they changed nothing.
        scores: of the last validation, with its "step".
        best: value and step of the best validation; None before the first.
        asked_to_stop: set it, in any process and at any time, and ``stop`` is set in all of them after a step.
        stop: whether to make no further step.

    Raises:
        ValueError, OSError, ImportError: recipe, data, weights or packages are not as needed; the text says what to do.
    """

    def __init__(self, recipe: Recipe, data: Path, out: Path, base: tuple[Path, ...] = (), cpu: bool = False) -> None:
        self.recipe, self.out = recipe, out
        self.accelerator = start_processes(cpu)
        self._slots = slots_of(recipe, self.accelerator.process_index, self.accelerator.num_processes)
        self._validator = Validator(data / "val", recipe.validation) if recipe.validate_every else None
        torch.manual_seed(recipe.seed)
        self.task = build_task(Setup(recipe, data, base, self.accelerator.device))
        if recipe.checkpointing:
            compute_less_memory(self.task.module)
        self._module: nn.Module = self.accelerator.prepare(self.task.module)
        self.trainable = {name: p for name, p in self.task.module.named_parameters() if p.requires_grad}
        self._optimisers = Optimisers(self.task.groups(), self.trainable, recipe.optimiser)
        self.average = Average(self.trainable, recipe.ema)
        self._drawer = Drawer(self.task, recipe.seed, self._slots, recipe.steps, recipe.validate_every)
        self.step = self.skipped = self._hopeless = 0
        self.scores: dict[str, float] = {}
        self.best: tuple[float, int] | None = None
        self.asked_to_stop = self.stop = False

    @property
    def main(self) -> bool:
        """Whether this is the process that writes."""
        return bool(self.accelerator.is_main_process)

    @property
    def phase_name(self) -> str:
        """Of the last step made."""
        return self.recipe.phases[self.recipe.at(max(0, self.step - 1))[0]].name

    def advance(self) -> dict[str, float]:
        """One optimiser step; returns the means of its loss terms, "gradient_norm", "rate" and, if any, "skipped".

        Raises:
            Diverged: the gradients have not been finite for many steps.
        """
        index, within = self.recipe.at(self.step)
        if within == 0:
            self.task.begin(index)
        terms = self._differentiate()
        norm = nn.utils.clip_grad_norm_(self.trainable.values(), self.recipe.optimiser.clip)
        rate = self.recipe.phases[index].rate_at(within)
        if torch.isfinite(norm):
            self._optimisers.step(rate)
            self._hopeless = 0
        else:
            self._skip()
        self.step += 1
        self.average.follow(self.step)
        row = {name: float(value) for name, value in terms.items()}
        shared = mean_over(self.accelerator, {**row, "stop": float(self.asked_to_stop)})
        self.stop = shared.pop("stop") > 0
        shared |= {"gradient_norm": float(norm), "rate": rate}
        return shared | {"skipped": self.skipped} if self.skipped else shared

    def _differentiate(self) -> dict[str, Tensor]:
        """Gradients of the mean over the step's batches; returns the means of their terms."""
        self.task.module.zero_grad(set_to_none=True)
        device, sums = self.accelerator.device, dict[str, Tensor]()
        for slot in self._slots:
            batch = moved(self._drawer.take(self.step, slot), device)
            last = slot == self._slots[-1]
            with nullcontext() if last else self.accelerator.no_sync(self._module):
                with torch.autocast(device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
                    terms = self._module(batch)
                (terms["total"] / len(self._slots)).backward()
            for name, value in terms.items():
                share = value.detach() / len(self._slots)
                sums[name] = sums[name] + share if name in sums else share
        return sums

    def _skip(self) -> None:
        self.skipped += 1
        self._hopeless += 1
        if self._hopeless >= HOPELESS:
            raise Diverged(
                f"the gradients of the {HOPELESS} steps up to {self.step + 1} are not finite and changed nothing;"
                " resume with lower rates in the recipe"
            )

    @property
    def validates_now(self) -> bool:
        """Whether a validation belongs after the step just made."""
        every, phase = self.recipe.validate_every, self.recipe.phases[self.recipe.at(self.step - 1)[0]]
        return bool(every) and phase.validate and (self.step % every == 0 or self.step == self.recipe.steps)

    def validate(self) -> tuple[dict[str, float], list[Path]]:
        """Score the averaged weights, keep them if they are the best so far; returns the numbers and pictures of it.

        Also looks for new training data.
        """
        assert self._validator is not None
        accelerator = self.accelerator
        with self.average.in_place():
            outcome = self._validator.score(self.task.engine(), accelerator.process_index, accelerator.num_processes)
        self.task.module.train()
        if accelerator.num_processes > 1:
            outcome = self._joined(outcome)
        means = outcome.means()
        self.scores = {"step": self.step, **means}
        name = self.recipe.validation.best
        if name in means and better(name, means[name], self.best[0] if self.best else None):
            self.best = (means[name], self.step)
            self._save_weights(BEST)
        pictures = []
        if self.main:
            pictures = self._validator.draw(outcome.seen, self.out / "pictures", f"step {self.step}")
        return means, pictures

    def refresh(self) -> None:
        """Let the task look for new data, where the next batch is not being drawn."""
        if self.recipe.validate_every and self.step % self.recipe.validate_every == 0:
            self.task.refresh()

    def _joined(self, outcome: Outcome) -> Outcome:
        """The sums of all processes; the pictures stay one's own."""
        both = torch.stack([outcome.total, outcome.count, outcome.asked]).float().to(self.accelerator.device)
        total, count, asked = self.accelerator.reduce(both, "sum").double().cpu()
        return Outcome(total, count, asked, outcome.seen)

    def save(self) -> None:
        """Write the averaged weights for the engine, and everything that ``load`` needs to go on."""
        self._save_weights(WEIGHTS)
        if self.main:
            state = {f"model.{name}": p.detach() for name, p in self.trainable.items()}
            state |= {f"average.{name}": value for name, value in self.average.values.items()}
            state |= {f"task.{name}": value for name, value in self.task.state().items()}
            config = {
                "steps": self.step,
                "skipped": self.skipped,
                "best": self.best,
                "scores": self.scores,
                "recipe": dict(self.recipe.values),
            }
            save_weights(self.out / STATE, state | self._optimisers.state(), config)
        self.accelerator.wait_for_everyone()

    def load(self, path: Path) -> list[str]:
        """Go on from a state that ``save`` wrote; returns the keys of the recipe that have changed since.

        Raises:
            FileNotFoundError, CheckpointError: there is none, it is damaged, or of another network.
        """
        tensors, config = load_weights(path)
        trained = _under(tensors, "model.")
        _fill({name: p.data for name, p in self.trainable.items()}, trained, path)
        if self.average.values:  # a run without averages may go on with some
            _fill(self.average.values, _under(tensors, "average.") or trained, path)
        self.task.load_state(_under(tensors, "task."))
        self._optimisers.load_state(tensors, path)
        self.step, self.skipped = int(config["steps"]), int(config["skipped"])
        self.best = tuple(config["best"]) if config["best"] else None
        self.scores = config["scores"]
        now, then = (json.loads(json.dumps(values)) for values in (dict(self.recipe.values), config["recipe"]))
        return sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))

    def _save_weights(self, name: str) -> None:
        """In the main process only."""
        if self.main:
            recipe = {"name": self.recipe.name, "hash": self.recipe.hash}
            facts = {"steps": self.step, "recipe": recipe, "validation": self.scores}
            if self.best:
                facts["best"] = {"number": self.recipe.validation.best, "value": self.best[0], "step": self.best[1]}
            with self.average.in_place():
                self.task.save(self.out / name, facts)


def _under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _fill(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy tensors of the same names and shapes into ours.

    Raises:
        CheckpointError: they are not the same.
    """
    wrong = sorted(own.keys() ^ tensors.keys())
    wrong += [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if wrong:
        raise CheckpointError(f"{source}: of another network than the recipe's ({wrong[:3]}); give its own recipe")
    for name, tensor in tensors.items():
        own[name].copy_(tensor)
