"""Train a network for the node from a recipe.

Examples:
  python -m dkt_ros.training.train --recipe nano --data data/scenes --out out/nano
  python -m dkt_ros.training.train --recipe nano --data data/scenes --out out/nano --resume
  accelerate launch --multi_gpu -m dkt_ros.training.train --recipe dvd_1_3b --base dvd_1.1.safetensors ...
  python -m dkt_ros.training.train --recipe nano --data data/scenes --out out/try --steps 20     does it run at all?

DIR of --data holds train/ and val/. OUT receives
  weights.safetensors   the averaged weights as they stand, for the node's --weights
  best.safetensors      those of the best validation so far; its header says which number decided, and all others
  state.safetensors     what --resume needs to go on to the same numbers
  log.csv, curves.png   every number (step, phase, name, value); TensorBoard's files, if it is installed
  pictures/             validation sequences: picture, sensor, answer, truth, error, normals

Ctrl-C or a termination signal ends the step that runs, saves and stops; a second one stops at once.
Exit status: 0 all steps are made, 1 it could not go on (the message says why), 2 wrong arguments, 130 stopped by Ctrl-C
or a termination signal (with --resume it goes on).
docs/training.md explains recipes and tasks.
"""

from __future__ import annotations

import argparse
import errno
import shlex
import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dkt_ros.training.recipe import Recipe
    from dkt_ros.training.trainer import Trainer

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    base: tuple[Path, ...] = (),
    resume: bool = False,
    threads: int | None = None,
    cpu: bool = False,
) -> Trainer:
    """Run every phase of ``recipe``; returns the trainer as it stands at the end, or when it was asked to stop.

    Raises:
        FileExistsError: a training stands in ``out`` and ``resume`` is not set.
        Diverged: the gradients are not finite any more.
        ValueError, OSError, ImportError: see ``Trainer``; or the disk is full, which the message says.
    """
    from dkt_ros.engines.threads import use_threads
    from dkt_ros.training.journal import Journal
    from dkt_ros.training.trainer import STATE, Trainer

    use_threads(threads)
    state = out / STATE
    if state.exists() and not resume:
        raise FileExistsError(f"{state}: a training stands here; add --resume to go on, or give another --out")
    trainer = Trainer(recipe, data, out, base, cpu)
    changed = trainer.load(state) if resume and state.exists() else []
    with Journal(out, recipe, trainer.step, active=trainer.main) as journal, _Stopping(trainer):
        if resume and not state.exists():
            journal.say(f"nothing to resume in {out}; begins at step 0")
        if changed:
            journal.say(f"the recipe has changed since this run began: {', '.join(changed)}")
        journal.say(trainer.task.summary())
        while trainer.step < recipe.steps and not trainer.stop:
            row = trainer.advance()
            journal.step(trainer.step, trainer.phase_name, row)
            if trainer.validates_now:
                numbers, pictures = trainer.validate()
                journal.validation(trainer.step, trainer.phase_name, numbers, pictures, trainer.best)
            trainer.refresh()
            if recipe.save_every and trainer.step % recipe.save_every == 0:
                trainer.save()
                journal.flush()
        trainer.save()
        journal.say(trainer.task.summary())
        journal.finish(trainer.step, trainer.skipped)
        journal.say(_next_command(trainer, data, base))
    trainer.accelerator.end_training()
    return trainer


def _next_command(trainer: Trainer, data: Path, base: tuple[Path, ...]) -> str:
    """Where the result of the run lies, why it is that one, and the command that scores it."""
    from dkt_ros.training.trainer import BEST, WEIGHTS

    number = trainer.recipe.validation.best
    if trainer.best:
        name, why = BEST, f"{number} {trainer.best[0]:.4g} at step {trainer.best[1]}"
    elif trainer.recipe.validate_every:
        name, why = WEIGHTS, f"as they stand: {number} never had a value, so there is no {BEST}"
    else:
        name, why = WEIGHTS, "as they stand: the recipe validates nothing"
    result = trainer.out / name
    scored = data / "val" if (data / "val").is_dir() else "RECORDING"
    words = ["dkt", "eval", scored, "--engine", trainer.task.engine_name, "--weights", *base, result]
    return f"result: {result} ({why})\nscore it: {shlex.join(map(str, words))}"


class _Stopping:
    """While a run lasts, the first SIGINT or SIGTERM asks it to stop after its step, the second interrupts it."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._stop)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        if self._trainer.asked_to_stop:
            raise KeyboardInterrupt
        self._trainer.asked_to_stop = True
        print("\nstops after this step (once more: at once)", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    from dkt_ros.training.recipe import load_recipe

    try:
        recipe = load_recipe(given.recipe)
        if given.steps is not None:
            recipe = recipe.shortened(given.steps)
        trainer = train(recipe, given.data, given.out, tuple(given.base), given.resume, given.threads, given.cpu)
    except KeyboardInterrupt:
        print(f"stopped at once; --resume goes on from what was saved last in {given.out}", file=sys.stderr)
        return 130
    except (OSError, ValueError, ImportError, ArithmeticError) as error:
        text = str(error)
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            text = f"no room left for {given.out} ({error}); what was saved last is whole: make room, then --resume"
        print(f"error: {text}", file=sys.stderr)
        return 1
    return 130 if trainer.step < recipe.steps else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dkt_ros.training.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    recipes = sorted(path.stem for path in (Path(__file__).parent / "recipes").glob("*.yaml"))
    parser.add_argument("--recipe", default="nano", help=f"one of {', '.join(recipes)}, or a YAML file (%(default)s)")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder with train/ and val/")
    parser.add_argument("--out", type=Path, required=True, metavar="OUT", help="folder for weights, state and log")
    parser.add_argument(
        "--base", type=Path, nargs="+", default=[], metavar="PATH", help="published weights that the recipe starts from"
    )
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.safetensors")
    parser.add_argument("--steps", type=int, metavar="N", help="so many in all, every phase shortened: a trial")
    parser.add_argument("--threads", type=int, metavar="N", help="CPU threads of torch")
    parser.add_argument("--cpu", action="store_true", help="stay on the CPU though there is a GPU")
    return parser


if __name__ == "__main__":
    sys.exit(main())
