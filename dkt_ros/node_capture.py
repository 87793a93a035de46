"""``~/capture``: one settled estimate that is newer than the request, for grippers that look once and then act."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from dkt_ros.frames import Estimate, Float32
from dkt_ros.node_settings import CaptureSettings

#: Estimates are compared on every so many rows and columns.
COMPARED_STRIDE = 4
#: This share of the pixels must be as steady as asked for; the rest may be edges and holes that flicker.
STEADY_SHARE = 0.9
#: The executor stands still so long in every turn while a capture is in progress; far below what counts as a stall.
TURN_S = 0.002


class Answer(NamedTuple):
    """What a service says."""

    success: bool
    message: str


@dataclass
class Request:
    """A capture in progress.

    Attributes:
        stamp_ns: the node's clock when it was asked for, or the newest stamp then if that is later; only newer images
            count.
        settings: when it is settled.
        began: ``time.monotonic()``.
        depths: of the last estimates in a row that count, see ``thinned``.
        older: how many estimates were not newer.
        newest_ns: newest stamp that came.
        refused: why the last fit was refused or held.
        spread: of the last ``settings.frames`` estimates; None before there were so many.
        settled: it is being published, for which no time is too late.
    """

    stamp_ns: int
    settings: CaptureSettings
    began: float = field(default_factory=time.monotonic)
    depths: deque[Float32] = field(default_factory=deque)
    older: int = 0
    newest_ns: int | None = None
    refused: str = ""
    spread: float | None = None
    settled: bool = False

    def missing(self, now_ns: int, why_no_output: str) -> str:
        """What it still waits for, in words, with the remedy."""
        settings = self.settings
        if self.refused and not self.depths:
            return f"no metric fit: {self.refused}"
        if self.spread is not None:
            apart = f"by {self.spread:.1%}" if np.isfinite(self.spread) else "in most of the pixels that have depth"
            return (
                f"the last {settings.frames} estimates differ {apart}, at most {settings.stability:.1%} is asked for; "
                "hold the camera and the scene still, or raise capture.stability"
            )
        if self.depths:
            return f"only {len(self.depths)} of {settings.frames} estimates came; raise capture.max_wait"
        if self.newest_ns is None:
            return f"no estimate came{': ' + why_no_output if why_no_output else ''}"
        behind = (now_ns - self.newest_ns) * 1e-9
        return (
            f"no image is newer than the request: {self.older} came, the newest is {behind:.3f} s behind the node's "
            "clock; if that is more than the latency, synchronise the clocks of camera and node, or, with a recording "
            "or a simulation, set use_sim_time"
        )


class Capture:
    """At most one capture at a time. ``offer`` runs on the worker's thread, the rest on the executor's.

    Args:
        publish: publishes the settled estimate; may raise.
        clock: the node's clock, ns.
        why_no_output: the diagnosis, for a capture to which nothing comes.
    """

    def __init__(
        self, publish: Callable[[Estimate], None], clock: Callable[[], int], why_no_output: Callable[[], str]
    ) -> None:
        self._publish, self._clock, self._why_no_output = publish, clock, why_no_output
        self._lock = threading.Lock()
        self._request: Request | None = None
        self._answer: Answer | None = None

    @property
    def busy(self) -> bool:
        """Whether a capture is in progress: then estimates are wanted even if nobody subscribes."""
        return self._request is not None

    def begin(self, settings: CaptureSettings, newest_ns: int = 0) -> str:
        """Start one, whose answer ``poll`` gives. Returns why not, "" if it was started.

        Args:
            settings: when it is settled.
            newest_ns: stamp of the last picture that came: neither it nor any before it is newer than the request,
                even where the camera's clock is ahead of the node's.
        """
        with self._lock:
            if self._request is not None:
                waited = time.monotonic() - self._request.began
                return f"a capture is in progress since {waited:.1f} s; ask again when it has answered"
            self._request, self._answer = Request(max(self._clock(), newest_ns), settings), None
        return ""

    def offer(self, estimate: Estimate) -> None:
        """Look at an estimate; the one with which the scene has settled is published."""
        with self._lock:
            request = self._request
            if request is None or self._answer is not None or not _counts(estimate, request):
                return
            request.settled = _settled(estimate, request)
        if request.settled:
            answer = self._published(estimate, request)
            with self._lock:
                if self._request is request and self._answer is None:  # else it was cancelled meanwhile
                    self._answer = answer

    def poll(self) -> Answer | None:
        """The answer to the capture in progress, which ends it; None while there is none and time is left."""
        with self._lock:
            request, answer = self._request, self._answer
            assert request is not None
            late = time.monotonic() - request.began > request.settings.max_wait
            if answer is None and late and not request.settled:
                missing = request.missing(self._clock(), self._why_no_output())
                answer = Answer(False, f"nothing captured in {request.settings.max_wait:g} s: {missing}")
            if answer is not None:
                self._request = self._answer = None
        return answer

    def cancel(self, reason: str) -> None:
        """Let the capture in progress, if any, end with this answer."""
        with self._lock:
            if self._request is not None and self._answer is None:
                self._answer = Answer(False, reason)

    def _published(self, estimate: Estimate, request: Request) -> Answer:
        try:
            self._publish(estimate)
        except Exception as error:
            return Answer(False, f"settled, but it cannot be published: {error}")
        stamp = estimate.frame.stamp_ns
        words = f"captured: stamp {stamp // 10**9}.{stamp % 10**9:09d} s, {request.settings.frames} frames"
        return Answer(True, f"{words}, spread {request.spread:.2%} of depth")


class Turn:
    """``await Turn()`` in a coroutine of rclpy's executor lets it do its other work once.

    rclpy resumes a waiting coroutine in every turn of the executor, whatever it waits for; without the pause that would
    be a busy loop that takes the interpreter away from the worker.
    """

    def __await__(self) -> Generator[None, None, None]:
        time.sleep(TURN_S)
        yield


def _counts(estimate: Estimate, request: Request) -> bool:
    """Whether an estimate is newer than the request and has metres of its own clip."""
    stamp, fit = estimate.frame.stamp_ns, estimate.fit
    request.newest_ns = max(stamp, request.newest_ns or stamp)
    if stamp <= request.stamp_ns:
        request.older += 1
        return False
    if fit is None or estimate.depth is None:
        request.refused = (
            fit.reason if fit else "no anchor; connect a depth topic, or set scale.plane_frame or scale.fixed_scale"
        )
    elif fit.held:
        request.refused = fit.reason
    else:
        return True
    request.depths.clear()
    request.spread = None
    return False


def _settled(estimate: Estimate, request: Request) -> bool:
    """Whether this estimate and those before it agree."""
    assert estimate.depth is not None
    depth, held = thinned(estimate.depth), request.depths
    if held and held[-1].shape != depth.shape:
        held.clear()
    held.append(depth)
    while len(held) > request.settings.frames:
        held.popleft()
    if len(held) < request.settings.frames:
        return False
    request.spread = spread(held)
    return request.spread <= request.settings.stability


def thinned(depth: Float32) -> Float32:
    """A copy of every ``COMPARED_STRIDE``-th row and column."""
    return np.array(depth[::COMPARED_STRIDE, ::COMPARED_STRIDE])


def spread(depths: deque[Float32]) -> float:
    """How much (H, W) depths in metres, NaN unknown, differ: of the pixels that all of them know, the standard
    deviation over time as a share of the mean depth, at the ``STEADY_SHARE`` quantile. Infinite if all of them
    together know less than half of what the newest knows."""
    stack = np.stack(depths)
    known = np.isfinite(stack).all(axis=0)
    if 2 * known.sum() <= np.isfinite(depths[-1]).sum() or not known.any():
        return float("inf")
    values = stack[:, known]
    return float(np.quantile(values.std(axis=0) / values.mean(axis=0), STEADY_SHARE))
