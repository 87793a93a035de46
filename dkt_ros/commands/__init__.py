"""The commands of ``dkt``, one module each: ``add_arguments(parser)`` and ``main(arguments) -> exit status``.

These modules import numpy, cv2, torch or rclpy only inside functions.
"""

import sys


class CommandError(Exception):
    """A command cannot do what was asked; the message names the thing, the value and the remedy."""


def tell(words: str) -> None:
    """What is being done, for a person at a terminal who would else look at nothing."""
    if sys.stderr.isatty():
        print(words, file=sys.stderr, flush=True)
