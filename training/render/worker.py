"""The process that renders, seed after seed, as its parent asks for them; the only part of the job that imports bpy.

``python -m dkt_ros.training.render.worker JOB SCRATCH --threads N``; people call ``dataset``, which starts it.

The parent writes ``{"seed": 1000}`` lines; the worker first says ``{"ready": true}`` (or ``{"broken": "why"}`` and
ends), then one line per seed, the fields of ``Outcome``; its lines begin with ``MARK``. Everything that Blender or
Python print goes to standard error, which the parent keeps as a log. When the parent closes the pipe or dies, the
worker finishes its sequence and ends.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from dkt_ros.training.render.job import Job, JobError, read_job
from dkt_ros.training.render.recipe import NoSuitableScene, SceneRecipe
from dkt_ros.training.sequences import Sequence, save_sequence, sequence_path

#: ``(seed, recipe, threads) -> Sequence``.
Render = Callable[[int, SceneRecipe, int], Sequence]

#: How a line to the parent begins; what a wrapper prints around a worker (a container's banner) does not.
MARK = "dkt-render-worker: "

#: Less free space than this where something went wrong: the disk is the reason.
SPARE_BYTES = 16 * 2**20

#: What a worker needs beyond the standard library: module name -> package.
NEEDS = {"bpy": "bpy", "OpenEXR": "OpenEXR", "pyoidn": "pyoidn", "cv2": "opencv-python-headless", "yaml": "PyYAML"}


@dataclass(frozen=True)
class Outcome:
    """What became of a seed.

    Attributes:
        seed: which.
        kind: "rendered"; "there" (somebody wrote the file meanwhile); "rejected" (for good: no suitable scene, or the
            sequence did not pass the validator); "failed" (an error or a dead worker; the next run tries again);
            "full" (no space left; the job must stop).
        reasons: of a rejection or failure.
        seconds: that it took.
        deaths: one line for each worker that died over this seed, also if a later one rendered it.
    """

    seed: int
    kind: str
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0
    deaths: tuple[str, ...] = ()


def blender() -> Render:
    """The real renderer.

    Raises:
        ImportError: a package is missing.
    """
    from dkt_ros.training.render.generate import render_sequence

    return render_sequence


def main(arguments: list[str] | None = None, renderer: Callable[[], Render] = blender) -> int:
    """Serve the parent until it closes the pipe. ``renderer`` is called once, before the first seed."""
    parser = argparse.ArgumentParser(prog="python -m dkt_ros.training.render.worker", description=__doc__)
    parser.add_argument("job", type=Path, help="DIR/job.json")
    parser.add_argument("scratch", type=Path, help="folder for the sequence being written, on the disk of DIR")
    parser.add_argument("--threads", type=int, default=1, help="of Cycles (default 1)")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    answers = _claim_stdout()
    try:
        job = read_job(options.job)
        render = renderer()
    except (ImportError, OSError, JobError) as error:
        _say(answers, {"broken": _broken(error)})
        return 2
    desk = _Desk(job, options.job.parent, options.scratch, render, options.threads)
    try:
        _say(answers, {"ready": True})
        for line in sys.stdin:
            _say(answers, asdict(desk.render(json.loads(line)["seed"])))
    except BrokenPipeError:
        return 0  # the parent is gone, and what was rendered is on disk
    finally:
        shutil.rmtree(options.scratch, ignore_errors=True)
    return 0


def _claim_stdout() -> TextIO:
    """Keep the pipe to the parent for ourselves: Blender writes to file descriptor 1 as it likes."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _say(answers: TextIO, message: dict[str, Any]) -> None:
    answers.write(f"{MARK}{json.dumps(message)}\n")
    answers.flush()


def _broken(error: Exception) -> str:
    if not isinstance(error, ImportError):
        return str(error)
    package = NEEDS.get(error.name or "")
    what = f"rendering needs {package}, which {sys.executable} lacks" if package else f"{sys.executable}: {error}"
    return f"{what}; run `make render-env`, then .venv-render/bin/python -m dkt_ros.training.render ..."


@dataclass(frozen=True)
class _Desk:
    """Renders, checks and files one sequence at a time."""

    job: Job
    folder: Path
    scratch: Path
    draw: Render
    threads: int

    def render(self, seed: int) -> Outcome:
        start = time.monotonic()
        kind, reasons = self._attempt(seed)
        return Outcome(seed, kind, reasons, round(time.monotonic() - start, 2))

    def _attempt(self, seed: int) -> tuple[str, tuple[str, ...]]:
        from dkt_ros.training.render.validate import check_sequence

        path = sequence_path(self.folder, seed)
        if path.exists():
            return "there", ()
        try:
            sequence = self.draw(seed, self.job.recipe, self.threads)
            if faults := check_sequence(sequence):
                return "rejected", tuple(faults)
            self._file(path, sequence)
            return "rendered", ()
        except NoSuitableScene as error:
            return "rejected", (str(error),)
        except Exception as error:  # whatever Blender comes up with must not end an overnight job
            traceback.print_exc()
            if full := self._full(error):
                return "full", (full,)
            return "failed", (f"{type(error).__name__}: {error}",)

    def _file(self, path: Path, sequence: Sequence) -> None:
        """Write aside and rename, so that the folder never holds a part of a sequence and death leaves no litter."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        aside = self.scratch / path.name
        try:
            save_sequence(aside, sequence)
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)

    def _full(self, error: BaseException | None) -> str:
        """Where there is no space left, "" if that is not what happened. Blender itself does not say so."""
        while error is not None:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                return f"no space left for {error.filename or self.folder} ({os.strerror(error.errno)})"
            error = error.__cause__ or error.__context__
        for folder in (self.folder, Path(tempfile.gettempdir())):
            free = shutil.disk_usage(folder).free
            if free < SPARE_BYTES:
                return f"no space left in {folder} ({free / 2**20:.1f} MiB free)"
        return ""


if __name__ == "__main__":
    sys.exit(main())
