"""Scores against ground truth: ours, the raw sensor, classical fills, other engines, under protocols A, B and C.

Examples:
  dkt eval dkt_ros/resources/demo --out out/demo     a bag with /ground_truth/* topics
  dkt eval data/heldout --out out/heldout            a folder of rendered sequences (*.tar), or one of them
  dkt eval my_bag --every 5 --first 20               a quick look at 20 frames, of bags, tars and sets alike
  dkt eval data/clearpose --out out/clearpose        a published set, known by its files (docs/datasets.md)
  dkt eval data/heldout --against raw,fills,plane,dvd=models/dvd-1.1 --out out/both    another engine beside ours
  dkt eval dkt_ros/resources/demo --through node --out out/node    the real node over DDS at the bag's own rate
  dkt eval dkt_ros/resources/demo --published        and AbsRel, d1, SILog, boundary F1 as the papers have them

Prints tables with every fit, scale, shift and count of pixels. Writes into the folder given by --out:
  report.json   every number, with versions, command and protocols; the same bytes for the same input (of a network:
                with as many --threads)
  report.html   the same to look at, in one file: pictures, errors, curves over time, reliability, latency and drops
  timing.json   what is another each time: seconds of the path, ages and drops of the node
No ROS is needed but for --through node. A cut-off bag is used as far as it goes, and the report says how far.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dkt_ros.commands import CommandError, against, tell
from dkt_ros.commands.bag_options import add_topic_arguments, question_on_terminal, topic_choice
from dkt_ros.commands.engine_options import add_engine_arguments, make_cuts, make_perception
from dkt_ros.commands.run import check_folder, no_empty_folder
from dkt_ros.memory import keep_freed_memory

if TYPE_CHECKING:
    from dkt_ros.evaluation.datasets import Dataset
    from dkt_ros.evaluation.players import Player
    from dkt_ros.evaluation.protocols import Range
    from dkt_ros.evaluation.running import Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dkt eval``."""
    parser.add_argument(
        "input",
        type=Path,
        metavar="BAG|FOLDER",
        help="bag, tar of a rendered sequence or of TransPhy3D, a folder of tars, or the folder of ClearPose, STD,"
        " DREDS, ClearGrasp, TransCG, KITTI, ScanNet, Bonn or Sintel",
    )
    chosen = parser.add_argument_group("of a published set (docs/datasets.md)")
    chosen.add_argument("--subset", default="", metavar="NAME", help="which part of it (default: the published one)")
    chosen.add_argument(
        "--camera", default="", metavar="NAME", help="which of its cameras, or of a bag's (default: all)"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="take every N-th frame of a video, N-th picture of a set"
    )
    parser.add_argument(
        "--first", type=int, metavar="N", help="of these the first N only, for a quick look (default: all)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write report.json, report.html and timing.json here")
    parser.add_argument(
        "--against", default=",".join(against.BASELINES), metavar="NAMES", help=f"{against.HELP} (default: %(default)s)"
    )
    parser.add_argument(
        "--through",
        choices=("process", "node"),
        default="process",
        help="the path here, or the node (default: %(default)s)",
    )
    parser.add_argument(
        "--node-parameter",
        action="append",
        default=[],
        metavar="NAME:=VALUE",
        help="of the node, with --through node; may be given several times, such as max_age:=0.0",
    )
    parser.add_argument(
        "--bag",
        type=Path,
        metavar="DIR",
        help="write our results as a rosbag2 folder; of several recordings, one in each",
    )
    parser.add_argument(
        "--near",
        type=float,
        metavar="M",
        help="score ground truth from here (default: as published, or 0.3)",
    )
    parser.add_argument("--far", type=float, metavar="M", help="to here (default: as published, or 1.5)")
    parser.add_argument(
        "--published",
        action="store_true",
        help="add the papers' scores (AbsRel, d1, SILog, boundary F1, ...) by the chain of DVD's benchmark",
    )
    parser.add_argument(
        "--hide-shapes",
        action="store_true",
        help="DepthLab's protocol: the sensor depth is the truth less random shapes, which count as glass",
    )
    add_topic_arguments(parser, truth=True, camera=False)
    add_engine_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Evaluate, print the tables, write the report."""
    keep_freed_memory(shared=True)
    compared = against.parse(arguments.against)
    _check_node_parameters(arguments)
    for name, value in (("every", arguments.every), ("first", arguments.first)):
        if value is not None and value < 1:
            raise CommandError(f"--{name} {value}: must be 1 or more; leave it out to take all frames")
    with _folder(arguments.out):
        tell(f"dkt eval: looking at {arguments.input}")
        dataset, limits = _opened(arguments)
        count = len(dataset.sources)
        tell(f"dkt eval: {dataset.name}, {count} recording{'s' * (count > 1)}; loading {arguments.engine}")
        try:
            ours = _ours(arguments)
            others = {name: _other(name, weights, arguments) for name, weights in compared.engines}
            outcome = _evaluated(dataset, ours, limits, others, compared, arguments)
        except MemoryError as error:
            raise CommandError(str(error)) from error
        if cuts := outcome.report.details["engines"]["ours"].get("cuts"):
            words = "nothing is stitched across them (--no-cuts looks for none)"
            print(f"scene cuts: {cuts}; {words}", file=sys.stderr)
        print("\n\n".join(part for part in (*_parts(outcome), dataset.in_words()) if part))
        if arguments.out:
            tell(f"dkt eval: writing the report into {arguments.out}")
            _write(outcome, arguments.out)
    return 0


def _check_node_parameters(arguments: argparse.Namespace) -> None:
    if arguments.node_parameter and arguments.through != "node":
        raise CommandError("--node-parameter: there is no node in this process; give --through node with it")
    for given in arguments.node_parameter:
        name, mark, value = given.partition(":=")
        if not (name and mark and value):
            raise CommandError(f"--node-parameter {given!r}: must be NAME:=VALUE, such as max_age:=0.0")


@contextmanager
def _folder(out: Path | None) -> Iterator[None]:
    """Makes it, before hours of work are done for nothing; takes it away again if nothing comes into it."""
    if out is None:
        yield
        return
    check_folder(out)
    with no_empty_folder(out):
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandError(_not_written(out, error)) from error
        yield


def _not_written(folder: Path, error: OSError) -> str:
    return f"cannot write to {folder}: {error}; give another folder with --out"


def _opened(arguments: argparse.Namespace) -> tuple[Dataset, Range]:
    """What is to be evaluated, found before the model is loaded, and which of its ground truth is scored."""
    from dkt_ros.bags import BagError
    from dkt_ros.evaluation.datasets import open_dataset
    from dkt_ros.evaluation.layout import DatasetError, Selection
    from dkt_ros.evaluation.protocols import Range
    from dkt_ros.evaluation.recordings import RecordingError
    from dkt_ros.result_bag import check_new
    from dkt_ros.training.sequences import SequenceError

    try:
        if arguments.bag:
            check_new(arguments.bag)
        selection = Selection(arguments.subset, arguments.camera, arguments.every, arguments.first or 0)
        dataset = open_dataset(arguments.input, selection, topic_choice(arguments), question_on_terminal())
        if arguments.hide_shapes:
            from dkt_ros.evaluation.holes import with_holes  # it brings torch, whose seconds a wrong path need not wait

            dataset = with_holes(dataset)
    except (BagError, DatasetError, RecordingError, SequenceError, OSError) as error:
        raise CommandError(str(error)) from error
    near = dataset.limits.near_m if arguments.near is None else arguments.near
    far = dataset.limits.far_m if arguments.far is None else arguments.far
    try:
        return dataset, Range(near, far)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _ours(arguments: argparse.Namespace) -> Player:
    """What the input is put through.

    Raises:
        CommandError: the engine cannot be loaded; or, for the node, ROS 2 is missing.
    """
    if arguments.through == "process":
        return _in_process(arguments)
    from dkt_ros.evaluation.players import ThroughNode
    from dkt_ros.node_replay import NodeError, refuse_without_ros

    try:
        refuse_without_ros()
    except NodeError as error:
        raise CommandError(f"--through node: {error}") from error
    return ThroughNode(arguments, arguments.node_parameter)


def _in_process(arguments: argparse.Namespace) -> Player:
    from dkt_ros.evaluation.players import InProcess

    return InProcess(make_perception(arguments), make_cuts(arguments))


def _other(name: str, weights: Sequence[Path], arguments: argparse.Namespace) -> Player:
    try:
        return _in_process(against.arguments_of(name, weights, arguments))
    except CommandError as error:
        given = "" if weights else f"; weights are given as --against {name}=PATH"
        raise CommandError(f"--against {name}: {error}{given}") from error


def _evaluated(
    dataset: Dataset,
    ours: Player,
    limits: Range,
    others: dict[str, Player],
    compared: against.Against,
    arguments: argparse.Namespace,
) -> Outcome:
    from dkt_ros.evaluation.running import EvaluationError, evaluate_all

    try:
        return evaluate_all(
            dataset, ours, limits, others, compared.baselines, arguments.published, bool(arguments.out), arguments.bag
        )
    except EvaluationError as error:
        raise CommandError(str(error)) from error


def _parts(outcome: Outcome) -> tuple[str, ...]:
    """What is printed, one block each; "" for what there is not."""
    from dkt_ros.evaluation.players import NODE_IN_WORDS
    from dkt_ros.node_timing import in_words

    report, timing = outcome.report, outcome.timing
    if seconds := timing.get("path_seconds_per_frame"):
        speed = f"path: {1000 * seconds:.0f} ms a frame in this process"
    else:
        speed = f"node: {in_words(timing)}\n{NODE_IN_WORDS}" if "sent" in timing else ""
    return report.table(), *report.more_tables(), report.confidence_line(), report.bars(), speed


def _write(outcome: Outcome, folder: Path) -> None:
    try:
        paths = outcome.write(folder)
    except OSError as error:
        raise CommandError(_not_written(folder, error)) from error
    print("\n" + "\n".join(map(str, paths)))
