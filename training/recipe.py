"""A training run as plain values, read from YAML. No torch."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import yaml

RECIPES = Path(__file__).parent / "recipes"
PRECISIONS = ("float32", "bfloat16")
#: Values of the same types as those of ``Recipe`` and of ``Phase`` that are no tables, see ``like``.
_PLAIN: Mapping[str, Any] = {
    "task": "nano",
    "seed": 1,
    "precision": "float32",
    "accumulate": 1,
    "ema": 0.999,
    "checkpointing": True,
    "validate_every": 500,
    "save_every": 250,
}
_PHASE: Mapping[str, Any] = {"name": "flow", "steps": 1000, "rate": (1e-5, 1e-5), "warmup": 50, "validate": True}


@dataclass(frozen=True)
class Phase:
    """``steps`` optimiser steps of one kind.

    Attributes:
        name: for the log.
        steps: how many.
        rate: learning rate at the first and the last step, cosine between.
        warmup: steps over which the rate rises from nothing.
        validate: whether its network gives answers worth scoring.
        options: the phase's other keys, which are the task's.
    """

    name: str
    steps: int
    rate: tuple[float, float]
    warmup: int = 50
    validate: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def rate_at(self, step: int) -> float:
        """Learning rate at ``step`` of this phase."""
        first, last = self.rate
        share = min(1.0, step / max(1, self.steps - 1))
        cosine = last + (first - last) * 0.5 * (1 + math.cos(math.pi * share))
        return cosine * min(1.0, (step + 1) / max(1, self.warmup))


@dataclass(frozen=True)
class Optimiser:
    """AdamW's numbers; ``weight_decay`` is Muon's, too. ``clip``: the largest norm of all gradients together."""

    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    clip: float = 1.0


@dataclass(frozen=True)
class Validation:
    """How the run is judged on DATA/val, by the path and the protocols of ``dkt eval``.

    Attributes:
        sequences: at most so many, in order of their names; 0 takes all.
        frames: at most so many of each, from the first; 0 takes all.
        limits: metres; ground truth outside is not scored.
        pictures: contact sheets of so many sequences.
        best: the number that decides which weights are kept as the best; see ``validation.py`` for the names.
    """

    sequences: int = 0
    frames: int = 0
    limits: tuple[float, float] = (0.3, 1.5)
    pictures: int = 2
    best: str = "C.transparent.rel"


@dataclass(frozen=True)
class Recipe:
    """See ``recipes/nano.yaml`` for an example and ``docs/training.md`` for the meaning of each value.

    Attributes:
        name: of the file, without ending.
        task: a module of ``dkt_ros.training.tasks``.
        seed: of all draws.
        phases: one after the other.
        precision: "bfloat16" computes the network under autocast; parameters and optimiser stay float32.
        accumulate: batches per optimiser step, over all processes together: N processes take an Nth each.
        ema: what the averaged weights keep of themselves at a step; 0 for no averaging.
        checkpointing: recompute activations in the backward pass instead of keeping them.
        validate_every, save_every: optimiser steps; also at the end. 0: no validation at all; saved at the end only.
        start_from: weights to begin with, as the task understands it; None begins afresh.
        data, lora, model: the task's.
        values: all of it as it was read.
    """

    name: str
    task: str
    seed: int
    phases: tuple[Phase, ...]
    precision: str = "float32"
    accumulate: int = 1
    ema: float = 0.0
    optimiser: Optimiser = field(default_factory=Optimiser)
    checkpointing: bool = False
    validate_every: int = 500
    save_every: int = 250
    validation: Validation = field(default_factory=Validation)
    start_from: str | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    lora: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Of all phases together."""
        return sum(phase.steps for phase in self.phases)

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits of what the recipe says, whatever its name, comments and order of keys."""
        return hashlib.sha256(json.dumps(self.values, sort_keys=True).encode()).hexdigest()[:12]

    def at(self, step: int) -> tuple[int, int]:
        """(index of the phase, step within it) of a global step; past the end: the last phase's end."""
        for index, phase in enumerate(self.phases):
            if step < phase.steps:
                return index, step
            step -= phase.steps
        return len(self.phases) - 1, self.phases[-1].steps

    def shortened(self, steps: int) -> Recipe:
        """The same with ``steps`` steps in all, shared out as before but at least one for each phase (for a trial)."""
        if steps < len(self.phases):
            raise ValueError(f"{steps} steps: recipe {self.name} has {len(self.phases)} phases, so take that many")
        left, before, shares = steps, self.steps, []
        for index, phase in enumerate(self.phases):
            after = len(self.phases) - index - 1
            shares.append(left if after == 0 else max(1, min(left - after, round(left * phase.steps / before))))
            left, before = left - shares[-1], before - phase.steps
        return replace(self, phases=tuple(replace(p, steps=n) for p, n in zip(self.phases, shares, strict=True)))


