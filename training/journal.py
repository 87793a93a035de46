"""What a run tells: ``log.csv``, TensorBoard, the bar, and ``curves.png`` at the end."""

from __future__ import annotations

import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from dkt_ros.files import written_whole
from dkt_ros.training.curves import draw_curves, read_log
from dkt_ros.training.recipe import Recipe

LOG, CURVES, BOARD = "log.csv", "curves.png", "tensorboard"


class Journal:
    """Silent in all processes but the main one.

    Args:
        out: the run's folder.
        step: where the run begins or goes on: what the log has after it, from a run that ended without saving, goes.
        active: whether this process tells.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, out: Path, recipe: Recipe, step: int, active: bool) -> None:
        self._out, self._recipe, self._active = out, recipe, active
        if not active:
            return
        out.mkdir(parents=True, exist_ok=True)
        log = out / LOG
        if log.exists():
            _forget_after(log, step)
        self._file = open(log, "a", newline="")  # noqa: SIM115 - closed by __exit__
        self._writer = csv.writer(self._file)
        self._board = _board(out / BOARD, step)
        self._bar = tqdm(total=recipe.steps, initial=step, unit="step")

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._active:
            self._bar.close()
            if self._board:
                self._board.close()
            self._file.close()

    def say(self, text: str) -> None:
        """A line above the bar."""
        if self._active:
            tqdm.write(text, file=sys.stderr)

    def step(self, step: int, phase: str, row: Mapping[str, float]) -> None:
        """The numbers of one step; "total" is shown."""
        if self._active:
            self._write(step, phase, row, "train")
            self._bar.update()
            self._bar.set_postfix(phase=phase, loss=f"{row['total']:.4f}", refresh=False)

    def validation(
        self,
        step: int,
        phase: str,
        numbers: Mapping[str, float],
        pictures: Sequence[Path],
        best: tuple[float, int] | None,
    ) -> None:
        """The numbers and pictures of a validation; ``best`` is the best value so far and its step."""
        if not self._active:
            return
        self._write(step, phase, {f"val_{name}": value for name, value in numbers.items()}, "validation")
        deciding = self._recipe.validation.best
        if best is None:
            without = f"step {step}: no sequence has a value of {deciding}, so"
            self.say(f"{without} best.safetensors is not written; take weights.safetensors")
        elif best[1] == step:
            self._write(step, phase, {f"best_{deciding}": best[0]}, "validation")
            self.say(f"step {step}: the best so far, {deciding} {best[0]:.4g}")
        if self._board:
            for path in pictures:
                self._board.add_image(f"validation/{path.stem}", _picture(path), step, dataformats="HWC")
        self.flush()

    def flush(self) -> None:
        """Bring what was told so far to the disk."""
        if self._active:
            self._file.flush()
            if self._board:
                self._board.flush()

    def finish(self, step: int, skipped: int) -> None:
        """Draw the curves, and say how the run ended."""
        if not self._active:
            return
        self.flush()
        draw_curves(read_log(self._out / LOG), self._out / CURVES, f"recipe {self._recipe.name}, {step} steps")
        if skipped:
            self.say(f"{skipped} of {step} steps had gradients that were not finite and changed nothing")
        if step < self._recipe.steps:
            self.say(f"stopped at step {step} of {self._recipe.steps}; go on with --resume")

    def _write(self, step: int, phase: str, row: Mapping[str, float], chapter: str) -> None:
        self._writer.writerows((step, phase, name, f"{value:.6g}") for name, value in row.items())
        if self._board:
            for name, value in row.items():
                self._board.add_scalar(f"{chapter}/{name.removeprefix('val_')}", value, step)


def _forget_after(log: Path, step: int) -> None:
    """Leave the rows up to ``step``; a row cut short by a crash goes, too."""
    with open(log, newline="") as file:
        rows = [row for row in csv.reader(file) if len(row) == 4 and row[0].isdigit() and int(row[0]) <= step]
    with written_whole(log) as temporary, open(temporary, "w", newline="") as file:
        csv.writer(file).writerows(rows)


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("TensorBoard is not installed (pip install 'dkt_ros[train]'): log.csv has all numbers", file=sys.stderr)
        return None
    return SummaryWriter(str(folder), purge_step=step)


def _picture(path: Path) -> Any:
    """(H, W, 3) uint8 RGB."""
    import cv2

    return cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
