"""Depth of a bag, a video or a folder of pictures.

Examples:
  dkt run my_bag --out out/my_bag                 RGB-D bag (folder, .mcap or .db3): metres
  dkt run clip.mp4 --out out/clip                 RGB only: relative disparity, larger is nearer
  dkt run pictures/ --fps 10 --out out/pictures   *.png and *.jpg in order of their names (2 before 10)
  dkt run clip.mp4 --engine dkt --weights models/dkt-1.3b --out out/clip    a published model, see `dkt models`

Writes into the folder given by --out:
  depth.npz     depth (T,H,W) float32 metres, NaN unknown; or disparity where there is no metric scale;
                stamps_ns, normals (T,H,W,3) float16, provenance (T,H,W) 0 none, 1 measured, 2 inferred;
                scale_and_shift (T,2) float64 of 1/depth = scale * disparity + shift, NaN without metric scale;
                meta (JSON: unit, intrinsics, where normals come from, cuts, ...)
  preview.mp4   the pictures and the depth side by side (PNGs in preview/ where no MP4 can be written)

With --bag DIR the results also go, as the node publishes them, into a bag beside what the input bag held, for
`ros2 bag play`, Foxglove and `dkt eval`. Which topics of a bag are read: docs/bags.md.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dkt_ros import __version__
from dkt_ros.commands import CommandError
from dkt_ros.commands.bag_options import add_topic_arguments, question_on_terminal, topic_choice
from dkt_ros.commands.engine_options import add_engine_arguments, engine_options, make_cuts, make_perception

if TYPE_CHECKING:
    from dkt_ros.array_file import ArrayFile
    from dkt_ros.frames import Estimate, Frame
    from dkt_ros.perception import Perception
    from dkt_ros.shots import CutDetector
    from dkt_ros.sources import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dkt run``."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="bag, video file or folder of pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--fps", type=float, help="frames per second of a folder (default 30) or instead of the video's own"
    )
    parser.add_argument(
        "--colours", choices=("turbo", "spectral"), default="turbo", help="of the preview; spectral is DKT's own map"
    )
    parser.add_argument(
        "--bag", type=Path, metavar="DIR", help="also write the results as a rosbag2 folder, beside what the bag held"
    )
    add_topic_arguments(parser, truth=False)
    add_engine_arguments(parser)


def main(arguments: argparse.Namespace) -> int:
    """Run the path over the input and write the results."""
    from dkt_ros.bags import BagError
    from dkt_ros.result_bag import check_new
    from dkt_ros.sources import SourceError, open_source

    try:
        source = open_source(arguments.input, arguments.fps, topic_choice(arguments), question_on_terminal())
        check_folder(arguments.out)
        if arguments.bag:
            check_new(arguments.bag)
        perception = make_perception(arguments)
        with no_empty_folder(arguments.out):
            return _write(source, perception, arguments)
    except (BagError, SourceError, MemoryError, ValueError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        full = "free space there, or " if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO) else ""
        remedy = f"{full}give another folder with --out"
        raise CommandError(f"cannot write to {arguments.out}: {error}; {remedy}") from error


def check_folder(folder: Path) -> None:
    """Before a model is loaded for nothing; a folder may still have to be made."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise CommandError(f"cannot write to {folder}: {there} is a file; give another folder with --out")
    if not os.access(there, os.W_OK | os.X_OK):
        raise CommandError(f"cannot write to {folder}: no permission in {there}; give another folder with --out")


@contextmanager
def no_empty_folder(folder: Path) -> Iterator[None]:
    """Takes a folder away again that was made for results which then did not come; SIGTERM leaves none, either."""
    from dkt_ros.node_processes import leaving_in_order

    new = not folder.exists()
    try:
        with leaving_in_order():
            yield
    finally:
        if new:
            with suppress(OSError):  # it holds something, as it should
                folder.rmdir()


