"""Scores against ground truth: ours, the raw sensor and the classical fills, under protocols A, B and C.

Examples:
  dkt eval dkt_ros/resources/demo --json out/demo.json     a bag with /ground_truth/* topics
  dkt eval data/heldout --json out/heldout.json            a folder of rendered sequences (*.tar), or one of them
  dkt eval data/clearpose --json out/clearpose.json        a published set, known by its files (docs/datasets.md)
  dkt eval dkt_ros/resources/demo --published              and AbsRel, d1, SILog, boundary F1 as the papers have them

  dkt eval data/heldout --pictures out/heldout             contact sheets, and whether the confidence is one

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

    from dkt_ros.evaluation.datasets import Dataset, Source
    from dkt_ros.evaluation.evaluate import Recording, VideoScores
    from dkt_ros.evaluation.protocols import Range
    from dkt_ros.evaluation.report import Report
    from dkt_ros.frames import Estimate
    from dkt_ros.perception import Perception
    from dkt_ros.shots import CutDetector

#: The diagram of the confidence, among the pictures.
RELIABILITY = "reliability.png"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dkt eval``."""
    parser.add_argument(
        "input",
        type=Path,
        metavar="BAG|FOLDER",
        help="bag, tar of a rendered sequence or of TransPhy3D, a folder of tars, or the folder of ClearPose, STD,"
        " DREDS, ClearGrasp or TransCG",
    )
    chosen = parser.add_argument_group("of a published set (docs/datasets.md)")
    chosen.add_argument("--subset", default="", metavar="NAME", help="which part of it (default: the published one)")
    chosen.add_argument("--camera", default="", metavar="NAME", help="which of its cameras (default: all)")
    chosen.add_argument(
        "--every", type=int, default=1, metavar="N", help="every N-th frame of a video, or N-th picture"
    )
    chosen.add_argument(
        "--first", type=int, default=0, metavar="N", help="then N frames of each video, or N pictures (default: all)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help=f"write a contact sheet of each recording here, and {RELIABILITY}"
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
    add_engine_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Evaluate, print the table, write the JSON."""
    dataset, limits = _opened(arguments)
    try:
        perception, cuts = make_perception(arguments), make_cuts(arguments)
        report = evaluate_all(dataset, perception, limits, arguments.pictures, arguments.published, cuts)
    except MemoryError as error:
        raise CommandError(str(error)) from error
    if cuts and cuts.cuts:
        print(f"scene cuts: {cuts.cuts}; nothing is stitched across them (--no-cuts looks for none)", file=sys.stderr)
    print("\n\n".join(part for part in (*_parts(report), dataset.in_words()) if part))
    if arguments.pictures:
        _draw(report, arguments.pictures / RELIABILITY)
    if arguments.json:
        try:
            report.write_json(arguments.json)
        except OSError as error:
            raise CommandError(f"cannot write {arguments.json}: {error}") from error
        print(f"\nevery number: {arguments.json}")
    return 0


def _opened(arguments: argparse.Namespace) -> tuple[Dataset, Range]:
    """What is to be evaluated, found before the model is loaded, and which of its ground truth is scored."""
    from dkt_ros.evaluation.datasets import open_dataset
    from dkt_ros.evaluation.layout import DatasetError, Selection
    from dkt_ros.evaluation.protocols import Range
    from dkt_ros.evaluation.recordings import RecordingError
    from dkt_ros.training.sequences import SequenceError

    try:
        selection = Selection(arguments.subset, arguments.camera, arguments.every, arguments.first)
        dataset = open_dataset(arguments.input, selection)
    except (DatasetError, RecordingError, SequenceError, OSError) as error:
        raise CommandError(str(error)) from error
    near = dataset.limits.near_m if arguments.near is None else arguments.near
    far = dataset.limits.far_m if arguments.far is None else arguments.far
    try:
        return dataset, Range(near, far)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _parts(report: Report) -> tuple[str, ...]:
    """What is printed, one block each; "" for what there is not."""
    return report.table(), report.published_table(), report.confidence_line(), report.bars()


def _draw(report: Report, path: Path) -> None:
    from dkt_ros.evaluation.reliability import draw_reliability

    if not report.confidence_line():
        return
    videos = "1 video" if len(report.videos) == 1 else f"{len(report.videos)} videos"
    try:
        draw_reliability(report.reliability(), path, f"confidence of {report.engine} on {videos}")
    except OSError as error:
        raise CommandError(f"{path}: {error}") from error


def evaluate_all(
    dataset: Dataset,
    perception: Perception,
    limits: Range,
    pictures: Path | None = None,
    published: bool = False,
    cuts: CutDetector | None = None,
) -> Report:
    """The report of all recordings of a dataset; contact sheets go into ``pictures``.

    ``published`` adds the scores of the papers to our rows.

    Raises:
        CommandError: something in there cannot be used, or a picture cannot be written.
    """
    from dkt_ros.bags import BagError
    from dkt_ros.evaluation.layout import DatasetError, Unreadable
    from dkt_ros.evaluation.recordings import RecordingError
    from dkt_ros.evaluation.report import Report, command_line
    from dkt_ros.exr import PackageMissing
    from dkt_ros.training.sequences import SequenceError

    done, unreadable = [], []
    try:
        for source in dataset.sources:
            try:
                done.append(_evaluate(source, perception, limits, pictures, published, cuts))
            except Unreadable as error:  # one of many; said, counted, left out
                print(f"dkt eval: {error}", file=sys.stderr)
                unreadable.append(str(error))
    except (BagError, DatasetError, PackageMissing, RecordingError, SequenceError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"{source.name}: {error}") from error
    if not done:
        raise CommandError(f"{dataset.name}: nothing could be read, first {unreadable[0]}")
    videos = [scores for scores, _ in done]
    details = {
        "path_seconds_per_frame": sum(seconds for _, seconds in done) / sum(video.frames for video in videos),
        "problems": [*(video.problem for video in videos if video.problem), *unreadable],
        "dataset": dataset.numbers(),
    }
    return Report(videos, limits, perception.engine.card.name, command_line(), details)


def _evaluate(
    source: Source,
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
    from dkt_ros.evaluation.temporal import clip_starts

    recording = source.load()
    if recording.problem:
        print(f"dkt eval: {recording.problem}", file=sys.stderr)
    perception.reset()
    cuts_before = cuts.cuts if cuts else 0
    if cuts:
        cuts.forget()
    total = len(recording.frames) * (1 + baseline_count())
    with tqdm(total=total, unit="step", disable=None, desc=recording.name, leave=False) as bar:
        start = time.perf_counter()
        estimates = list(_counted(perception, recording, cuts, bar))
        spent = time.perf_counter() - start
        # After a cut the clips begin elsewhere, and a seam there is meant.
        whole = not (cuts and cuts.cuts > cuts_before)
        starts = clip_starts(len(recording.frames), perception.clip_length, perception.overlap) if whole else ()
        scores = evaluate(recording, estimates, limits, bar.update, published, detailed=True, starts=starts)
    if pictures:
        from dkt_ros.evaluation.pictures import contact_sheet

        contact_sheet(recording, estimates, pictures / f"{recording.name}.png", limits)
    return scores, spent


def _counted(perception: Perception, recording: Recording, cuts: CutDetector | None, bar: tqdm) -> Iterator[Estimate]:
    for estimate in perception.run_recording(lambda: recording.frames, cuts=cuts):
        yield estimate
        bar.update()
