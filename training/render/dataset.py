"""The job: render what is missing of a data set, count everything, stop cleanly, go on later.

No bpy here. Any number of these may run at the same time on one folder, on one machine or many.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from dkt_ros.training.render.contact_sheet import draw_sheet, sheet_path, sheet_seeds
from dkt_ros.training.render.crew import SCRATCH, CannotRender, Crew
from dkt_ros.training.render.records import Records
from dkt_ros.training.render.worker import Outcome
from dkt_ros.training.sequences import sequence_path

#: So many failures in a row, and the reason is not the scenes.
HOPELESS = 5

#: Another machine's scratch folder that nobody wrote to for so long belongs to nobody any more.
STALE_SECONDS = 86_400.0


class DiskFull(RuntimeError):
    """Where the sequences or Blender's temporary files go is full; nothing half-written is left."""


@dataclass
class Tally:
    """What became of the seeds of a run.

    Attributes:
        there: seeds whose sequence was on disk already.
        rejected_before: seeds that an earlier run rejected for good.
        cut: files that had been cut short, removed and rendered again.
        rendered, rejected, failed: of this run.
        deaths: workers that died, whatever became of their seeds.
    """

    there: int = 0
    rejected_before: int = 0
    cut: list[Path] = field(default_factory=list)
    rendered: int = 0
    rejected: int = 0
    failed: int = 0
    deaths: int = 0

    def add(self, outcome: Outcome) -> None:
        name = outcome.kind
        setattr(self, name, getattr(self, name) + 1)
        self.deaths += len(outcome.deaths)

    @property
    def before(self) -> str:
        """What earlier runs left, in words."""
        parts = [f"{self.there} already there"]
        if self.rejected_before:
            parts.append(f"{self.rejected_before} rejected before")
        if self.cut:
            parts.append(f"{len(self.cut)} had been cut short")
        return ", ".join(parts)

    def __str__(self) -> str:
        deaths = f", {self.deaths} worker{'s' * (self.deaths > 1)} died" if self.deaths else ""
        return f"{self.rendered} rendered, {self.rejected} rejected, {self.failed} failed, {self.before}{deaths}"


def run(folder: Path, seeds: range, crew: Crew) -> Tally:
    """Render those of ``seeds`` that ``folder`` lacks, under its ``job.json``.

    Raises:
        DiskFull, CannotRender: the job had to stop; everything finished so far is whole and counted on standard error.
        KeyboardInterrupt: as above.
    """
    records = Records(folder)
    _sweep(folder)
    tally, missing = _survey(folder, seeds, records)
    span = f"seeds {seeds[0]}..{seeds[-1]}" if seeds else "no seeds"
    _tell(f"{span}: {len(missing)} of {len(seeds)} to render ({tally.before})")
    sheets = _Sheets(folder, seeds, missing)
    slow = None if sys.stderr.isatty() else 30.0  # a line per 30 s in the log of a batch job
    try:
        with tqdm(
            total=len(seeds), initial=len(seeds) - len(missing), unit="sequence", smoothing=0.1, mininterval=slow or 0.1
        ) as bar:
            _work(crew, missing, tally, records, sheets, bar)
    except (KeyboardInterrupt, DiskFull, CannotRender):
        _tell(f"stopped: {tally}; every file is whole, run the same command to go on")
        raise
    finally:
        crew.close()
    return tally


def _work(crew: Crew, missing: list[int], tally: Tally, records: Records, sheets: _Sheets, bar: tqdm) -> None:
    in_a_row = 0
    for outcome in crew.outcomes(missing):
        if outcome.kind == "full":
            raise DiskFull(f"{outcome.reasons[0]}; make room")
        tally.add(outcome)
        records.note(outcome)
        if outcome.kind in ("rejected", "failed"):
            bar.write(f"seed {outcome.seed} {outcome.kind}: {'; '.join(outcome.reasons)}", file=sys.stderr)
        elif outcome.deaths:
            bar.write(f"seed {outcome.seed} was {outcome.kind}, but before: {outcome.deaths[-1]}", file=sys.stderr)
        bar.set_postfix_str(f"rejected {tally.rejected}, failed {tally.failed}", refresh=False)
        bar.update()
        in_a_row = in_a_row + 1 if outcome.kind == "failed" else 0
        if in_a_row == HOPELESS:
            raise CannotRender(f"{HOPELESS} seeds failed in a row, the last one so: {outcome.reasons[0]}")
        for fault in sheets.settled(outcome.seed):
            bar.write(fault, file=sys.stderr)
    for fault in sheets.rest():
        bar.write(fault, file=sys.stderr)


def _survey(folder: Path, seeds: range, records: Records) -> tuple[Tally, list[int]]:
    """What is done already, and the seeds that are missing. A file that was cut short is removed."""
    tally, missing = Tally(), []
    rejected = records.rejected()
    for line in records.damaged:
        _tell(f"{line} cannot be read and is ignored")
    names = {entry.name for entry in os.scandir(folder)}
    for seed in seeds:
        path = sequence_path(folder, seed)
        if path.name in names:
            if is_whole(path):
                tally.there += 1
                continue
            _tell(f"{path} was cut short: removed, it is rendered again")
            path.unlink(missing_ok=True)  # another job on the folder may have been first
            tally.cut.append(path)
        if seed in rejected:
            tally.rejected_before += 1
        else:
            missing.append(seed)
    return tally, missing


def is_whole(path: Path) -> bool:
    """Whether a tar has its end: two blocks of zeros. Cheap; ``validate`` reads everything."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        if size < 1536 or size % 512:
            return False
        file.seek(-1024, os.SEEK_END)
        return not any(file.read())


def _sweep(folder: Path) -> None:
    """Remove the scratch folders of processes that are no more."""
    host = platform.node() or "host"
    for scratch in folder.glob(f"{SCRATCH}*"):
        owner = re.fullmatch(r"(.*)-(\d+)-\d+", scratch.name.removeprefix(SCRATCH))
        dead = owner is not None and owner[1] == host and not _alive(int(owner[2]))
        with suppress(FileNotFoundError):  # its owner ended meanwhile
            if dead or time.time() - scratch.stat().st_mtime > STALE_SECONDS:
                shutil.rmtree(scratch, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _tell(text: str) -> None:
    print(text, file=sys.stderr)


class _Sheets:
    """Draws a contact sheet when the last seed of ours that belongs on it is settled.

    Where other shards render the rest of a sheet, each draws what is there; the last one draws it complete.
    """

    def __init__(self, folder: Path, seeds: range, missing: list[int]) -> None:
        self._folder = folder
        self._left = Counter(sheet_seeds(seed) for seed in missing)
        self._all = {sheet_seeds(seed) for seed in seeds}

    def settled(self, seed: int) -> list[str]:
        """What could not be drawn of the sheet of ``seed``, if that was due."""
        block = sheet_seeds(seed)
        self._left[block] -= 1
        return draw_sheet(self._folder, block) if not self._left[block] else []

    def rest(self) -> list[str]:
        """Sheets that an earlier run did not come to."""
        lacking = [block for block in self._all if not sheet_path(self._folder, block).exists()]
        return [fault for block in sorted(lacking, key=min) for fault in draw_sheet(self._folder, block)]