def load_recipe(name: str | Path) -> Recipe:
    """Read a recipe by name or path.

    Raises:
        FileNotFoundError: neither a bundled recipe nor a file.
        ValueError: not YAML, a key is missing or unknown, or a value cannot be.
    """
    path = Path(name) if str(name).endswith((".yaml", ".yml")) else RECIPES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise FileNotFoundError(f"{path}: no such recipe; bundled are: {known}")
    try:
        values = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not YAML ({error}); correct it") from error
    return parse_recipe(values, path.stem)


def parse_recipe(values: Mapping[str, Any], name: str = "recipe") -> Recipe:
    """Plain values -> Recipe; raises ValueError as ``load_recipe`` does."""
    where = f"recipe {name}"
    _check_keys(values, Recipe, where, ours=("name", "values"))
    for key in ("data", "lora", "model"):
        table(values.get(key, {}), f"{where}: {key}")
    phases = tuple(_phase(phase, where) for phase in listed(values["phases"], f"{where}: phases"))
    recipe = Recipe(
        **{
            **values,
            **{key: like(kind, values[key], f"{where}: {key}") for key, kind in _PLAIN.items() if key in values},
            "name": name,
            "values": values,
            "phases": phases,
            "optimiser": _part(values.get("optimiser", {}), Optimiser, f"{where}: optimiser"),
            "validation": _part(values.get("validation", {}), Validation, f"{where}: validation"),
        }
    )
    wrong = {
        f"precision {recipe.precision!r}: one of {PRECISIONS}": recipe.precision not in PRECISIONS,
        f"accumulate {recipe.accumulate}: at least 1": recipe.accumulate < 1,
        f"ema {recipe.ema}: from 0 to below 1": not 0 <= recipe.ema < 1,
        "phases: at least one, each of at least one step": not phases or any(p.steps < 1 for p in phases),
        "validate_every, save_every: 0 or more": recipe.validate_every < 0 or recipe.save_every < 0,
    }
    for message in (text for text, is_wrong in wrong.items() if is_wrong):
        raise ValueError(f"{where}: {message}")
    return recipe


def refuse_unknown(values: Mapping[str, Any], known: Collection[str], where: str) -> None:
    """Raise ValueError if ``values`` is no mapping, or naming its keys that are not among ``known``, and what is."""
    if unknown := sorted(table(values, where).keys() - set(known), key=str):
        raise ValueError(f"{where}: unknown {unknown}; known are {sorted(known)}")


def table(value: Any, where: str) -> Mapping[str, Any]:
    """``value`` if it is a mapping, else ValueError."""
    if not isinstance(value, Mapping):
        raise ValueError(f"{where}: {value!r} is no table of keys and values")
    return value


def listed(value: Any, where: str) -> Sequence[Any]:
    """``value`` if it is a list, else ValueError."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}: {value!r} is no list")
    return value


def _phase(values: Mapping[str, Any], where: str) -> Phase:
    where = f"{where}: phase {table(values, f'{where}: phases').get('name', '?')}"
    if missing := sorted({"name", "steps", "rate"} - values.keys()):
        raise ValueError(f"{where}: missing {missing}")
    return Phase(
        **{key: like(kind, values[key], f"{where}: {key}") for key, kind in _PHASE.items() if key in values},
        options={key: value for key, value in values.items() if key not in _PHASE},
    )


def _part(values: Mapping[str, Any], kind: Any, where: str) -> Any:
    """A dataclass of numbers; lists become tuples."""
    _check_keys(values, kind, where)
    alike = kind()
    return kind(**{key: like(getattr(alike, key), value, f"{where}: {key}") for key, value in values.items()})


def like(default: Any, value: Any, where: str) -> Any:
    """``value`` as of the default's type (text, bool, finite number or a tuple): YAML takes 1e-4 for a word.

    Raises:
        ValueError: it is of another.
    """
    if isinstance(default, tuple):
        if not isinstance(value, (list, tuple)) or len(value) != len(default):
            raise ValueError(f"{where} {value!r}: expected {len(default)} numbers, such as {list(default)}")
        return tuple(like(one, each, where) for one, each in zip(default, value, strict=True))
    if isinstance(default, str):
        return str(value)
    if isinstance(default, bool) and isinstance(value, bool):
        return value
    if isinstance(default, bool):
        raise ValueError(f"{where} {value!r}: expected true or false")
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where} {value!r}: expected a number, such as {default}") from error
    if not math.isfinite(number):
        raise ValueError(f"{where} {value!r}: expected a finite number, such as {default}")
    if not isinstance(default, int):
        return number
    if not number.is_integer():
        raise ValueError(f"{where} {value!r}: expected a whole number, such as {default}")
    return int(number)


def _check_keys(values: Mapping[str, Any], kind: Any, where: str, ours: Collection[str] = ()) -> None:
    own = [f for f in fields(kind) if f.name not in ours]
    table(values, where)
    needed = {f.name for f in own if f.default is MISSING and f.default_factory is MISSING}
    if missing := sorted(needed - values.keys()):
        raise ValueError(f"{where}: missing {missing}")
    refuse_unknown(values, {f.name for f in own}, where)
