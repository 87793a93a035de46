"""``python -m dkt_ros.training.train --recipe nano --data DIR --out DIR [--resume]``: train a completion engine.

DIR of ``--data`` holds ``train/`` and ``val/`` with rendered sequences. OUT receives ``weights.safetensors`` (the
averaged weights, as the engine loads them), ``state.safetensors`` (to resume) and ``log.csv``. Ctrl-C or a termination
signal saves and stops.
"""

from __future__ import annotations

import argparse
import csv
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dkt_ros.training.recipe import Recipe
    from dkt_ros.training.trainer import Trainer


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False, threads: int | None = None) -> Trainer:
    """Run every phase of ``recipe``; returns the trainer as it stands at the end or at Ctrl-C."""
    import torch  # here and not above, so that --help is instant
    from tqdm import tqdm

    from dkt_ros.training.trainer import Trainer

    if threads:
        torch.set_num_threads(threads)
    state = out / "state.safetensors"
    if state.exists() and not resume:
        raise FileExistsError(f"{state}: a training stands here; add --resume to go on, or give another --out")
    trainer = Trainer(recipe, data)
    if resume and state.exists():
        trainer.load(state)
    out.mkdir(parents=True, exist_ok=True)
    with open(out / "log.csv", "a", newline="") as file, tqdm(total=recipe.steps, initial=trainer.step) as bar:
        writer = csv.writer(file)
        try:
            while trainer.step < recipe.steps:
                row = trainer.advance()
                writer.writerows((trainer.step, trainer.phase_name, key, f"{value:.6g}") for key, value in row.items())
                bar.update()
                bar.set_postfix(phase=trainer.phase_name, loss=f"{row['total']:.4f}", refresh=False)
                if trainer.step % recipe.save_every == 0:
                    trainer.save(out)
                    file.flush()
        except KeyboardInterrupt:
            print(f"stopped at step {trainer.step}; go on with --resume", file=sys.stderr)
        trainer.save(out)
    return trainer


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m dkt_ros.training.train", description=__doc__)
    parser.add_argument("--recipe", default="nano", help="a name in training/recipes or a YAML file")
    parser.add_argument("--data", type=Path, required=True, help="folder with train/ and val/")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, state and log")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.safetensors")
    parser.add_argument("--threads", type=int, help="CPU threads of torch")
    given = parser.parse_args(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    from dkt_ros.training.recipe import load_recipe

    try:
        train(load_recipe(given.recipe), given.data, given.out, given.resume, given.threads)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
