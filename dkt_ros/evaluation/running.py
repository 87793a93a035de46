"""A whole evaluation: every recording of a dataset through every engine, one after the other, to one report."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from dkt_ros.bags import BagError
from dkt_ros.evaluation.baselines import GROUPS, baseline_count
from dkt_ros.evaluation.evaluate import Recording, VideoScores, evaluate
from dkt_ros.evaluation.layout import DatasetError, Unreadable
from dkt_ros.evaluation.means import OURS, number_of
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.players import Player
from dkt_ros.evaluation.protocols import Range
from dkt_ros.evaluation.recordings import RecordingError
from dkt_ros.evaluation.report import Report, command_line, write_values
from dkt_ros.exr import PackageMissing
from dkt_ros.files import written_whole
from dkt_ros.frames import Estimate, Float32, Frame
from dkt_ros.result_bag import result_bag
from dkt_ros.training.sequences import SequenceError

if TYPE_CHECKING:
    from dkt_ros.evaluation.datasets import Dataset, Source
    from dkt_ros.evaluation.gallery import Album, Gallery


class EvaluationError(Exception):
    """Something in there cannot be evaluated; the message names it and the remedy."""


@dataclass(frozen=True)
class Outcome:
    """What an evaluation found.

    Attributes:
        report: the same for the same input.
        timing: what is another each time: seconds of the path, ages and drops of the node.
        galleries: pictures of some recordings, if they were asked for.
    """

    report: Report
    timing: dict[str, Any]
    galleries: Sequence[Gallery]

    def write(self, folder: Path) -> list[Path]:
        """Write report.json, timing.json and report.html, all of them or none.

        Raises:
            OSError: the folder cannot be written, or the disk is full.
        """
        from dkt_ros.evaluation.html import write_html

        values, paths = self.report.as_json(), [folder / name for name in ("report.json", "timing.json", "report.html")]
        with ExitStack() as together:  # all three, or what was there before
            json_path, timing_path, html_path = (together.enter_context(written_whole(path)) for path in paths)
            write_values(values, json_path)
            write_values(self.timing, timing_path)
            write_html(html_path, values | {"command": self.timing["command"]}, self.timing, self.galleries)
        return paths


def evaluate_all(
    dataset: Dataset,
    ours: Player,
    limits: Range,
    others: Mapping[str, Player] | None = None,
    groups: Collection[str] = tuple(GROUPS),
    published: bool = False,
    pictures: bool = False,
    results: Path | None = None,
) -> Outcome:
    """The report of all recordings of a dataset.

    Args:
        others: name of a row -> another engine, put through the same frames.
        groups: of ``baselines.GROUPS``, what to compare with.
        published: add the scores of the papers to the rows of the engines.
        pictures: keep galleries for the HTML.
        results: a folder that is to become a bag of our estimates; of several recordings it holds one for each.

    Raises:
        EvaluationError: something in there cannot be used, there is nothing to score, or the disk is full.
    """
    from dkt_ros.evaluation.gallery import Album
    from dkt_ros.node_replay import NodeError

    began, players = time.perf_counter(), {OURS: ours, **(others or {})}
    album = Album() if pictures else None
    new_folder = results is not None and not results.exists()
    done: list[VideoScores] = []
    unreadable: list[str] = []
    try:
        for number, source in enumerate(dataset.sources, 1):
            place = f" ({number} of {len(dataset.sources)})" if len(dataset.sources) > 1 else ""
            try:
                bag = results / source.name if results and len(dataset.sources) > 1 else results
                done.append(_evaluate(source, players, limits, groups, published, album, bag, place))
            except Unreadable as error:  # one of many; said, counted, left out
                print(f"dkt eval: {error}", file=sys.stderr)
                unreadable.append(str(error))
        if not done:
            raise EvaluationError(f"{dataset.name}: nothing could be read, first {unreadable[0]}")
        if not any(video.scores[OURS]["A"]["all"]["reference_pixels"] for video in done):
            raise EvaluationError(_nothing_to_score(dataset.sources[0].load(), limits))
    except (BagError, DatasetError, NodeError, PackageMissing, RecordingError, SequenceError) as error:
        raise EvaluationError(str(error)) from error
    except ValueError as error:
        raise EvaluationError(f"{source.name}: {error}") from error
    except OSError as error:
        raise EvaluationError(f"{source.name}: {_in_words(error)}") from error
    finally:
        if new_folder and results and len(done) + len(unreadable) < len(dataset.sources):
            shutil.rmtree(results, ignore_errors=True)  # all of them or none, and the name is free for the next try
    engines = {name: player.about() for name, player in players.items()}
    details = {
        "problems": [*(video.problem for video in done if video.problem), *unreadable],
        "dataset": dataset.numbers(),
        "engines": engines,
    }
    command = command_line()
    report = Report(done, limits, engines[OURS]["engine"], without_out(command), details)
    timing = {
        **ours.timing,
        "others": {name: player.timing for name, player in (others or {}).items()},
        "evaluation_seconds": time.perf_counter() - began,
        "cpus": os.cpu_count(),
        "command": command,
    }
    return Outcome(report, timing, album.galleries if album else ())


def _evaluate(
    source: Source,
    players: Mapping[str, Player],
    limits: Range,
    groups: Collection[str],
    published: bool,
    album: Album | None,
    bag: Path | None,
    place: str,
) -> VideoScores:
    """``place``: which of how many it is, for the progress bar."""
    from dkt_ros.evaluation.gallery import Gallery

    with tqdm(disable=None, desc=f"reading {source.name}{place}", bar_format="{desc}", leave=False):
        recording = source.load()
    if recording.problem:
        print(f"dkt eval: {recording.problem}", file=sys.stderr)
    gallery = Gallery(recording.name, len(recording.frames), limits)
    total = len(recording.frames) * (len(players) + baseline_count(groups))
    with (
        tqdm(total=total, unit="step", disable=None, desc=f"{recording.name}{place}", leave=False) as bar,
        result_bag(bag, recording.origin) if bag else nullcontext() as results,
    ):

        def look(index: int, frame: Frame, estimate: Estimate, truth: Float32, transparent: Mask) -> None:
            if album:
                gallery.add(index, frame, estimate, truth, transparent)
            if results:
                results.add(estimate)

        ours, *others = ((name, player.play(recording, bar.update)) for name, player in players.items())
        scores = evaluate(
            recording,
            ours[1],
            limits,
            bar.update,
            published,
            groups,
            detailed=True,
            starts=lambda name: players[name].starts,
            others=dict(others),
            look=look if album or results else None,
        )
    if album:
        album.keep(gallery, number_of(scores.scores[OURS], "C", "transparent", "rel"))
    return scores


def _nothing_to_score(recording: Recording, limits: Range) -> str:
    truth = recording.reference.depth
    spans = []
    for index in range(len(truth)):
        known = truth[index][np.isfinite(truth[index])]
        spans += [(known.min(), known.max())] if known.size else []
    words = f"no ground truth within {limits.near_m} to {limits.far_m} m"
    if not spans:
        return f"{recording.name}: {words}: none of its {len(truth)} frames has any; is its ground truth whole?"
    near, far = min(span[0] for span in spans), max(span[1] for span in spans)
    return f"{recording.name}: {words}; it lies within {near:.3g} to {far:.3g} m: give --near and --far"


def _in_words(error: OSError) -> str:
    if error.errno in (ENOSPC, EDQUOT):
        return f"temporary files fill the disk of {tempfile.gettempdir()} ({error.strerror}); set TMPDIR to another one"
    return str(error)


def without_out(command: Sequence[str]) -> list[str]:
    """A command line of ``dkt eval`` without its --out DIR, on which no number depends."""
    kept, skip = [], False
    for word in command:
        option, _, value = word.partition("=")
        if skip:
            skip = False
        elif len(option) > 3 and "--out".startswith(option):
            skip = not value
        else:
            kept.append(word)
    return kept