def _write(source: Source, perception: Perception, arguments: argparse.Namespace) -> int:
    from dkt_ros.array_file import ArrayFile
    from dkt_ros.preview import Preview
    from dkt_ros.result_bag import result_bag

    frame: Frame | None = None
    count = fitted = 0
    normals: Counter[str] = Counter()
    cuts = make_cuts(arguments)
    # The preview outside: without the arrays there is no preview either.
    with (
        Preview(arguments.out, source.rate_hz, arguments.colours) as preview,
        ArrayFile(arguments.out / "depth.npz") as arrays,
        result_bag(arguments.bag, source.origin) if arguments.bag else nullcontext() as results,
    ):
        for estimate in _estimates(source, perception, cuts):
            if results:
                results.add(estimate)
            fitted += _append(arrays, estimate)
            preview.add(estimate)
            frame = estimate.frame
            count += 1
            normals[estimate.normals_source] += 1
        if frame is None:
            raise CommandError(f"{source.name}: no frame could be read{_reasons(source)}")
        arrays.drop("disparity" if fitted else "depth")
        given = asdict(engine_options(arguments))
        unit = "metres along Z" if fitted else "relative disparity, larger is nearer"
        meta = {
            "dkt_ros": __version__,
            "input": source.name,
            "engine": perception.engine.card.name,
            "options": {name: str(value) for name, value in given.items() if value is not None},
            "clip_length": perception.clip_length,
            "overlap": perception.overlap,
            "frame_id": frame.frame_id,
            "intrinsics": asdict(frame.intrinsics) if frame.intrinsics else None,
            "unit": unit,
            "normals": dict(normals),
            "cuts": cuts.cuts if cuts else None,
        }
        arrays.add("meta", json.dumps(meta))
    frames = "1 frame" if count == 1 else f"{count} frames"
    written = [arguments.out / "depth.npz", preview.path, *([arguments.bag] if arguments.bag else [])]
    print(f"{frames}, {unit}; normals: {_words(normals)}", *written, sep="\n")
    if source.origin:
        print(f"topics of {source.origin.camera.in_words()}")
    if cuts and cuts.cuts:
        print(f"scene cuts: {cuts.cuts}; nothing is stitched across them (--no-cuts looks for none)")
    if source.problem or source.skipped:
        print(f"dkt run: {source.problem or source.name}{_reasons(source)}", file=sys.stderr)
    return 0


def _words(normals: Counter[str]) -> str:
    """Where the normals come from."""
    words = {"model": "from the model", "depth": "from metric depth", "none": "none"}
    if len(normals) == 1:
        return words[next(iter(normals))]
    return ", ".join(f"{words[source]} in {count} frames" for source, count in normals.items())


def _estimates(source: Source, perception: Perception, cuts: CutDetector | None) -> Iterator[Estimate]:
    """Estimates with a progress bar; the bar goes to stderr and is off where that is no terminal."""
    from tqdm import tqdm

    with tqdm(total=source.count, unit="frame", disable=None, desc=source.name) as bar:
        repeated: Counter[str] = Counter()
        counting = perception.engine.card.whole_video

        def read() -> Iterator[Frame]:
            nonlocal counting
            first, counting = counting, False
            bar.set_description(f"{source.name}, looking for cuts" if first else source.name)
            for frame in _of_one_size(source):
                yield frame
                if first:
                    bar.update()
            if first:
                bar.reset()

        for estimate in perception.run_recording(read, repeated, cuts):
            yield estimate
            bar.update()
        source.skipped.update(repeated)


def _of_one_size(source: Source) -> Iterator[Frame]:
    """One array holds one size: what differs from the first picture is left out and counted."""
    size = None
    for frame in source.frames():
        size = size or frame.size
        if frame.size == size:
            yield frame
        else:
            source.skipped["pictures of another size than the first one, left out"] += 1


def _append(arrays: ArrayFile, estimate: Estimate) -> bool:
    """Add one frame; whether it has a metric scale."""
    import numpy as np

    unknown = np.full(estimate.disparity.shape, np.nan, np.float32)
    normals = np.full((*unknown.shape, 3), np.nan, np.float16) if estimate.normals is None else estimate.normals
    arrays.append("stamps_ns", np.array(estimate.frame.stamp_ns, np.int64))
    arrays.append("disparity", estimate.disparity.astype(np.float32))
    arrays.append("depth", unknown if estimate.depth is None else estimate.depth.astype(np.float32))
    arrays.append("normals", normals.astype(np.float16))
    arrays.append("provenance", estimate.provenance)
    fit = estimate.fit
    fitted = fit is not None and fit.accepted
    arrays.append("scale_and_shift", np.array([fit.scale, fit.shift] if fit and fitted else [np.nan, np.nan]))
    return fitted


def _reasons(source: Source) -> str:
    return "".join(f"; {count}x {reason}" for reason, count in source.skipped.items())
