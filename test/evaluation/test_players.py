"""What a recording is put through says where its clips begin, or that it does not know."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.players import InProcess
from dkt_ros.frames import Frame
from dkt_ros.perception import Perception

from ..scenes import ScriptedEngine
from .test_evaluate import recording


def played(scene: Recording) -> tuple[InProcess, list[int]]:
    """The player after all of it, and the stamps of its estimates."""
    player = InProcess(Perception(ScriptedEngine(changing=False)))
    counted: list[int] = []
    stamps = [estimate.frame.stamp_ns for estimate in player.play(scene, counted.append)]
    assert counted == [1] * len(stamps)
    return player, stamps


def test_every_frame_is_answered_and_clips_begin_where_they_do() -> None:
    scene = recording(18)
    player, stamps = played(scene)
    assert stamps == list(scene.stamps()) and sorted(player.starts) == [9, 13, 17]
    assert player.timing["path_seconds_per_frame"] > 0
    assert player.about()["clip_length"] == 9 and player.about()["through"] == "process"


@pytest.mark.parametrize("broken", ["time goes back", "another camera"])
def test_after_a_break_nobody_says_where_clips_begin(broken: str) -> None:
    scene = recording(18)

    def after(frame: Frame) -> Frame:
        if broken == "another camera":
            return replace(frame, frame_id="another")
        return replace(frame, stamp_ns=frame.stamp_ns - 10**10)

    frames = [*scene.frames[:5], *map(after, scene.frames[5:])]
    player, stamps = played(replace(scene, frames=frames))
    assert len(stamps) == 18 and player.starts == ()


def test_the_next_recording_begins_anew() -> None:
    scene = recording(12)
    player = InProcess(Perception(ScriptedEngine(changing=False)))
    first, second = (
        [estimate.depth.tobytes() for estimate in player.play(scene, lambda count: None)] for _ in range(2)
    )
    assert first == second
