"""What a recording is put through: the path in this process, or the real node."""

from __future__ import annotations

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from dkt_ros.clips import break_between
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.temporal import clip_starts
from dkt_ros.frames import Estimate, Frame

if TYPE_CHECKING:
    from dkt_ros.perception import Perception
    from dkt_ros.shots import CutDetector

Progress = Callable[[int], object]
#: Written beside the numbers.
NODE_IN_WORDS = (
    "the node is the robot's: it drops what it cannot keep up with and lets a clip go incomplete that does not fill in"
    " time; where it has seen the clips of the path in process, its depth is the same, bit for bit"
)


class Player(Protocol):
    """What a recording is put through.

    Attributes:
        starts: once a recording was played to its end, numbers of its frames that begin a clip; () if nobody knows.
        timing: of all recordings so far, for timing.json.
    """

    @property
    def starts(self) -> Collection[int]: ...

    @property
    def timing(self) -> dict[str, Any]: ...

    def about(self) -> dict[str, Any]:
        """The engine's name and what else decides its numbers, for the report."""

    def play(self, recording: Recording, progress: Progress) -> Iterator[Estimate]:
        """The estimates of a recording; ``progress`` is called with 1 after each."""


class InProcess:
    """The path in this process, as fast as it goes; every frame, nothing late.

    Args:
        perception: the path.
        cuts: finds scene cuts; None looks for none.
    """

    def __init__(self, perception: Perception, cuts: CutDetector | None = None) -> None:
        self._perception, self._cuts = perception, cuts
        self._seconds, self._frames = 0.0, 0
        self.starts: Collection[int] = ()

    @property
    def timing(self) -> dict[str, Any]:
        """Seconds of the path for a frame, without those for reading it."""
        return {"path_seconds_per_frame": self._seconds / self._frames if self._frames else None}

    def about(self) -> dict[str, Any]:
        """See ``Player``."""
        path, card = self._perception, self._perception.engine.card
        said: dict[str, Any] = {"engine": card.name, "kind": card.kind, "licence": card.licence}
        said["description"] = card.description
        said |= {"clip_length": path.clip_length, "overlap": path.overlap, "through": "process"}
        if torch := sys.modules.get("torch"):
            said["threads"] = torch.get_num_threads()  # a network's last digits hang on it
        return said | {"use_sensor_depth": path.settings.use_sensor_depth, "cuts": self._cuts and self._cuts.cuts}

    def play(self, recording: Recording, progress: Progress) -> Iterator[Estimate]:
        """See ``Player``."""
        path, cuts = self._perception, self._cuts
        path.reset()
        before = cuts.cuts if cuts else 0
        if cuts:
            cuts.forget()
        estimates = path.run_recording(lambda: self._untimed(recording.frames), cuts=cuts)
        while (estimate := self._timed(estimates)) is not None:
            self._frames += 1
            progress(1)
            yield estimate
        known = not (cuts and cuts.cuts > before) and _one_shot(recording)
        self.starts = clip_starts(len(recording.frames), path.clip_length, path.overlap) if known else ()

    def _timed(self, estimates: Iterator[Estimate]) -> Estimate | None:
        start = time.perf_counter()
        try:
            return next(estimates, None)
        finally:
            self._seconds += time.perf_counter() - start

    def _untimed(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        reading = iter(frames)
        while True:
            start = time.perf_counter()
            frame = next(reading, None)
            self._seconds -= time.perf_counter() - start
            if frame is None:
                return
            yield frame


class ThroughNode:
    """The real node in a process of its own, over DDS, at the recording's own rate.

    Args:
        arguments: as ``commands.run.add_engine_arguments`` parses them.
        parameters: of the node, NAME:=VALUE, laid over its own.
    """

    def __init__(self, arguments: Namespace, parameters: Sequence[str] = ()) -> None:
        self._arguments, self._parameters = arguments, parameters
        self._timings: list[dict[str, Any]] = []
        self.starts: Collection[int] = ()

    @property
    def timing(self) -> dict[str, Any]:
        """Of all replays together."""
        from dkt_ros.node_timing import together

        return together(self._timings)

    def about(self) -> dict[str, Any]:
        """See ``Player``."""
        said = {"engine": self._arguments.engine, "through": "node", "parameters": list(self._parameters)}
        return said | {"use_sensor_depth": not self._arguments.no_sensor_depth}

    def play(self, recording: Recording, progress: Progress) -> Iterator[Estimate]:
        """See ``Player``."""
        from dkt_ros.evaluation.through_node import run

        with tempfile.TemporaryDirectory(prefix="dkt_eval_") as logs:
            estimates, timing = run(recording, self._arguments, Path(logs), self._parameters)
            self._timings.append(timing)
            self.starts = _starts(recording, timing)
            for estimate in estimates:
                progress(1)
                yield estimate


def _one_shot(recording: Recording) -> bool:
    """Whether nothing but a cut can break its clips: after a break they begin elsewhere, and a seam there is meant."""
    return all(break_between(*pair) is None for pair in pairwise(recording.frames))


def _starts(recording: Recording, timing: dict[str, Any]) -> Collection[int]:
    """Where clips begin is known where the node has seen those of the path in this process."""
    from dkt_ros.node_timing import same_clips

    length, overlap = timing["clip_length"], timing["overlap"]
    known = same_clips(timing) and _one_shot(recording)
    return clip_starts(len(recording.stamps()), length, overlap) if known else ()
