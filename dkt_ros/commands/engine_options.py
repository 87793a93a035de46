"""The options of every command that runs the path, and the path as they ask for it."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from dkt_ros.choices import ENGINE_NAMES, MODES, PRECISIONS, PROFILES, STITCHINGS, VAES
from dkt_ros.commands import CommandError

if TYPE_CHECKING:
    from dkt_ros.engines import EngineOptions
    from dkt_ros.perception import Perception
    from dkt_ros.shots import CutDetector


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """What every command needs that runs the path."""
    group = parser.add_argument_group("the model")
    group.add_argument(
        "--engine", default="nano", metavar="NAME", help=f"{', '.join(ENGINE_NAMES)} (default: the bundled %(default)s)"
    )
    group.add_argument(
        "--weights",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="file or folder of weights, and what training wrote on top of them; nano has its own",
    )
    group.add_argument("--profile", choices=PROFILES, help="the published window, or short windows (of dkt and dvd)")
    group.add_argument("--steps", type=int, metavar="N", help="denoising steps")
    group.add_argument(
        "--mode", choices=MODES, help="the recording as one window, windows joined as published, or clip by clip"
    )
    group.add_argument("--device", metavar="NAME", help="cpu, cuda or cuda:N (default: a GPU where there is one)")
    group.add_argument("--precision", choices=PRECISIONS, help="default: bfloat16 on a GPU, float32 on a CPU")
    group.add_argument("--vae", choices=VAES, help="tiny: a small video codec among the weights decodes; or does both")
    group.add_argument(
        "--compile", dest="compiled", action="store_true", default=None, help="a slow start, then faster (GPU)"
    )
    group.add_argument("--stitching", choices=STITCHINGS, help="which of the published rules joins windows (of dvd)")
    group.add_argument(
        "--normals-axes", metavar="AXES", help="axes of decoded normals, such as --normals-axes=+x-y-z (of dkt)"
    )
    group.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads of the model (default: torch's own choice)"
    )
    group.add_argument("--clip-length", type=int, metavar="N", help="frames in a clip, 4n+1 (default: the engine's)")
    group.add_argument("--overlap", type=int, metavar="N", help="frames that successive clips share (default: same)")
    group.add_argument("--no-sensor-depth", action="store_true", help="ignore the sensor: RGB only")
    group.add_argument("--no-cuts", action="store_true", help="look for no scene cuts: the input is one shot")


def make_perception(arguments: argparse.Namespace) -> Perception:
    """The path as the arguments ask for it.

    Raises:
        CommandError: no such engine, its weights are missing, or it does not accept these settings.
    """
    from dkt_ros.engines import load_engine
    from dkt_ros.engines.fallback import FallbackEngine
    from dkt_ros.perception import Perception, PerceptionSettings

    settings = PerceptionSettings(
        arguments.clip_length, arguments.overlap, use_sensor_depth=not arguments.no_sensor_depth
    )
    try:
        engine = load_engine(arguments.engine, engine_options(arguments))
        return Perception(FallbackEngine(engine, lambda words: print(f"\n{words}", file=sys.stderr)), settings)
    except (ValueError, OSError, ImportError, MemoryError, RuntimeError) as error:
        raise CommandError(str(error)) from error


def make_cuts(arguments: argparse.Namespace) -> CutDetector | None:
    """What finds scene cuts; None if the arguments want none found."""
    from dkt_ros.shots import CutDetector

    return None if arguments.no_cuts else CutDetector()


def engine_options(arguments: argparse.Namespace) -> EngineOptions:
    """Those of the engine alone."""
    from dkt_ros.engines import EngineOptions

    given = {each.name: getattr(arguments, each.name) for each in fields(EngineOptions)}
    if given["weights"]:
        given["weights"] = tuple(given["weights"]) if len(given["weights"]) > 1 else given["weights"][0]
    return EngineOptions(**given)
