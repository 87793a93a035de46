"""A live stream through buffer and path together: whatever the overlap, one scale, and each frame once."""

from __future__ import annotations

import numpy as np
import pytest

from dkt_ros.frames import Estimate
from dkt_ros.perception import Perception, PerceptionSettings

from .scenes import ScriptedEngine, frame, true_depth

#: Frames that come before each look at the buffer, and the seconds until then.
SLOW, STEADY = [(1, 1.0)] * 14, [(4, 0.13)] * 6
UNEVEN = [(1, 0.9), (6, 0.1), (2, 0.9), (1, 0.9), (9, 0.1), (3, 0.9)]


def live(coming: list[tuple[int, float]], mode: str, sensor: bool = True) -> tuple[list[Estimate], list[int]]:
    """Estimates, and the overlap of each clip, of a stream that a worker looks at after each of ``coming``."""
    engine = ScriptedEngine()  # another scale and shift for every clip
    perception = Perception(engine, PerceptionSettings(clip_length=9, overlap=5))
    buffer = perception.new_buffer(1, mode, 1.0)
    estimates, overlaps, now, index = [], [], 0.0, 0
    for count, seconds in coming:
        for _ in range(count):
            buffer.push(frame(index, sensor=sensor), now)
            index += 1
        now += seconds
        while clip := buffer.take(now):
            overlaps.append(clip.overlap)
            estimates += perception.process(clip)
    return estimates, overlaps


@pytest.mark.parametrize("mode", ["streaming", "latest"])
@pytest.mark.parametrize("coming", [SLOW, STEADY, UNEVEN], ids=["slow", "steady", "uneven"])
def test_depth_is_right_and_no_frame_comes_twice_however_the_overlap_varies(mode, coming):
    estimates, overlaps = live(coming, mode)
    stamps = [each.frame.stamp_ns for each in estimates]
    assert stamps == sorted(set(stamps)) and len(stamps) >= len(coming) - 2
    assert coming is STEADY or len(set(overlaps)) > 2
    for each in estimates:
        truth = true_depth(each.frame.stamp_ns // 100_000_000)
        assert np.nanmedian(np.abs(each.depth / truth - 1)) < 0.01


@pytest.mark.parametrize("mode", ["streaming", "latest"])
def test_without_a_sensor_clips_of_any_overlap_stay_on_one_scale(mode):
    """Only the stitching holds them together then."""
    estimates, _ = live(UNEVEN, mode, sensor=False)
    truths = [1 / true_depth(each.frame.stamp_ns // 100_000_000) for each in estimates]
    lines = [
        np.polyfit(truth.ravel(), each.disparity.ravel(), 1) for truth, each in zip(truths, estimates, strict=True)
    ]
    np.testing.assert_allclose(lines, np.broadcast_to(lines[0], (len(lines), 2)), rtol=0.01)
