"""The example node ``antipodal_grasps``: an organised cloud with normals in, ranked grasps for a parallel jaw out.

ros2 run dkt_ros antipodal_grasp_node --ros-args -r points:=/dkt_perception/points        (a ROS 2 install)
python -m dkt_ros.grasp_node --ros-args -r points:=/dkt_perception/points                 (anywhere)

Subscribes: ``points`` (sensor_msgs/PointCloud2: height and width of the picture, fields x y z normal_x normal_y
normal_z at any offsets, float32 or float64), the newest only, and only while somebody reads the grasps, so that a
perception node that works on demand rests too. Publishes, best grasp first, in the cloud's frame with its stamp:

* ``~/grasps`` (geometry_msgs/PoseArray): z is the approach, y the closing line, the origin lies between the contacts.
* ``~/grasps/details`` (sensor_msgs/PointCloud2, height 1): the same grasps in the same order as points with the float32
  fields x y z qx qy qz qw width score thing. A PoseArray has no room for the jaw's width and no message of the common
  packages has both; a cloud is stamped, names its fields, and every viewer and bag tool reads it.
* ``~/markers`` (visualization_msgs/MarkerArray, where that package is installed): the jaws, green good to red poor.
* ``/diagnostics``: clouds, grasps, time, faults by reason, and one line: why there is no output.
"""

from __future__ import annotations

import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from statistics import median
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import PointCloud2

from dkt_ros import grasp_parameters
from dkt_ros.grasp_messages import (
    CloudError,
    check_reading,
    layout_of,
    make_details,
    make_markers,
    make_poses,
    read_cloud,
)
from dkt_ros.grasps import Grasps, NoTable, propose

NODE_NAME = "antipodal_grasps"
#: Readers are looked for this often, diagnostics go out this often, the same fault is logged at most this often; s.
RECHECK_PERIOD, DIAGNOSTICS_PERIOD, LOG_PERIOD = 0.25, 1.0, 10.0


class GraspNode(Node):
    """See the module. Arguments are those of ``rclpy.node.Node``."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(NODE_NAME, **arguments)
        grasp_parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._poses = self.create_publisher(PoseArray, "~/grasps", reliable)
        self._details = self.create_publisher(PointCloud2, "~/grasps/details", reliable)
        self._markers = self._marker_publisher(reliable)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._subscription: Any = None
        self._layout: Any = None
        self._received = self._planned = self._last_count = 0
        self._faults: Counter[str] = Counter()
        self._logged: dict[str, float] = {}
        self._last_fault = ""
        self._seconds: deque[float] = deque(maxlen=30)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(RECHECK_PERIOD, self._recheck, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)

    def _marker_publisher(self, qos: QoSProfile) -> Any:
        try:
            from visualization_msgs.msg import MarkerArray
        except ImportError:
            self.get_logger().info("no ~/markers: visualization_msgs is not installed")
            return None
        return self.create_publisher(MarkerArray, "~/markers", qos)

    def _wanted(self) -> bool:
        outputs = (self._poses, self._details, self._markers)
        return any(each is not None and each.get_subscription_count() for each in outputs)

    def _recheck(self) -> None:
        """Subscribe while somebody reads, and no longer."""
        if self._wanted() and self._subscription is None:
            qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
            overrides = QoSOverridingOptions.with_default_policies()
            self._subscription = self.create_subscription(
                PointCloud2, "points", self._on_cloud, qos, qos_overriding_options=overrides
            )
        elif not self._wanted() and self._subscription is not None:
            self.destroy_subscription(self._subscription)
            self._subscription = None

    def _on_cloud(self, message: PointCloud2) -> None:
        self._received += 1
        began = time.perf_counter()
        try:
            points, normals = read_cloud(message)
            if (layout := layout_of(message)) != self._layout:
                check_reading(message, points)
                self._layout = layout
            grasps = propose(points, normals, grasp_parameters.settings(self))
        except CloudError as error:
            self._fault(error.reason, str(error))
            return
        except NoTable as error:
            self._fault("no table", str(error))
            grasps = Grasps.none()
        self._seconds.append(time.perf_counter() - began)
        self._planned, self._last_count = self._planned + 1, len(grasps)
        self._poses.publish(make_poses(grasps, message.header))
        self._details.publish(make_details(grasps, message.header))
        if self._markers is not None and self._markers.get_subscription_count():
            self._markers.publish(make_markers(grasps, message.header, grasp_parameters.settings(self).gripper))

    def _fault(self, reason: str, text: str) -> None:
        """Count, and say the first time and then now and again."""
        self._faults[reason] += 1
        self._last_fault = text
        now = time.monotonic()
        if now - self._logged.get(reason, -LOG_PERIOD) >= LOG_PERIOD:
            self._logged[reason] = now
            self.get_logger().warning(f"{text} ({self._faults[reason]} so far)")

    def _on_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        reason = grasp_parameters.refusal(self, changes)
        return SetParametersResult(successful=not reason, reason=reason)

    def _why_no_output(self) -> str:
        if not self._wanted():
            return "nobody subscribes to the grasps"
        if not self._received:
            topic = self.resolve_topic_name("points")
            publishers = self.count_publishers(topic)
            return f"no cloud came on {topic}, which has {publishers} publishers"
        return "" if self._planned else self._last_fault

    def _publish_diagnostics(self) -> None:
        why = self._why_no_output()
        idle = not self._wanted()
        status = DiagnosticStatus(name=f"{self.get_name()}: grasps", hardware_id=self.get_fully_qualified_name())
        status.level = DiagnosticStatus.WARN if why and not idle else DiagnosticStatus.OK
        status.message = why or f"{self._last_count} grasps in the newest cloud"
        values = {
            "why no output": why,
            "clouds received": str(self._received),
            "clouds planned": str(self._planned),
            "grasps in the newest": str(self._last_count),
            "planning, median (s)": f"{median(self._seconds):.3f}" if self._seconds else "",
            **{f"faults/{reason}": str(count) for reason, count in self._faults.items()},
            "last fault": self._last_fault,
        }
        status.values = [KeyValue(key=key, value=value) for key, value in values.items()]
        message = DiagnosticArray(status=[status])
        message.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(message)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the node until a signal; with ``--help`` say what it is and what parameters it has."""
    if {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        print(f"{__doc__}\nParameters, each as -p NAME:=VALUE, all changeable while it runs:")
        print(grasp_parameters.described())
        return
    node = None
    try:
        rclpy.init(args=None if arguments is None else list(arguments))
        node = GraspNode()
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while rclpy.ok():  # not a bare spin: a signal that lands before the first wait would be lost
            executor.spin_once(timeout_sec=0.5)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        if rclpy.ok():
            raise  # else a signal shut the context down under our feet
    finally:
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()


if __name__ == "__main__":
    main()
