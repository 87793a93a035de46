"""The ``dkt`` command. Nothing heavy is imported before a command really runs, so help is instant."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from dkt_ros import __version__
from dkt_ros.commands import CommandError, demo, doctor, models, run
from dkt_ros.commands import eval as eval_command

DESCRIPTION = """Metric depth, normals and point clouds of glass, clear plastic and polished metal.

  dkt demo                            the whole thing over real ROS 2, on the bundled bag
  dkt run my_bag --out out/my_bag     depth of a bag, a video or a folder of pictures
  dkt eval my_bag --out out/scores    scores against ground truth
  dkt models list                     the published models: how to get, check and run them
  dkt doctor                          what is installed, what is missing, and the command for it
"""
COMMANDS = {"demo": demo, "run": run, "eval": eval_command, "models": models, "doctor": doctor}


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="dkt", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--version", action="version", version=f"dkt_ros {__version__}")
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, module in COMMANDS.items():
        text = module.__doc__ or ""
        sub = commands.add_parser(
            name,
            help=text.partition("\n")[0].rstrip("."),
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(sub)
        sub.set_defaults(main=module.main)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status.

    0 done, 1 not done (the reason is on stderr), 130 stopped by Ctrl-C, 141 nobody reads the output any more.
    """
    arguments = parser().parse_args(argv)
    interrupts = _note_interrupts()
    try:
        status: int = arguments.main(arguments)
        sys.stdout.flush()
        return status
    except CommandError as error:
        if interrupts:  # it fell into a library that made another error of it
            return _stopped(arguments.command)
        print(f"dkt {arguments.command}: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `dkt models list | head`: who reads has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return _stopped(arguments.command)


def _stopped(command: str) -> int:
    print(f"dkt {command}: stopped; no half-written file is left", file=sys.stderr)
    return 130


def _note_interrupts() -> list[int]:
    """A list that every Ctrl-C from now on is appended to, beside what it does anyway."""
    noted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        return noted

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    return noted


if __name__ == "__main__":
    sys.exit(main())
