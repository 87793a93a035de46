"""Nodes in processes of their own, and a recording replayed to them over DDS: demo and evaluation do it alike."""

from __future__ import annotations

import errno
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from dkt_ros.bags import RawMessage
from dkt_ros.exchange import Exchange
from dkt_ros.node_processes import leaving_in_order, running, tail

NODE_NAME = "dkt_perception"
#: How the node is started; the parameters follow.
NODE_PROGRAM = (sys.executable, "-m", "dkt_ros.node")
#: A node that has told nothing for so long does not start any more; a replay is over when nothing has come for so long;
#: and a clip in work at its end is waited for so long.
START_S, QUIET_S, LONGEST_S = 90.0, 4.0, 600.0


class NodeError(Exception):
    """A node could not be replayed to; the message says why and, if the node failed, ends with its last words."""


@dataclass(frozen=True)
class NodeProcess:
    """One node: what a person calls it, its command line, and the file for what it says."""

    what: str
    command: Sequence[str]
    log: Path


def refuse_without_ros() -> None:
    """Raises:
    NodeError: ROS 2 cannot be imported; the message has the remedy.
    """
    try:
        import rclpy  # noqa: F401

        import dkt_ros.replay  # noqa: F401
    except ImportError as error:
        raise NodeError(f"ROS 2 is not here ({error}); `dkt doctor` says what to do") from error


def replay_into(
    nodes: Sequence[NodeProcess],
    exchange: Exchange,
    inputs: dict[str, str],
    outputs: dict[str, str],
    messages: Iterable[RawMessage],
    picture: str,
    total: int,
    namespace: str = "",
) -> None:
    """Start the nodes, publish ``messages`` by their times, keep in ``exchange`` what comes back, end the nodes.

    ``node_processes.set_environment`` must have been called.

    Args:
        nodes: the first one is the one that answers.
        exchange: still empty.
        inputs: topic -> message type of the messages.
        outputs: topic -> message type of what is kept; diagnostics among them.
        messages: CDR, ascending in time; read one at a time.
        picture: the topic of the pictures.
        total: pictures, about, for the progress bar.
        namespace: of the ROS node that publishes.

    Raises:
        NodeError: ROS 2 is missing, a node did not start or died, or nothing came back.
    """
    from tqdm import tqdm

    refuse_without_ros()
    from dkt_ros.replay import Replayer

    log = nodes[0].log
    with ExitStack() as stack:
        stack.enter_context(leaving_in_order())
        running_nodes = [(node, stack.enter_context(running(node.command, node.log))) for node in nodes]

        def watch() -> None:
            for node, process in running_nodes:
                if process.poll() is not None:
                    raise NodeError(f"{node.what} ended with status {process.returncode}{tail(node.log)}")
            # It starts by itself before it tells anything, so what it tells then is final.
            if exchange.told().get("state") == "unconfigured":
                raise NodeError(f"the node could not be configured{tail(log)}")

        try:
            with Replayer(exchange, inputs, outputs, watch, namespace) as replayer:
                print(f"starting {' and '.join(node.what for node in nodes)} ...", file=sys.stderr)
                if not replayer.wait_until_ready(START_S):
                    raise NodeError(f"the node was not ready after {START_S:.0f} s{tail(log)}")
                with tqdm(total=total, unit="frame", desc="replay", disable=None) as bar:
                    replayer.play(messages, picture, bar.update)
                replayer.drain(QUIET_S, LONGEST_S)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise
            place = tempfile.gettempdir()
            raise NodeError(
                f"{place}: no room for what the node publishes ({error.strerror}); set TMPDIR to another disk"
            ) from error
    if not exchange.answers():
        why = exchange.told().get("why no output", "")
        raise NodeError(f"the node answered none of {exchange.pictures} frames{f': {why}' if why else ''}{tail(log)}")
