"""The commands of ``dkt``, one module each: ``add_arguments(parser)`` and ``main(arguments) -> exit status``.

These modules import numpy, cv2, torch or rclpy only inside functions.
"""


class CommandError(Exception):
    """A command cannot do what was asked; the message names the thing, the value and the remedy."""
