"""The whole thing over real ROS 2: the bundled bag in; depth, grasps, scores, a picture and a recording out.

Example:
  dkt demo --out out

Starts the lifecycle node and the example grasp node in processes of their own, replays the bag into the first at its
recorded rate over DDS, records what both publish, and ends by itself. Writes demo.png (contact sheet, with the best
grasp), demo.mcap (inputs and outputs; clouds, normals, disparity and confidence once a second; for Foxglove and
`ros2 bag play`) and demo.json (every number).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dkt_ros.commands import CommandError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of ``dkt demo``."""
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder for results (%(default)s)")
    parser.add_argument("--bag", type=Path, metavar="BAG", help="another bag with the same topics and ground truth")


def main(arguments: argparse.Namespace) -> int:
    """Run the demo and print its table."""
    from dkt_ros.bags import BagError
    from dkt_ros.demo import BUNDLED_BAG, DemoError, run_demo
    from dkt_ros.node_replay import NodeError

    try:
        print(run_demo(arguments.bag or BUNDLED_BAG, arguments.out))
    except (DemoError, NodeError, BagError) as error:
        raise CommandError(str(error)) from error
    except OSError as error:
        raise CommandError(f"cannot write into {arguments.out}: {error}; give another folder with --out") from error
    return 0
