"""``dkt eval --against``: what our answer is compared with, and the paths of other engines."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from dkt_ros.choices import ENGINE_NAMES
from dkt_ros.commands import CommandError

#: Names of ``evaluation.baselines.GROUPS``, here because those import what makes ``--help`` slow.
BASELINES = ("raw", "fills", "plane")
NOTHING = "none"
HELP = (
    f"what to compare with: {', '.join(BASELINES)} (raw sensor; classical fills; plane fit), another engine"
    f" ({', '.join(ENGINE_NAMES)}) as NAME or NAME={os.pathsep.join(('WEIGHTS', 'MORE'))}, or {NOTHING}"
)
#: What a user chose about our engine that holds for the others, too: it says nothing about a model.
_SHARED = ("device", "threads")
#: It runs on the CPU and has no such choice.
_BUNDLED = "nano"


@dataclass(frozen=True)
class Against:
    """What to compare with. ``engines``: (name, weights), each name once."""

    baselines: tuple[str, ...]
    engines: tuple[tuple[str, tuple[Path, ...]], ...]


def parse(words: str) -> Against:
    """``--against`` taken apart.

    Raises:
        CommandError: a name that there is not, or one that stands there twice.
    """
    names = [word.strip() for word in words.split(",")]
    if names == [NOTHING]:
        return Against((), ())
    engines: list[tuple[str, tuple[Path, ...]]] = []
    for word in names:
        name, _, weights = word.partition("=")
        if name in BASELINES and not weights:
            continue
        if name not in ENGINE_NAMES:
            raise CommandError(
                f"--against {word!r}: no such baseline or engine; there are {', '.join((*BASELINES, *ENGINE_NAMES))},"
                f" or {NOTHING} by itself; an engine takes weights as NAME=PATH"
            )
        engines.append((name, tuple(Path(part) for part in weights.split(os.pathsep) if part)))
    for name in (name for name, _ in engines):
        if [each for each, _ in engines].count(name) > 1:
            raise CommandError(f"--against names engine {name} twice, and a row is called by its engine; give it once")
    return Against(tuple(name for name in BASELINES if name in names), tuple(engines))


def arguments_of(name: str, weights: Sequence[Path], ours: Namespace) -> Namespace:
    """The arguments of another engine: its own defaults, with the device and the threads of ours."""
    from dkt_ros.engines import EngineOptions

    shared = {each.name: None for each in fields(EngineOptions)}
    shared |= {each: getattr(ours, each) for each in _SHARED if not (name == _BUNDLED and each == "device")}
    return Namespace(
        **{
            **vars(ours),
            **shared,
            "engine": name,
            "weights": list(weights) or None,
            "clip_length": None,
            "overlap": None,
        }
    )
