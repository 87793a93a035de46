"""The options that choose topics of a bag, and the question that is asked where they do not say enough."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dkt_ros.commands import CommandError

if TYPE_CHECKING:
    from dkt_ros.bag_topics import Ask, TopicChoice


def add_topic_arguments(parser: argparse.ArgumentParser, truth: bool, camera: bool = True) -> None:
    """``--image`` and the like.

    Args:
        parser: gets them.
        truth: those of ground truth too.
        camera: False where the parser has a ``--camera`` already.
    """
    group = parser.add_argument_group("topics of a bag (default: found by type, encoding and name; see docs/bags.md)")
    if camera:
        group.add_argument("--camera", default="", metavar="NAME", help="of several, such as wrist of /wrist/color/...")
    group.add_argument("--image", metavar="TOPIC", help="Image or CompressedImage")
    group.add_argument("--camera-info", metavar="TOPIC", help="CameraInfo")
    group.add_argument(
        "--depth", metavar="TOPIC", help="Image (16UC1 mm, 32FC1 m) or compressedDepth, registered to the picture"
    )
    group.add_argument(
        "--slop", type=float, default=0.02, metavar="S", help="depth belongs to a picture within (default: %(default)s)"
    )
    if truth:
        group.add_argument("--truth", metavar="TOPIC", help="true depth, encoded like --depth")
        group.add_argument("--truth-normals", metavar="TOPIC", help="32FC3, or a picture of them")
        group.add_argument("--truth-mask", metavar="TOPIC", help="mono8, not 0 where something is transparent")
        group.add_argument(
            "--truth-slop", type=float, default=0.001, metavar="S", help="truth likewise (default: %(default)s)"
        )


def topic_choice(arguments: argparse.Namespace) -> TopicChoice:
    """What they say.

    Raises:
        CommandError: a slop is negative.
    """
    from dkt_ros.bag_topics import TopicChoice

    slops = {"slop": arguments.slop, "truth-slop": getattr(arguments, "truth_slop", 0.001)}
    for name, value in slops.items():
        if not 0 <= value <= 1:
            raise CommandError(f"--{name} {value}: must be from 0 to 1 second")
    truth = {name: getattr(arguments, name, None) for name in ("truth", "truth_normals", "truth_mask")}
    camera, image, info, depth = arguments.camera, arguments.image, arguments.camera_info, arguments.depth
    return TopicChoice(camera, image, info, depth, **truth, slop_s=slops["slop"], truth_slop_s=slops["truth-slop"])


def question_on_terminal() -> Ask | None:
    """What asks a person; None where none sits at a terminal."""
    return _ask if sys.stdin.isatty() and sys.stderr.isatty() else None


def _ask(question: str, lines: Sequence[str]) -> int:
    """The number, from 0, of the line that is chosen.

    Raises:
        CommandError: the input ends without an answer.
    """
    print(f"{question}:", *(f"  {number}  {line}" for number, line in enumerate(lines, 1)), sep="\n", file=sys.stderr)
    while True:
        print(f"number (1 to {len(lines)}): ", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        if not answer:
            raise CommandError(f"no answer; {question}")
        if answer.strip().isdigit() and 1 <= int(answer) <= len(lines):
            return int(answer) - 1
