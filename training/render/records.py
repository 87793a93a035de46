"""What went wrong, kept in ``DIR/records/WRITER.jsonl``: rejected and failed seeds and workers that died.

Each process that runs a job appends to a file of its own, so that machines on a shared folder never mix their lines.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from dkt_ros.training.render.worker import Outcome


def writer_name() -> str:
    """Unlike that of any other process that works on the folder now."""
    return f"{platform.node() or 'host'}-{os.getpid()}"


class Records:
    """The records of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "records"
        self.damaged: list[str] = []

    def note(self, outcome: Outcome) -> None:
        """Append a line, if there is anything to tell."""
        if outcome.kind not in ("rejected", "failed") and not outcome.deaths:
            return
        line = {
            "seed": outcome.seed,
            "outcome": outcome.kind,
            "reasons": outcome.reasons,
            "deaths": outcome.deaths,
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / f"{writer_name()}.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def rejected(self) -> dict[int, tuple[str, ...]]:
        """Seed -> reasons, of everything rejected so far by anybody.

        A line that cannot be read (a machine lost its power over it) is named in ``damaged``; its seed is tried again.
        """
        return {seed: reasons for seed, kind, reasons in self._lines() if kind == "rejected"}

    def _lines(self) -> Iterator[tuple[int, str, tuple[str, ...]]]:
        self.damaged = []
        for path in sorted(self._folder.glob("*.jsonl")):
            for number, text in enumerate(path.read_text(errors="replace").splitlines(), 1):
                try:
                    line = json.loads(text)
                    yield int(line["seed"]), str(line["outcome"]), tuple(map(str, line["reasons"]))
                except (ValueError, KeyError, TypeError):
                    self.damaged.append(f"{path} line {number}")
