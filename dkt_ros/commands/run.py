"""Depth of a bag, a video or a folder of pictures.

Examples:
  dkt run my_bag --out out/my_bag                 RGB-D bag (folder, .mcap or .db3): metres
  dkt run clip.mp4 --out out/clip                 RGB only: relative disparity, larger is nearer
  dkt run pictures/ --fps 10 --out out/pictures   *.png and *.jpg in order of their names

Writes into the folder given by --out:
  depth.npz     depth (T,H,W) float32 metres, NaN unknown; or disparity where there is no metric scale;
                stamps_ns, normals (T,H,W,3) float16, provenance (T,H,W) 0 none, 1 measured, 2 inferred;
                meta (JSON: unit, intrinsics, scale and shift of each frame, ...)
  preview.mp4   the pictures and the depth side by side (PNGs in preview/ where no MP4 can be written)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from dkt_ros import __version__
from dkt_ros.commands import CommandError

if TYPE_CHECKING:
    from dkt_ros.frames import Estimate, Frame
    from dkt_ros.perception import Perception
    from dkt_ros.sources import Source


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dkt run``."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="bag, video file or folder of pictures")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the results")
    parser.add_argument(
        "--fps", type=float, help="frames per second of a folder (default 30) or instead of the video's own"
    )
    topics = parser.add_argument_group("topics of a bag (default: found by type and name)")
    topics.add_argument("--image", metavar="TOPIC", help="Image or CompressedImage")
    topics.add_argument("--camera-info", metavar="TOPIC", help="CameraInfo")
    topics.add_argument("--depth", metavar="TOPIC", help="Image, 16UC1 mm or 32FC1 m, registered to the picture")
    add_engine_arguments(parser)


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command needs that runs the path."""
    group = parser.add_argument_group("the model")
    group.add_argument("--engine", default="nano", metavar="NAME", help="the bundled %(default)s unless said otherwise")
    group.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of the model (default: torch's own choice)"
    )
    group.add_argument("--clip-length", type=int, metavar="N", help="frames in a clip, 4n+1")
    group.add_argument("--overlap", type=int, metavar="N", help="frames that successive clips share")
    group.add_argument("--no-sensor-depth", action="store_true", help="ignore the sensor: RGB only")


def make_perception(arguments: argparse.Namespace) -> Perception:
    """The path as the arguments ask for it.

    Raises:
        CommandError: no such engine, its weights are missing, or it does not accept these settings.
    """
    from dkt_ros.engines import EngineOptions, load_engine
    from dkt_ros.perception import Perception, PerceptionSettings

    usual = PerceptionSettings()
    length = usual.clip_length if arguments.clip_length is None else arguments.clip_length
    overlap = min(usual.overlap, max(length - 1, 1)) if arguments.overlap is None else arguments.overlap
    settings = PerceptionSettings(length, overlap, use_sensor_depth=not arguments.no_sensor_depth)
    try:
        return Perception(load_engine(arguments.engine, EngineOptions(threads=arguments.threads)), settings)
    except (ValueError, OSError, ImportError) as error:
        raise CommandError(str(error)) from error


def main(arguments: argparse.Namespace) -> int:
    """Run the path over the input and write the results."""
    from dkt_ros.bags import BagError
    from dkt_ros.sources import SourceError, open_source

    try:
        source = open_source(arguments.input, arguments.fps, arguments.image, arguments.camera_info, arguments.depth)
        perception = make_perception(arguments)
        return _write(source, perception, arguments)
    except (BagError, SourceError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot write to {arguments.out}: {error}; give another folder with --out") from error


def _write(source: Source, perception: Perception, arguments: argparse.Namespace) -> int:
    from dkt_ros.array_file import ArrayFile
    from dkt_ros.preview import Preview

    fits: list[list[float] | None] = []
    frame: Frame | None = None
    with ArrayFile(arguments.out / "depth.npz") as arrays, Preview(arguments.out, source.rate_hz) as preview:
        for estimate in _estimates(source, perception):
            _append(arrays, estimate)
            preview.add(estimate)
            frame, fit = estimate.frame, estimate.fit
            fits.append([fit.scale, fit.shift] if fit is not None and fit.accepted else None)
        if frame is None:
            raise CommandError(f"{source.name}: no frame could be read{_reasons(source)}")
        metric = any(fit is not None for fit in fits)
        arrays.drop("disparity" if metric else "depth")
        unit = "metres along Z" if metric else "relative disparity, larger is nearer"
        meta = {
            "dkt_ros": __version__,
            "input": source.name,
            "engine": perception.engine.card.name,
            "frame_id": frame.frame_id,
            "intrinsics": asdict(frame.intrinsics) if frame.intrinsics else None,
            "unit": unit,
            "scale_and_shift": fits,
        }
        arrays.add("meta", json.dumps(meta))
    print(f"{len(fits)} frames, {unit}: {arguments.out / 'depth.npz'}, {preview.path}")
    if source.problem or source.skipped:
        print(f"dkt run: {source.problem or source.name}{_reasons(source)}", file=sys.stderr)
    return 0


def _estimates(source: Source, perception: Perception) -> Iterator[Estimate]:
    """Estimates with a progress bar; the bar goes to stderr and is off where that is no terminal."""
    from tqdm import tqdm

    with tqdm(total=source.count, unit="frame", disable=None, desc=source.name) as bar:
        for estimate in perception.run(_of_one_size(source), source.skipped):
            yield estimate
            bar.update()


def _of_one_size(source: Source) -> Iterator[Frame]:
    """One array holds one size: what differs from the first picture is left out and counted."""
    size = None
    for frame in source.frames():
        size = size or frame.size
        if frame.size == size:
            yield frame
        else:
            source.skipped["pictures of another size than the first one"] += 1


def _append(arrays, estimate: Estimate) -> None:  # type: ignore[no-untyped-def]
    import numpy as np

    unknown = np.full(estimate.disparity.shape, np.nan, np.float32)
    normals = np.full((*unknown.shape, 3), np.nan, np.float16) if estimate.normals is None else estimate.normals
    arrays.append("stamps_ns", np.array(estimate.frame.stamp_ns, np.int64))
    arrays.append("disparity", estimate.disparity.astype(np.float32))
    arrays.append("depth", unknown if estimate.depth is None else estimate.depth.astype(np.float32))
    arrays.append("normals", normals.astype(np.float16))
    arrays.append("provenance", estimate.provenance)


def _reasons(source: Source) -> str:
    return "".join(f"; {count} times: {reason}" for reason, count in source.skipped.items())
