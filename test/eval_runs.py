"""Runs of ``dkt eval`` for tests: two scripted engines, a sequence to read, the report that was written."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dkt_ros import cli
from dkt_ros.engines import Engine, EngineOptions
from dkt_ros.frames import Clip, Prediction
from dkt_ros.training.sequences import save_sequence

from . import rendered
from .scenes import ScriptedEngine

FRAMES = 10


class Bent(ScriptedEngine):
    """Another engine: what it says is bent, so that its numbers are its own; and its clips are shorter."""

    def __init__(self) -> None:
        super().__init__(changing=False)
        self.card = replace(self.card, name="dvd", clip_length=5, overlap=1)

    def predict(self, clip: Clip, trust: Any = None) -> Prediction:
        said = super().predict(clip, trust)
        self.clips.clear()
        return replace(said, disparity=(said.disparity**1.5).astype(np.float32))


def script_engines(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, EngineOptions]]:
    """From now on "dvd" is ``Bent`` and every other engine knows the truth; returns which are loaded, as they are."""
    asked: list[tuple[str, EngineOptions]] = []

    def load(name: str, options: EngineOptions) -> Engine:
        asked.append((name, options))
        return Bent() if name == "dvd" else ScriptedEngine(changing=False)

    monkeypatch.setattr("dkt_ros.engines.load_engine", load)
    return asked


def sequence_tar(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``FRAMES`` frames to evaluate. The HTML has its own tests and takes seconds: here it says what it was given."""

    def write(path: Path, report: dict[str, Any], timing: dict[str, Any], galleries: Sequence[Any]) -> None:
        path.write_text(f"{' '.join(report['command'])}\n{sorted(timing)}\n{[each.name for each in galleries]}")

    monkeypatch.setattr("dkt_ros.evaluation.html.write_html", write)
    path = folder / "000007.tar"
    save_sequence(path, rendered.sequence(FRAMES))
    return path


def evaluated(tar: Path, *options: str, out: str = "out") -> dict[str, Any]:
    """The report of one more run."""
    folder = tar.parent / out
    assert cli.main(["eval", str(tar), *options, "--out", str(folder)]) == 0
    report: dict[str, Any] = json.loads((folder / "report.json").read_text(), parse_constant=pytest.fail)
    return report
