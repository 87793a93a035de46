"""``python -m dkt_ros.training.render``: a data set of scenes with glass on them, rendered with Blender and checked."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from dkt_ros.training.render.mesh_commands import add_commands

if TYPE_CHECKING:
    from dkt_ros.training.render.crew import Crew
    from dkt_ros.training.render.job import Job

#: What a new job renders unless it is told otherwise; what training must never see begins where training refuses it.
FIRST, FIRST_UNSEEN, COUNT = 1000, 9600, 50

DATASET = """
Render the sequences of a recipe: RGB, depth of the first surface, depth without the transparent objects, normals,
materials, instances, camera and a simulated RGB-D sensor, one tar per seed in the layout of TransPhy3D.

The same command goes on where it stopped: what is there is not rendered again. A seed always gives the same depth.
Every sequence is checked before it is written; a bad one is named in DIR/records and never written.
"""

DATASET_END = """
examples:
  ... dataset --recipe full --out data/train --seed 1000 --count 300       begin a job; again: go on with it
  ... dataset --out data/train                                             go on with the job of that folder
  ... dataset --recipe my.yaml --out data/mine --size 320x192 --samples 16
  ... dataset --out data/train --shard $SLURM_ARRAY_TASK_ID/16             one of 16 equal jobs, on any machine
  ... dataset --out data/train --cluster                                   on all machines of the running Ray cluster

seeds by convention: training 1000..8999, validation 9000..9019, held-out 9500..9599, unseen 9600..9699

DIR/job.json        what the job is made of; another job in the same folder is refused
DIR/SSSSSS.tar      a sequence
DIR/sheets/         a picture of every 50 scenes
DIR/records/        rejected and failed seeds with their reasons, JSON lines
DIR/logs/           what Blender said

