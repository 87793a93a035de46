"""A training run as plain values, read from YAML."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from dkt_ros.engines.wan import WanSizes

RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Phase:
    """``steps`` optimiser steps of one kind.

    Attributes:
        name: for the log.
        trains: "codec" (reconstruct pictures) or "all" (the whole network on the final answer).
        steps: how many.
        rate: learning rate at the first and the last step, cosine between.
        frames: frames per clip -> how often.
    """

    name: str
    trains: str
    steps: int
    rate: tuple[float, float]
    frames: dict[int, float]

    def rate_at(self, step: int) -> float:
        """Learning rate at ``step`` of this phase, after a warm-up of 50 steps."""
        first, last = self.rate
        share = min(1.0, step / max(1, self.steps - 1))
        cosine = last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))
        return cosine * min(1.0, (step + 1) / 50)


@dataclass(frozen=True)
class Recipe:
    """See ``recipes/nano.yaml`` for what each value means."""

    seed: int
    bf16: bool
    validate_every: int
    save_every: int
    ema: float
    weight_decay: float
    model: WanSizes
    phases: tuple[Phase, ...]
    clips_per_step: dict[int, int]

    @property
    def steps(self) -> int:
        """Of all phases together."""
        return sum(phase.steps for phase in self.phases)

    def at(self, step: int) -> tuple[int, int]:
        """(index of the phase, step within it) of a global step; past the end: the last phase's end."""
        for index, phase in enumerate(self.phases):
            if step < phase.steps:
                return index, step
            step -= phase.steps
        return len(self.phases) - 1, self.phases[-1].steps


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by name or path.

    Raises:
        FileNotFoundError: neither a bundled recipe nor a file.
        ValueError: a key is missing or unknown, or a phase trains something unheard of.
    """
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise FileNotFoundError(f"{path}: no such recipe; bundled are: {known}")
    return parse_recipe(yaml.safe_load(path.read_text()), str(path))


def parse_recipe(values: dict[str, Any], source: str = "recipe") -> Recipe:
    """Plain values -> Recipe; raises ValueError as ``load_recipe`` does."""
    wanted = {f.name for f in fields(Recipe)}
    if wanted != values.keys():
        raise ValueError(
            f"{source}: missing {sorted(wanted - values.keys())}, unknown {sorted(values.keys() - wanted)}"
        )
    phases = tuple(Phase(**{**phase, "rate": tuple(phase["rate"])}) for phase in values["phases"])
    for phase in phases:
        if phase.trains not in ("codec", "all"):
            raise ValueError(f"{source}: phase {phase.name} trains {phase.trains!r}; must be 'codec' or 'all'")
        if not phase.frames.keys() <= values["clips_per_step"].keys():
            raise ValueError(
                f"{source}: phase {phase.name}: clips_per_step lacks some of {sorted(phase.frames)} frames"
            )
    return Recipe(**{**values, "model": WanSizes(**values["model"]), "phases": phases})
