"""The lifecycle node itself: transitions, parameters, services, diagnostics. What it runs: node_pipeline."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.msg import SetParametersResult
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from dkt_ros import node_parameters, node_settings
from dkt_ros.background import Background
from dkt_ros.engines import Engine, load_engine
from dkt_ros.engines.fallback import FallbackEngine
from dkt_ros.node_capture import Turn
from dkt_ros.node_diagnostics import Snapshot, StallMeter, Statistics, make_status, why_no_output
from dkt_ros.node_overrides import unknown_overrides
from dkt_ros.node_pipeline import Pipeline
from dkt_ros.node_status import take_snapshot

NODE_NAME = "dkt_perception"

#: Waiting pictures are looked at this often, publishers this often; seconds.
ADVANCE_PERIOD, RECHECK_PERIOD = 0.05, 0.5
#: A clip in work cannot be interrupted. Deactivation waits for it so long, the end of the process so long.
STOP_TIMEOUT_S, EXIT_TIMEOUT_S = 10.0, 2.0

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class PerceptionNode(LifecycleNode):
    """``dkt_perception``; the README lists topics and parameters.

    Args:
        engine_loader: called with the engine's name and its ``EngineOptions`` at configure, on a thread of its own.
        arguments: of ``rclpy.node.Node``, such as ``context`` or ``parameter_overrides``.
    """

    def __init__(self, engine_loader: Callable[..., Engine] = load_engine, **arguments: Any) -> None:
        super().__init__(NODE_NAME, **arguments)
        self._load_engine = engine_loader
        self._state = "unconfigured"
        self._phase = self._trouble = ""
        self._pipeline: Pipeline | None = None
        self._meter = StallMeter()
        self._meter_timer: Any = None
        self._diagnosed_at = 0.0
        node_parameters.declare(self)
        self._remarks = tuple(unknown_overrides(self))
        for remark in self._remarks:
            self.get_logger().warning(remark)
        self._statistics = self._new_statistics()
        self.add_on_set_parameters_callback(self._on_parameters)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)  # a simulation that stands still must not stop us
        period = self.get_parameter("diagnostics_period").value
        self._diagnostics_timer = self.create_timer(period, self._safely(self._publish_diagnostics), clock=self._steady)
        self.create_timer(RECHECK_PERIOD, self._safely(self._recheck), clock=self._steady)
        self.create_timer(ADVANCE_PERIOD, self._advance, clock=self._steady)
        self.create_service(Trigger, "~/reset", self._on_reset)
        # A group of its own: in the default one everything else would wait for the coroutine to end.
        self.create_service(Trigger, "~/capture", self._on_capture, callback_group=ReentrantCallbackGroup())
        backward = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1), on_clock_change=False)
        self._jumps = self.get_clock().create_jump_callback(backward, post_callback=self._on_jump)

    def start(self) -> bool:
        """Configure and activate; False (and the reason in the log and in diagnostics) if that could not be done."""
        return bool(self.trigger_configure() == SUCCESS and self.trigger_activate() == SUCCESS)

    def start_when_spinning(self) -> None:
        """``start`` as soon as an executor spins. Where it fails the node stays, unconfigured, for its user to mend."""

        def once() -> None:
            timer.cancel()
            self.start()

        timer = self.create_timer(0.001, once, clock=self._steady)

    def outlived(self, error: Exception) -> None:
        """What the executor raised is counted and logged; the node goes on."""
        self._statistics.outlived("the executor", error)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the model and offer the topics; FAILURE, with the remedy in the log, if that cannot be done."""
        self._state, self._trouble = "configuring", ""
        self._statistics = self._new_statistics()
        try:
            value = node_settings.current(self)
            node_settings.check(value)
            settings = node_settings.settings(value)
            self._apply(settings)  # what was set while it did not go together is not in force yet
            name, options = node_settings.engine_options(value)
            self.get_logger().info(f"loading engine {name!r}")
            self._phase = f"the model {name!r} is being loaded"
            loading = Background(lambda: self._load_engine(name, options), "dkt_perception_load")
            if not self._wait_while(lambda: loading.alive):
                return self._not_configured("the node is being shut down")
            engine = FallbackEngine(loading.result(), self._gave_up)
            if engine.card.whole_video:
                raise ValueError(f"engine {name!r} wants whole recordings and cannot follow a camera; choose another")
            self._pipeline = Pipeline(self, engine, settings, self._statistics, lambda: why_no_output(self._snapshot()))
        except Exception as error:
            return self._not_configured(_words(error, ValueError, OSError, ImportError, MemoryError))
        self._state, self._phase = "inactive", ""
        gc.collect()
        gc.freeze()  # a collection that walks over all of torch again and again would hold up the executor
        self.get_logger().info(f"engine {engine.card.name!r} is loaded ({engine.card.kind} disparity)")
        return SUCCESS

    def _not_configured(self, reason: str) -> TransitionCallbackReturn:
        self._release()
        name = self.get_fully_qualified_name()
        self._state, self._phase = "unconfigured", ""
        self._trouble = (
            f"cannot be configured: {reason}; correct that (parameters: ros2 param set {name} ...), then: "
            f"ros2 lifecycle set {name} configure; ros2 lifecycle set {name} activate"
        )
        if self.context.ok():
            self.get_logger().error(self._trouble)
        return FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start the worker; FAILURE while a clip of the last activation is still in work, or for a QoS
        override that is none."""
        assert self._pipeline is not None
        if self._pipeline.busy:
            name = self.get_fully_qualified_name()
            self._trouble = (
                "cannot be activated: the model still works on a clip from before the deactivation; activate again "
                f"when it is done, or load it anew: ros2 lifecycle set {name} cleanup, configure, activate"
            )
            self.get_logger().error(self._trouble)
            return FAILURE
        self._trouble = ""
        try:
            self._pipeline.activate()
        except Exception as error:  # rclpy would swallow it without a word
            self._pipeline.deactivate()  # what was started
            words = _words(error, ValueError, RuntimeError)
            self._trouble = f"cannot be activated: {words}; start it again with that corrected"
            self.get_logger().error(self._trouble)
            return FAILURE
        self._meter.restart()
        self._meter_timer = self.create_timer(self._meter.period_s, self._meter.tick, clock=self._steady)
        self._state = "active"
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe, finish the clip in work and forget the history."""
        self._stop(STOP_TIMEOUT_S)
        self._state = "inactive"
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and the topics."""
        self._release()
        self._state, self._trouble = "unconfigured", ""
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and free everything."""
        self._stop(STOP_TIMEOUT_S)
        self._release()
        self._state = "finalized"
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Back to unconfigured; rclpy has swallowed what a transition raised."""
        self._trouble = "a transition failed by an error of ours; please report this, and configure the node again"
        self.get_logger().error(self._trouble)
        for step in (lambda: self._stop(STOP_TIMEOUT_S), self._release):
            try:
                step()
            except Exception as error:  # from here the node would end finalized, and could not be mended
                self._statistics.outlived("on_error", error)
        self._pipeline, self._state = None, "unconfigured"
        return SUCCESS

    def destroy_node(self) -> None:
        """Stop the worker before what it publishes with goes away."""
        self._stop(EXIT_TIMEOUT_S)
        gc.unfreeze()  # else this node and its DDS participant would stay as long as the process does
        super().destroy_node()

    def _stop(self, timeout: float) -> None:
        pipeline = self._pipeline
        if pipeline is None:
            return
        if self._meter_timer is not None:
            self.destroy_timer(self._meter_timer)
            self._meter_timer = None
        pipeline.deactivate()
        self._phase = "the clip in work is being finished"
        self._wait_while(lambda: pipeline.busy, timeout)
        self._phase = ""
        pipeline.abandon()

    def _release(self) -> None:
        if self._pipeline is not None:
            self._pipeline.close()
        self._pipeline = None
        gc.unfreeze()
        gc.collect()  # a model's memory goes back now, not some time later

    def _wait_while(self, condition: Callable[[], bool], timeout: float = float("inf")) -> bool:
        """Wait, with diagnostics, until the condition is false; False if the time or the process is over before."""
        end = time.monotonic() + timeout
        while condition():
            now = time.monotonic()
            if not self.context.ok():
                end = min(end, now + EXIT_TIMEOUT_S) if timeout < float("inf") else now
            elif now - self._diagnosed_at > self._diagnostics_timer.timer_period_ns * 1e-9:
                self._publish_diagnostics()
            if now >= end:
                return False
            time.sleep(0.01)
        return True

    def _new_statistics(self) -> Statistics:
        return Statistics(lambda text: self.get_logger().warning(text), self.get_parameter("log_period").value)

    def _safely(self, callback: Callable[[], None]) -> Callable[[], None]:
        """The callback for a timer: what it raises would end the executor, and with it the process."""

        def call() -> None:
            try:
                callback()
            except Exception as error:
                if self.context.ok():  # else a signal shut it down under our feet
                    self._statistics.outlived(callback.__name__, error)

        return call

    def _advance(self) -> None:
        if self._pipeline is not None:
            self._pipeline.advance()

    def _recheck(self) -> None:
        if self._pipeline is not None:
            self._pipeline.recheck()

    def _gave_up(self, words: str) -> None:
        """On the worker's thread: the GPU's memory is too small."""
        self._statistics.fault("out of GPU memory", words)

    def _on_parameters(self, changes: Sequence[Parameter]) -> SetParametersResult:
        configured = self._state in ("inactive", "active")
        reason = node_settings.refusal(changes, configured, self.get_fully_qualified_name())
        ours = any(change.name in node_parameters.BY_NAME for change in changes)
        if ours and not reason:
            try:
                self._apply(node_settings.settings(node_settings.current(self, changes)))
            except Exception as error:  # raised from here it would end the executor, and with it the process
                # before configure a user corrects one value after the other; configure looks at them all
                reason = _words(error, ValueError, ImportError) if configured else ""
        return SetParametersResult(successful=not reason, reason=reason)

    def _apply(self, settings: node_settings.NodeSettings) -> None:
        if self._pipeline is not None:
            self._pipeline.apply(settings)
        self._statistics.log_period = settings.log_period
        self._diagnostics_timer.timer_period_ns = int(settings.diagnostics_period * 1e9)

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._state == "active"
        response.message = "clip, scale and history are forgotten" if response.success else f"the node is {self._state}"
        if self._pipeline is not None:
            self._pipeline.capture.cancel("~/reset was called; ask again")
            self._pipeline.forget("reset")
        return response

    async def _on_capture(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """Answers when the capture is done; the executor goes on meanwhile."""
        pipeline = self._pipeline
        if pipeline is None or self._state != "active":
            name = self.get_fully_qualified_name()
            response.message = f"the node is {self._state}; activate it: ros2 lifecycle set {name} activate"
            return response
        settings = node_settings.settings(node_settings.current(self)).capture
        refused = pipeline.capture.begin(settings, pipeline.inputs.newest_ns if pipeline.inputs else 0)
        if refused:
            response.message = refused
            return response
        while (answer := pipeline.capture.poll()) is None:
            await Turn()
        response.success, response.message = answer
        return response

    def _on_jump(self, jump: Any) -> None:
        text = f"the clock went back by {-jump.delta.nanoseconds * 1e-9:.3f} s; the history starts anew"
        self._statistics.fault("clock went back", text)
        if self._pipeline is not None:
            self._pipeline.capture.cancel("the clock went back; ask again")
            self._pipeline.forget("clock went back")

    def _publish_diagnostics(self) -> None:
        self._diagnosed_at = time.monotonic()
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [make_status(self._snapshot(), self.get_fully_qualified_name())]
        self._diagnostics.publish(message)

    def _snapshot(self) -> Snapshot:
        return take_snapshot(
            self, self._state, self._phase, self._trouble, self._statistics, self._pipeline, self._meter, self._remarks
        )


def _words(error: Exception, *expected: type[Exception]) -> str:
    """What an error says; one of another kind than expected is named, too."""
    return str(error) if isinstance(error, expected) else f"{type(error).__name__}: {error}"
