"""How good a network is on sequences that it did not see: by the path and the protocols of ``dkt eval``.

Numbers are named ``PROTOCOL.REGION.NUMBER`` as in ``evaluation/protocols.py``: ``C.transparent.rel`` are the path's own
metres on glass and clear plastic, ``B.transparent.delta_1_25`` is after the fit to the truth. With ``blind.`` in front
the sensor was taken away. Each is the mean over the sequences that have it; how many have not is counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from dkt_ros.engines import Engine
from dkt_ros.evaluation.evaluate import Recording, evaluate
from dkt_ros.evaluation.means import NETWORK, OURS, number_of
from dkt_ros.evaluation.protocols import Range
from dkt_ros.evaluation.recordings import find_recordings, load_recording
from dkt_ros.frames import Estimate
from dkt_ros.perception import Perception, PerceptionSettings
from dkt_ros.training.recipe import Validation
from dkt_ros.training.sequences import load_video
from dkt_ros.training.sources.tars import refuse_held_out

_SEEING = (
    "C.transparent.rel",
    "C.transparent.rmse_m",
    "C.transparent.delta_1_25",
    "C.opaque.rel",
    "A.all.rel",
    "B.transparent.rel",
    "B.transparent.delta_1_25",
    "normals.transparent.median_deg",
)
_BLIND = ("A.all.rel", "B.transparent.rel", "B.transparent.delta_1_25")
NUMBERS = (*_SEEING, *(f"blind.{name}" for name in _BLIND))
#: Endings of numbers of which more is better; of all others less is.
_MORE_IS_BETTER = ("delta_1_05", "delta_1_10", "delta_1_25", "coverage")


@dataclass(frozen=True)
class Seen:
    """A sequence and what was answered, for a picture of it."""

    recording: Recording
    estimates: Sequence[Estimate]


@dataclass
class Outcome:
    """Sums over sequences, so that processes can add theirs up; each (len(NUMBERS),) float64.

    Attributes:
        total: of the numbers.
        count: of the sequences that have the number.
        asked: of all sequences.
        seen: some, for pictures.
    """

    total: torch.Tensor = field(default_factory=lambda: torch.zeros(len(NUMBERS), dtype=torch.float64))
    count: torch.Tensor = field(default_factory=lambda: torch.zeros(len(NUMBERS), dtype=torch.float64))
    asked: torch.Tensor = field(default_factory=lambda: torch.zeros(len(NUMBERS), dtype=torch.float64))
    seen: list[Seen] = field(default_factory=list)

    def add(self, numbers: dict[str, float | None]) -> None:
        """One sequence's numbers; None or not finite is left out of the mean, and counted."""
        self.asked += 1
        for index, name in enumerate(NUMBERS):
            value = numbers.get(name)
            if value is not None and np.isfinite(value):
                self.total[index] += value
                self.count[index] += 1

    def means(self) -> dict[str, float]:
        """By name, without those that no sequence had; and under "NAME.unscored" how many had not, if any.

        A sequence has no number where it has no such pixels, or where a fit was refused (near and far swapped).
        """
        means = {}
        for name, total, count, asked in zip(NUMBERS, self.total, self.count, self.asked, strict=True):
            if count:
                means[name] = float(total / count)
            if asked > count:
                means[f"{name}.unscored"] = float(asked - count)
        return means


class Validator:
    """Scores engines on the sequences of a folder.

    Raises:
        RecordingError, FileNotFoundError: there are none.
        ValueError: one is kept for the final scores or damaged, or ``settings.best`` is no number that is computed.
    """

    def __init__(self, folder: Path, settings: Validation) -> None:
        if settings.best not in NUMBERS:
            raise ValueError(f"validation: best {settings.best!r}; must be one of {', '.join(NUMBERS)}")
        self._settings, self._limits = settings, Range(*settings.limits)
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; the DIR of --data holds train/ and val/. Give that one, render some"
                " sequences for validation into val/ (docs/training.md), or set validate_every: 0"
            )
        files = find_recordings(folder)
        if files == [folder]:
            raise FileNotFoundError(f"{folder}: no sequences; render some into it, or set validate_every: 0")
        for path in files:
            if path.suffix == ".tar":  # by what it says, not by its name: the published set's have such numbers, too
                refuse_held_out(path, load_video(path, [0]))
        self.files = files[: settings.sequences or None]

    def score(self, engine: Engine, process: int = 0, processes: int = 1) -> Outcome:
        """The share of the sequences that is process number ``process``'s."""
        outcome = Outcome()
        seeing = Perception(engine)
        blind = Perception(engine, PerceptionSettings(use_sensor_depth=False))
        for path in self.files[process::processes]:
            recording = load_recording(path)
            estimates = self._estimates(recording, seeing)
            scores = evaluate(recording, estimates, self._limits, groups=()).scores
            numbers = {name: number_of(scores[OURS], *name.split(".")) for name in _SEEING}
            unaided = scores[NETWORK]  # of an engine that does not look at the sensor
            if engine.card.reads_sensor_depth:
                alone = self._estimates(recording, blind)
                unaided = evaluate(recording, alone, self._limits, groups=()).scores[OURS]
            outcome.add(numbers | {f"blind.{name}": number_of(unaided, *name.split(".")) for name in _BLIND})
            if len(outcome.seen) < self._settings.pictures:
                outcome.seen.append(Seen(recording, estimates))
        return outcome

    def draw(self, seen: Sequence[Seen], folder: Path, title: str) -> list[Path]:
        """Contact sheets: RGB, sensor, answer, truth, error, provenance, normals; returns the files."""
        from dkt_ros.evaluation.pictures import contact_sheet

        files = []
        for each in seen:
            files.append(folder / f"validation_{each.recording.name}.png")
            contact_sheet(each.recording, each.estimates, files[-1], self._limits, moments=2, title=title)
        return files

    def _estimates(self, recording: Recording, perception: Perception) -> list[Estimate]:
        perception.reset()
        frames = list(islice(recording.frames, self._settings.frames or None))
        return list(perception.run_recording(lambda: frames))


def better(name: str, value: float, than: float | None) -> bool:
    """Whether a number is an improvement; anything is over None."""
    if than is None:
        return True
    return value > than if name.endswith(_MORE_IS_BETTER) else value < than
