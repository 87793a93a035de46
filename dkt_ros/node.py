"""The lifecycle node ``dkt_perception``: RGB(-D) stream in, metric depth, normals and points out.

ros2 launch dkt_ros perception.launch.py            (a ROS 2 install)
python -m dkt_ros.node --ros-args -p autostart:=true -r image:=/camera/color/image_raw ...   (anywhere)
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from dkt_ros import node_parameters
from dkt_ros.background import exit_past_busy_threads
from dkt_ros.engines import Engine, load_engine
from dkt_ros.memory import keep_freed_memory
from dkt_ros.node_lifecycle import NODE_NAME, PerceptionNode

__all__ = ["PerceptionNode", "main"]

#: After so long the worker lets the executor have the interpreter; by default Python waits 5 ms, several times in one
#: callback.
SWITCH_INTERVAL_S = 0.001

HELP = """
Security: no service takes a path or a command, and no message makes the node read or write a file. The parameter
`weights` is a path of this machine; it is read at configure. Who may set parameters is a matter of SROS 2 (docs).

A failed start (autostart) is logged, shown in diagnostics, and leaves the node running and unconfigured, so that the
parameters can be corrected and the node configured by the commands in the log. A value of the wrong type on the command
line, such as 5 for a parameter with a decimal point (write 5.0), ends the process with one line.

Inputs, each as -r NAME:=TOPIC: image or image/compressed, camera_info; optional depth or depth/compressedDepth,
depth/camera_info, mask.

QoS of topic T: -p qos_overrides.T.publisher.reliability:=best_effort (or durability, history, depth); for an input
`subscription` in place of `publisher`.
"""


def main(arguments: Sequence[str] | None = None, engine_loader: Callable[..., Engine] = load_engine) -> None:
    """Run the node until a signal or a shutdown; with ``--help`` say what it is and what parameters it has."""
    if {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        print(f"{__doc__}{HELP}\nParameters (config/perception.yaml), each as -p NAME:=VALUE:")
        print(node_parameters.described())
        return
    keep_freed_memory()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    node = None
    try:
        rclpy.init(args=None if arguments is None else list(arguments))
        node = PerceptionNode(engine_loader)
        if node.get_parameter("autostart").value:
            node.start_when_spinning()
        else:
            node.get_logger().info("unconfigured; start with -p autostart:=true, or configure and activate it yourself")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        # Not a bare spin: a signal that lands before the first wait would be lost.
        while rclpy.ok():
            try:
                executor.spin_once(timeout_sec=0.5)
            except ExternalShutdownException:
                break
            except Exception as error:
                if not rclpy.ok():
                    raise
                node.outlived(error)  # whatever a callback, ours or rclpy's, has raised
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except ParameterException as error:
        sys.exit(f"{NODE_NAME}: {error}; see --help")
    except Exception:
        if node is None or rclpy.ok():
            raise  # else a signal shut the context down under our feet
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # we are leaving already
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    exit_past_busy_threads()


if __name__ == "__main__":
    main()
