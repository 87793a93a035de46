"""What lives from configure to cleanup: model, buffer, outputs, capture; and, while active, inputs and the worker."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from dkt_ros.clips import ClipBuffer
from dkt_ros.engines import Engine
from dkt_ros.frames import Estimate, Frame
from dkt_ros.node_capture import Capture
from dkt_ros.node_diagnostics import Statistics
from dkt_ros.node_inputs import CameraInputs
from dkt_ros.node_outputs import CapturedOutputs, MessageMaker, Outputs
from dkt_ros.node_settings import NodeSettings
from dkt_ros.node_transforms import NodeTransforms
from dkt_ros.perception import Perception
from dkt_ros.worker import WARM_UP_SIZE, Worker


class Pipeline:
    """One loaded model and its topics. All methods are for the executor's thread.

    Args:
        node: the rclpy node.
        engine: the depth model.
        settings: what the parameters say.
        statistics: where everything is counted.
        why_no_output: the diagnosis, for captures that wait in vain.

    Raises:
        ValueError: settings that do not suit the engine.
        ImportError: TF is needed and not installed.
        RuntimeError: a QoS override that rclpy does not know.

    Attributes:
        perception: belongs to the worker's thread while there is one.
        buffer: between both threads.
        capture: see ``node_capture``.
        inputs: None unless active.
        normals_source: of the newest estimate.
        clip_seconds: ``Perception.seconds`` of the last clip that was finished; nothing is added to it any more.
    """

    def __init__(
        self,
        node: Any,
        engine: Engine,
        settings: NodeSettings,
        statistics: Statistics,
        why_no_output: Callable[[], str],
    ) -> None:
        self._node, self._settings, self._statistics = node, settings, statistics
        self.perception = Perception(engine, settings.path)
        waiting = settings.buffer
        self.buffer: ClipBuffer = self.perception.new_buffer(waiting.queue, waiting.mode, waiting.max_age)
        self._transforms = NodeTransforms(node, statistics.fault)
        with ExitStack() as undo:
            self._transforms.update(settings.frames)
            undo.callback(self._transforms.close)
            self._maker = MessageMaker(settings.outputs, self._transforms.source, statistics.fault)
            self._outputs = Outputs(node, self._maker, statistics.fault)
            undo.callback(self._outputs.close)
            self._captured = CapturedOutputs(node, self._maker)
            undo.pop_all()
        self.capture = Capture(self._captured.publish, lambda: node.get_clock().now().nanoseconds, why_no_output)
        self.inputs: CameraInputs | None = None
        self.normals_source = ""
        self.clip_seconds: dict[str, float] = {}
        self._size = WARM_UP_SIZE
        self._worker: Worker | None = None
        self._was_wanted = False

    @property
    def busy(self) -> bool:
        """Whether a worker of this or of an earlier activation still uses the model."""
        return self._worker is not None and self._worker.alive

    @property
    def warming_up(self) -> bool:
        """Whether the model runs on a made-up clip."""
        return self._worker is not None and self._worker.warming_up

    @property
    def trouble(self) -> str:
        """Why the model is not asked, see ``Worker.trouble``."""
        return self._worker.trouble if self._worker is not None else ""

    @property
    def publishers(self) -> tuple[Any, ...]:
        """Of the outputs; without those of captures."""
        return self._outputs.publishers

    @property
    def readers(self) -> dict[str, int]:
        """How many subscriptions each output has, by its name."""
        return self._outputs.readers()

    @property
    def waiting(self) -> int:
        """Frames that came and are neither published nor dropped."""
        in_flight = self._worker.in_flight if self._worker is not None else 0
        return (self.inputs.waiting if self.inputs else 0) + self.buffer.waiting + in_flight

    def drops(self) -> Counter[str]:
        """Frames dropped by the buffer, by reason."""
        return self.buffer.counts()

    def apply(self, settings: NodeSettings) -> None:
        """Go on with other settings: outputs at once, the path from the next clip on.

        Raises:
            ValueError: frames that do not go together.
            ImportError: TF is needed and not installed.
        """
        self._transforms.update(settings.frames)
        self._maker.use(settings.outputs, self._transforms.source)
        waiting = settings.buffer
        self.buffer.configure(capacity=waiting.queue, mode=waiting.mode, max_age_s=waiting.max_age)
        if self._worker is not None:
            self._worker.apply(settings.path)
        self._settings = settings

    def activate(self) -> None:
        """Subscribe and start the worker; only while not ``busy``.

        Raises:
            ValueError, RuntimeError: a QoS override that is no such policy; then nothing is started.
        """
        self.perception.settings = self._settings.path
        table = self._transforms
        self.inputs = CameraInputs(
            self._node, self._statistics, self.wanted, self.advance, table.plane, table.plane_settled
        )
        self._worker = Worker(self.perception, self.buffer, self._publish, self._failed, self._warm_up_size())

    def _warm_up_size(self) -> tuple[int, int] | None:
        """The pictures' size, of the activation before; None without warm-up."""
        return self._size if self._settings.warm_up else None

    def deactivate(self) -> None:
        """Unsubscribe and ask the worker to end after its clip; it may stay ``busy`` with that."""
        if self.inputs is not None:
            self.inputs.close()
        self.forget("deactivated")
        self.inputs = None
        self.capture.cancel("the node was deactivated")
        if self._worker is not None:
            self._worker.stop()

    def abandon(self) -> None:
        """Discard what the worker still works on."""
        if self._worker is not None and self._worker.alive:
            lost = self._worker.abandon()
            text = "the model still works on a clip and cannot be interrupted; its result is discarded"
            self._statistics.drop("deactivated", text, lost)

    def close(self) -> None:
        """Destroy the topics. The model goes when nothing uses it any more."""
        self.capture.cancel("the node was cleaned up")
        self._transforms.close()
        self._outputs.close()
        self._captured.close()

    def forget(self, reason: str) -> None:
        """Drop the frames that wait and the history before them."""
        if self.inputs is not None:
            self.inputs.forget(reason)
        self.buffer.reset(reason)
        if reason == "clock went back":
            self._transforms.clear()

    def wanted(self) -> bool:
        """Whether anybody reads an output. The history goes with the last reader: it would be stale for the next."""
        wanted = self._outputs.wanted() or self.capture.busy
        if self._was_wanted and not wanted:
            self.forget("no subscriber")
        self._was_wanted = wanted
        return wanted

    def advance(self) -> None:
        """Pass on the pictures that need not wait any longer."""
        if self._worker is None or self.inputs is None:
            return
        try:
            for frame, arrived in self.inputs.frames():
                self._push(frame, arrived, self.inputs.topic("image"))
                self._worker.wake()
        except Exception as error:  # whatever a picture does to us, the executor goes on
            self._statistics.outlived("advance", error)

    def _push(self, frame: Frame, arrived: float, topic: str) -> None:
        found = self.buffer.push(frame, arrived)
        if found is not None:
            self._statistics.fault(found.reason, f"{topic}: {found.message}")
            if found.reason == "stamp backward":
                self._transforms.clear()

    def recheck(self) -> None:
        """Follow publishers and readers that came or went."""
        if self.inputs is not None:
            self.inputs.recheck()
            self.wanted()

    def _publish(self, estimate: Estimate) -> None:
        """On the worker's thread."""
        if not self._node.context.ok():
            return  # the process is ending
        self.clip_seconds = self.perception.seconds  # the next clip gets a dictionary of its own
        start = time.perf_counter()
        self._outputs.publish(estimate)
        spent = time.perf_counter() - start
        self.capture.offer(estimate)
        self.normals_source = estimate.normals_source
        self._size = estimate.frame.size
        self._statistics.went(estimate.frame.stamp_ns, spent, sum(self.clip_seconds.values()))

    def _failed(self, words: str, lost: int) -> None:
        """On the worker's thread."""
        self._statistics.drop("model error", words, lost)
