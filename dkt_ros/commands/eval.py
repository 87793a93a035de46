"""Scores against ground truth: ours, the raw sensor and the classical fills, under protocols A, B and C.

Examples:
  dkt eval dkt_ros/resources/demo --json out/demo.json     a bag with /ground_truth/* topics
  dkt eval data/heldout --json out/heldout.json            a folder of rendered sequences (*.tar), or one of them
  dkt eval dkt_ros/resources/demo --published              and AbsRel, d1, SILog, boundary F1 as the papers have them

Prints the table and writes every number (versions, command, counts, both poolings) to the JSON file.
No ROS is needed. A cut-off bag is used as far as it goes, and the report says how far.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from dkt_ros.commands import CommandError
from dkt_ros.commands.run import add_engine_arguments, make_cuts, make_perception

if TYPE_CHECKING:
    from tqdm import tqdm

    from dkt_ros.evaluation.evaluate import Recording, VideoScores
    from dkt_ros.evaluation.protocols import Range
    from dkt_ros.evaluation.report import Report
    from dkt_ros.frames import Estimate
    from dkt_ros.perception import Perception
    from dkt_ros.shots import CutDetector


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dkt eval``."""
    parser.add_argument(
        "input", type=Path, metavar="BAG", help="bag, tar of a rendered sequence or of TransPhy3D, or a folder of tars"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
    parser.add_argument("--pictures", type=Path, metavar="DIR", help="write a contact sheet of each recording here")
    parser.add_argument(
        "--near", type=float, default=0.3, metavar="M", help="score ground truth from here (%(default)s m)"
    )
    parser.add_argument("--far", type=float, default=1.5, metavar="M", help="to here (%(default)s m)")
    parser.add_argument(
        "--published",
        action="store_true",
        help="add the papers' scores (AbsRel, d1, SILog, boundary F1, ...) by the chain of DVD's benchmark",
    )
    add_engine_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Evaluate, print the table, write the JSON."""
    from dkt_ros.evaluation.protocols import Range

    try:
        limits = Range(arguments.near, arguments.far)
    except ValueError as error:
        raise CommandError(str(error)) from error
    try:
        perception, cuts = make_perception(arguments), make_cuts(arguments)
        report = evaluate_all(arguments.input, perception, limits, arguments.pictures, arguments.published, cuts)
    except MemoryError as error:
        raise CommandError(str(error)) from error
    if cuts and cuts.cuts:
        print(f"scene cuts: {cuts.cuts}; nothing is stitched across them (--no-cuts looks for none)", file=sys.stderr)
    print("\n\n".join(part for part in (report.table(), report.published_table(), report.bars()) if part))
    if arguments.json:
        try:
            report.write_json(arguments.json)
        except OSError as error:
            raise CommandError(f"cannot write {arguments.json}: {error}") from error
        print(f"\nevery number: {arguments.json}")
    return 0


def evaluate_all(
    path: Path,
    perception: Perception,
    limits: Range,
    pictures: Path | None = None,
    published: bool = False,
    cuts: CutDetector | None = None,
) -> Report:
    """The report of a bag, a sequence or a folder of sequences; contact sheets go into ``pictures``.

    ``published`` adds the scores of the papers to our rows.

    Raises:
        CommandError: something in there cannot be used, or a picture cannot be written.
    """
    from dkt_ros.bags import BagError
    from dkt_ros.evaluation.recordings import RecordingError, find_recordings
    from dkt_ros.evaluation.report import Report, command_line
    from dkt_ros.training.sequences import SequenceError

    try:
        done = [_evaluate(each, perception, limits, pictures, published, cuts) for each in find_recordings(path)]
    except (BagError, RecordingError, SequenceError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{path}: {error}") from error
    videos = [scores for scores, _ in done]
    details = {
        "path_seconds_per_frame": sum(seconds for _, seconds in done) / sum(video.frames for video in videos),
        "problems": [video.problem for video in videos if video.problem],
    }
    return Report(videos, limits, perception.engine.card.name, command_line(), details)


def _evaluate(
    path: Path,
    perception: Perception,
    limits: Range,
    pictures: Path | None,
    published: bool,
    cuts: CutDetector | None,
) -> tuple[VideoScores, float]:
    """The scores of one recording and the seconds that the path took for it."""
    from tqdm import tqdm

    from dkt_ros.evaluation.baselines import baseline_count
    from dkt_ros.evaluation.evaluate import evaluate
    from dkt_ros.evaluation.recordings import load_recording

    recording = load_recording(path)
    if recording.problem:
        print(f"dkt eval: {recording.problem}", file=sys.stderr)
    perception.reset()
    if cuts:
        cuts.forget()
    total = len(recording.frames) * (1 + baseline_count())
    with tqdm(total=total, unit="step", disable=None, desc=recording.name, leave=False) as bar:
        start = time.perf_counter()
        estimates = list(_counted(perception, recording, cuts, bar))
        spent = time.perf_counter() - start
        scores = evaluate(recording, estimates, limits, bar.update, published)
    if pictures:
        from dkt_ros.evaluation.pictures import contact_sheet

        contact_sheet(recording, estimates, pictures / f"{recording.name}.png", limits)
    return scores, spent


def _counted(perception: Perception, recording: Recording, cuts: CutDetector | None, bar: tqdm) -> Iterator[Estimate]:
    for estimate in perception.run_recording(lambda: recording.frames, cuts=cuts):
        yield estimate
        bar.update()
