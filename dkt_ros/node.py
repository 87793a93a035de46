"""The lifecycle node ``dkt_perception``: parameters, topics, a worker, diagnostics. No arithmetic on pixels.

ros2 launch dkt_ros perception.launch.py            (a ROS 2 install)
python -m dkt_ros.node --ros-args -p autostart:=true -r image:=/camera/color/image_raw ...   (anywhere)
"""

from __future__ import annotations

import gc
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from dkt_ros import node_parameters
from dkt_ros.clips import ClipBuffer
from dkt_ros.engines import Engine, load_engine
from dkt_ros.engines.fallback import FallbackEngine
from dkt_ros.frames import Clip, Estimate
from dkt_ros.memory import keep_freed_memory
from dkt_ros.node_diagnostics import Snapshot, Statistics, make_status
from dkt_ros.node_inputs import CameraInputs
from dkt_ros.node_outputs import Outputs
from dkt_ros.perception import Perception
from dkt_ros.worker import Worker

NODE_NAME = "dkt_perception"

#: Waiting pictures are looked at this often, publishers this often, diagnostics go out this often; seconds.
ADVANCE_PERIOD, RECHECK_PERIOD, DIAGNOSTICS_PERIOD = 0.05, 0.5, 1.0


class PerceptionNode(LifecycleNode):
    """See the module; the README lists topics and parameters.

    Args:
        engine_loader: called with the engine's name and its ``EngineOptions`` at configure.
        arguments: of ``rclpy.node.Node``, such as ``context`` or ``parameter_overrides``.
    """

    def __init__(self, engine_loader: Callable[..., Engine] = load_engine, **arguments: Any) -> None:
        super().__init__(NODE_NAME, **arguments)
        self._load_engine = engine_loader
        self._state = "unconfigured"
        self._statistics = Statistics(self._warn)
        self._perception: Perception | None = None
        self._buffer: ClipBuffer | None = None
        self._outputs: Outputs | None = None
        self._worker: Worker | None = None
        self._inputs: CameraInputs | None = None
        self._was_wanted = False
        self._normals_source = ""
        node_parameters.declare(self)
        self.add_on_set_parameters_callback(self._on_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # a simulation that stands still must not stop diagnostics
        for period, callback in (
            (DIAGNOSTICS_PERIOD, self._publish_diagnostics),
            (RECHECK_PERIOD, self._recheck),
            (ADVANCE_PERIOD, self._advance),
        ):
            self.create_timer(period, callback, clock=steady)
        self._reset_service = self.create_service(Trigger, "~/reset", self._on_reset)
        backward = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False)
        self._jumps = self.get_clock().create_jump_callback(backward, post_callback=self._on_jump)

    def start(self) -> bool:
        """Configure and activate; False (and the reason in the log) if the node could not be configured."""
        done = TransitionCallbackReturn.SUCCESS
        return bool(self.trigger_configure() == done and self.trigger_activate() == done)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and offer the topics; FAILURE, with the remedy in the log, if that cannot be done."""
        try:
            settings = node_parameters.settings(self)
            name, options = node_parameters.engine_options(self)
            self.get_logger().info(f"loading engine {name!r}")
            engine = self._load_engine(name, options)
            if engine.card.whole_video:
                raise ValueError(f"engine {name!r}, mode {options.mode!r}: wants whole recordings; set mode: streaming")
            self._perception = Perception(FallbackEngine(engine, self._gave_up), settings)
            self._buffer = self._perception.new_buffer(self.get_parameter("queue").value)
            self._outputs = Outputs(self)
        except Exception as error:
            self._release()
            known = isinstance(error, ValueError | OSError | ImportError | MemoryError)
            what = str(error) if known else f"{type(error).__name__}: {error}"
            name = self.get_fully_qualified_name()
            self.get_logger().error(
                f"cannot be configured: {what}; correct that (parameters: "
                f"ros2 param set {name} ...), then: ros2 lifecycle set {name} configure; "
                f"ros2 lifecycle set {name} activate"
            )
            return TransitionCallbackReturn.FAILURE
        self._statistics = Statistics(self._warn)
        self._state = "inactive"
        self.get_logger().info(f"engine {engine.card.name!r} is loaded ({engine.card.kind} disparity)")
        return TransitionCallbackReturn.SUCCESS

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker."""
        assert self._perception is not None and self._buffer is not None
        self._worker = Worker(self._perception, self._buffer, self._publish, self._failed)
        self._inputs = CameraInputs(self, self._statistics, self._is_wanted, self._advance)
        self._state = "active"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, finish the clip in work and forget the history."""
        self._stop()
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and the topics."""
        self._release()
        self._state = "unconfigured"
        return TransitionCallbackReturn.SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything."""
        self._stop()
        self._release()
        self._state = "finalized"
        return TransitionCallbackReturn.SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured."""
        self._stop()
        self._release()
        self._state = "unconfigured"
        return TransitionCallbackReturn.SUCCESS

    def destroy_node(self) -> None:
        """Stop the worker before what it publishes with goes away."""
        self._stop()
        super().destroy_node()

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text)

    def _stop(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
        if self._worker is not None and not self._worker.stop():
            self.get_logger().error(
                "the model still works on a clip and cannot be interrupted; its result is discarded"
            )
        self._forget("deactivated")
        self._worker = self._inputs = None

    def _release(self) -> None:
        if self._outputs is not None:
            self._outputs.close()
        self._outputs = self._perception = self._buffer = None
        gc.collect()  # a model's memory goes back now, not some time later

    def _forget(self, reason: str) -> None:
        if self._inputs is not None:
            self._inputs.forget(reason)
        if self._buffer is not None:
            self._buffer.reset(reason)

    def _is_wanted(self) -> bool:
        """Whether anybody reads an output. The history goes with the last reader: it would be stale for the next."""
        wanted = self._outputs is not None and self._outputs.wanted()
        if self._was_wanted and not wanted:
            self._forget("no subscriber")
        self._was_wanted = wanted
        return wanted

    def _advance(self) -> None:
        """Pass on the pictures that need not wait any longer."""
        if self._buffer is None or self._worker is None or self._inputs is None:
            return
        for frame in self._inputs.frames():
            found = self._buffer.push(frame)
            if found is not None:
                self._statistics.fault(found.reason, f"{self._inputs.topic('image')}: {found.message}")
            self._worker.wake()

    def _recheck(self) -> None:
        if self._inputs is not None:
            self._inputs.recheck()
            self._is_wanted()

    def _publish(self, estimate: Estimate) -> None:
        """On the worker's thread."""
        if self._outputs is not None:
            self._outputs.publish(estimate)
        self._normals_source = estimate.normals_source
        self._statistics.went(estimate.frame.stamp_ns)

    def _failed(self, clip: Clip, lost: int, error: Exception) -> None:
        """On the worker's thread."""
        stamp = clip.frames[-1].stamp_ns
        text = f"a clip ending at {stamp} ns failed: {type(error).__name__}: {error}; the history starts anew"
        self._statistics.drop("model error", text, lost)

    def _gave_up(self, words: str) -> None:
        """On the worker's thread: the GPU's memory is too small."""
        self._statistics.fault("out of GPU memory", words)

    def _on_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        configured = self._state in ("inactive", "active")
        reason = node_parameters.refusal(changes, configured, self.get_fully_qualified_name())
        return SetParametersResult(successful=not reason, reason=reason)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._forget("reset")
        response.success = self._state == "active"
        response.message = "clip, scale and history are forgotten" if response.success else f"the node is {self._state}"
        return response

    def _on_jump(self, jump: Any) -> None:
        text = f"the clock went back by {-jump.delta.nanoseconds * 1e-9:.3f} s; the history starts anew"
        self._statistics.fault("clock went back", text)
        self._forget("clock went back")

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [make_status(self._snapshot(), self.get_name())]
        self._diagnostics.publish(message)

    def _snapshot(self) -> Snapshot:
        buffer, inputs, statistics = self._buffer, self._inputs, self._statistics
        in_flight = self._worker.in_flight if self._worker else 0
        return Snapshot(
            state=self._state,
            statistics=statistics,
            topics={name: self.resolve_topic_name(name) for name in ("image", "camera_info")},
            image_publishers=inputs.image_publishers() if inputs else 0,
            wanted=self._outputs is not None and self._outputs.wanted(),
            has_camera=inputs is not None and inputs.has_camera,
            waiting=(inputs.waiting if inputs else 0) + (buffer.waiting if buffer else 0) + in_flight,
            needed=buffer.length if buffer else 0,
            drops=statistics.counts()[0] + (buffer.counts() if buffer else Counter()),
            fit=self._perception.last_fit if self._perception else None,
            values=self._values(),
        )

    def _values(self) -> dict[str, str]:
        values = self._inputs.described() if self._inputs else {}
        if self._statistics.last_stamp is not None:
            age = self.get_clock().now().nanoseconds - self._statistics.last_stamp
            values["age (s)"] = f"{age * 1e-9:.3f}"
        if self._perception is not None:
            engine = self._perception.engine
            values["model"] = engine.card.name
            values["normals"] = self._normals_source
            values["device"] = str(getattr(engine, "device", "cpu"))
            # Copied: the worker adds to it meanwhile.
            seconds = self._perception.seconds.copy()
            values |= {f"seconds/{stage}": f"{spent:.4f}" for stage, spent in seconds.items()}
        return values


def main(arguments: Sequence[str] | None = None, engine_loader: Callable[..., Engine] = load_engine) -> None:
    """Run the node until a signal or a shutdown; with ``--help`` say what it is and what parameters it has."""
    if {"-h", "--help"} & set(sys.argv[1:] if arguments is None else arguments):
        print(f"{__doc__}\nParameters (config/perception.yaml), each as -p NAME:=VALUE:\n{node_parameters.described()}")
        return
    keep_freed_memory()
    node = None
    try:
        rclpy.init(args=None if arguments is None else list(arguments))
        node = PerceptionNode(engine_loader)
        if node.get_parameter("autostart").value:
            node.start()
        else:
            node.get_logger().info("unconfigured; start with -p autostart:=true, or configure and activate it yourself")
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        # Not a bare spin: a signal that lands before the first wait would be lost.
        while rclpy.ok():
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