exit status: 0 everything asked for is there or rejected for good, 1 some seeds failed (the same command tries them
again), 2 cannot work at all (arguments, another job in the folder, no Blender), 3 disk full, 130 stopped by Ctrl-C or
SIGTERM
"""

VALIDATE_END = """
exit status: 0 all are good, 1 some are not, 2 there is nothing to check
"""


def _size(text: str) -> tuple[int, int]:
    try:
        width, height = (int(part) for part in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, for example 160x96") from None
    if not (16 <= width <= 4096 and 16 <= height <= 4096):
        raise argparse.ArgumentTypeError(f"{text}: width and height must be 16 to 4096")
    return width, height


def _at_least(least: int) -> type[int]:
    def read(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} must be at least {least}")
        return value

    read.__name__ = "whole number"  # argparse names it in its message
    return read  # type: ignore[return-value]


def _shard(text: str) -> object:
    from dkt_ros.training.render.shards import parse_shard

    try:
        return parse_shard(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="python -m dkt_ros.training.render",
        description="Data sets of scenes with glass on them: rendered with Blender, checked, looked at.",
    )
    commands = p.add_subparsers(dest="command", required=True, metavar="COMMAND")
    raw = argparse.RawDescriptionHelpFormatter
    dataset = commands.add_parser(
        "dataset", help="render a data set, or go on with one", formatter_class=raw, description=DATASET,
        epilog=DATASET_END,
    )  # fmt: skip
    dataset.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the data set")
    new = dataset.add_argument_group("a new job (the recipe's own values unless said otherwise)")
    new.add_argument("--recipe", metavar="NAME", help="full, unseen, or a .yaml file; without it: the job in DIR")
    new.add_argument(
        "--seed",
        type=_at_least(0),
        metavar="FIRST",
        help=f"first seed (default {FIRST}; of recipe unseen {FIRST_UNSEEN})",
    )
    new.add_argument("--count", type=_at_least(1), metavar="N", help=f"how many successive seeds (default {COUNT})")
    new.add_argument("--size", type=_size, metavar="WxH", help="of a picture, for example 160x96 or 320x192")
    new.add_argument("--frames", type=_at_least(1), metavar="N", help="per sequence")
    new.add_argument("--samples", type=_at_least(1), metavar="N", help="per pixel, before denoising (8; 16 at 320x192)")
    new.add_argument("--extend", action="store_true", help="the job in DIR gets these seeds too")
    work = dataset.add_argument_group("who does it")
    work.add_argument("--workers", type=_at_least(1), metavar="N", help="processes (default: one per processor)")
    work.add_argument("--threads", type=_at_least(1), default=1, metavar="N", help="of each process (default 1)")
    work.add_argument("--shard", type=_shard, metavar="I/N", help="only the I-th of N equal shares, counted from 1")
    work.add_argument(
        "--cluster", nargs="?", const="auto", metavar="ADDRESS",
        help="through Ray: the running cluster, the one whose head is at ADDRESS, or `local` to try it",
    )  # fmt: skip
    work.add_argument("--renderer", metavar="COMMAND", help="of a worker process, for example in a container")
    validate = commands.add_parser(
        "validate", help="check every sequence of a folder", formatter_class=raw, epilog=VALIDATE_END,
        description="Read every sequence of a folder whole, check that its parts agree, and print how its sensor "
        "depth compares with a real sensor's. Needs no Blender.",
    )  # fmt: skip
    validate.add_argument("folder", type=Path, metavar="DIR", help="with SSSSSS.tar files")
    validate.set_defaults(run=_validate)
    add_commands(commands)
    return p


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    p = parser()
    options = p.parse_args(arguments)
    if options.command != "dataset":
        status: int = options.run(options)
        return status
    new = ("seed", "count", "size", "frames", "samples", "extend")
    given = [name for name in new if getattr(options, name) not in (None, False)]
    if options.recipe is None and given:
        p.error(f"--{given[0]} belongs to a new job: give --recipe too, or leave it out to go on with the job of --out")
    return _dataset(options)


def _validate(options: argparse.Namespace) -> int:
    from dkt_ros.training.render.checking import validate

    return validate(options.folder)


def _dataset(options: argparse.Namespace) -> int:
    import errno
    import signal

    from dkt_ros.training.render.crew import CannotRender
    from dkt_ros.training.render.dataset import DiskFull, run
    from dkt_ros.training.render.job import JobError, settle
    from dkt_ros.training.render.shards import Shard

    try:
        job = settle(options.out, _wanted(options), options.extend)
        seeds = (options.shard or Shard()).of(job.seeds)
        crew = _crew(options)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster that wants its machine back
        tally = run(options.out, seeds, crew)
    except KeyboardInterrupt:
        return 130
    except (JobError, CannotRender) as error:
        print(error, file=sys.stderr)
        return 2
    except DiskFull as error:
        print(error, file=sys.stderr)
        return 3
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            print(error, file=sys.stderr)
            return 3
        print(_unusable(options.out, error) or error, file=sys.stderr)
        return 2
    print(f"{options.out}: {tally}")
    return 1 if tally.failed else 0


def _unusable(out: Path, error: OSError) -> str:
    """What is wrong with the folder and what to do; "" if the error is about something else, such as --renderer."""
    if not isinstance(error.filename, str):
        return ""
    out, place = out.absolute(), Path(error.filename).absolute()
    if not (place.is_relative_to(out) or out.is_relative_to(place)):
        return ""
    there = next(each for each in (out, *out.parents) if each.exists())
    if not there.is_dir():
        return f"cannot write to {out}: {there} is a file; give another folder with --out"
    return f"cannot write to {out}: {error.strerror}; give another folder with --out, or make {there} writable"


def _wanted(options: argparse.Namespace) -> Job | None:
    """The job that the command line describes; None if it describes none.

    Raises:
        JobError: the recipe cannot be read.
    """
    from dataclasses import replace

    from dkt_ros.training.render.job import Job, JobError
    from dkt_ros.training.render.recipe import load_scene_recipe

    if options.recipe is None:
        return None
    changes = {name: getattr(options, name) for name in ("size", "frames", "samples") if getattr(options, name)}
    try:
        recipe = replace(load_scene_recipe(options.recipe), **changes)
    except (ValueError, FileNotFoundError) as error:
        raise JobError(str(error)) from error
    if recipe.objects.meshes:
        print(recipe.objects.meshes.report, file=sys.stderr)
    first = FIRST_UNSEEN if recipe.name == "unseen" else FIRST
    return Job(recipe, first if options.seed is None else options.seed, options.count or COUNT)


def _crew(options: argparse.Namespace) -> Crew:
    import shlex

    from dkt_ros.training.render.crew import LocalCrew, Worker
    from dkt_ros.training.render.records import writer_name

    renderer = tuple(shlex.split(options.renderer or ""))
    if options.cluster:
        from dkt_ros.training.render.cluster import RayCrew

        return RayCrew(options.out, options.cluster, options.workers, options.threads, renderer)
    count = options.workers or max(1, len(os.sched_getaffinity(0)) // options.threads)
    return LocalCrew(
        [Worker(options.out, f"{writer_name()}-{number}", options.threads, renderer) for number in range(1, count + 1)]
    )


if __name__ == "__main__":
    sys.exit(main())
