"""Depth that stands still scores zero; flicker, jumps between clips and what is hidden cost what they should."""

import numpy as np
import pytest

from dkt_ros.evaluation.temporal import Moment, Motion, Temporal, clip_starts
from dkt_ros.frames import Intrinsics

CAMERA = Intrinsics(40.0, 40.0, 19.5, 14.5, 40, 30)
SHAPE = (30, 40)


def pose(x: float = 0.0, z: float = 0.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[[0, 2], 3] = x, z
    return matrix


def wall(distance: float, box: tuple[int, int] | None = None) -> np.ndarray:
    """A wall, and before it at half the distance a box over these columns."""
    depth = np.full(SHAPE, distance, np.float32)
    if box:
        depth[:, slice(*box)] = distance / 2
    return depth


def moment(depth: np.ndarray, matrix: np.ndarray | None = None) -> Moment:
    return Moment(depth, np.isfinite(depth), matrix, CAMERA)


def scores(moments, answers, starts=()):
    accumulated = Temporal(starts)
    for index, answer in enumerate(answers):
        accumulated.add(answer, Motion(moments[index - 1], moments[index]) if index else None)
    return accumulated.scores()


def test_the_truth_under_true_motion_has_no_error() -> None:
    moments = [moment(wall(2.0 - 0.1 * i), pose(z=0.1 * i)) for i in range(4)]
    s = scores(moments, [m.depth for m in moments], clip_starts(4, 2, 1))
    assert (s.pairs, s.pairs_without_pose, s.flag, s.coverage) == (3, 0, "", 1.0)
    assert s.tae == pytest.approx(0, abs=1e-4) and s.tae_last_write == pytest.approx(0, abs=1e-4)
    assert s.warped_difference == pytest.approx(0, abs=1e-6) and s.seam_across == pytest.approx(0, abs=1e-6)


def test_tae_by_hand() -> None:
    """A still camera; the second frame is 10 % too far: |1.1 - 1| / 1.1 one way, |1 - 1.1| / 1 the other."""
    still = [moment(wall(1.0), pose())] * 2
    s = scores(still, [wall(1.0), wall(1.1)])
    assert s.tae == pytest.approx(100 * (0.1 / 1.1 + 0.1) / 2, rel=1e-5) and s.tae == s.tae_last_write
    assert s.warped_difference == pytest.approx(0.1, rel=1e-5)
    assert s.seam_inside == pytest.approx(np.log(1.1), rel=1e-5) and s.seam_across is None


def test_a_steady_error_is_no_flicker() -> None:
    still = [moment(wall(1.0), pose())] * 3
    assert scores(still, [wall(1.3)] * 3).warped_difference == pytest.approx(0, abs=1e-6)


def test_what_is_hidden_shows_through_without_a_z_buffer() -> None:
    """The camera moves right, so the box moves left over the wall: wall pixels land where the box is."""
    box = [wall(2.0, (20, 30)), wall(2.0, (16, 26))]
    moments = [moment(box[0], pose()), moment(box[1], pose(x=0.1))]
    s = scores(moments, box)
    assert s.tae == pytest.approx(0, abs=1e-4) and s.tae_last_write > 2


def test_surfaces_that_were_hidden_are_not_compared() -> None:
    box = [wall(2.0, (20, 30)), wall(2.0, (16, 26))]
    motion = Motion(moment(box[0], pose()), moment(box[1], pose(x=0.1)))
    columns = np.unique(motion.later % SHAPE[1])
    assert not set(columns) & {26, 27}  # the wall that the box had covered
    assert {17, 25, 28, 35} <= set(columns)


def test_seams_are_told_from_the_inside_of_clips() -> None:
    assert clip_starts(12, 5, 2) == {5, 8, 11}
    assert clip_starts(3, 5, 1) == frozenset()
    with pytest.raises(ValueError, match="clips of 5 frames that share 5"):
        clip_starts(9, 5, 5)
    still = [moment(wall(1.0))] * 6
    s = scores(still, [wall(z) for z in (1.0, 1.01, 1.0, 1.1, 1.11, 1.1)], clip_starts(6, 3, 0))
    assert s.seams == 1 and s.seam_across == pytest.approx(np.log(1.1), rel=1e-5)
    assert s.seam_ratio == pytest.approx(s.seam_across / s.seam_inside)
    assert s.pairs_without_pose == 5 and s.tae is None and s.warped_difference is None and s.flag == ""


@pytest.mark.parametrize("nothing", [np.nan, 0.0, -1.0, np.inf])
def test_what_has_no_prediction_is_counted_and_flagged(nothing: float) -> None:
    still = [moment(wall(1.0), pose())] * 3
    s = scores(still, [np.full(SHAPE, nothing, np.float32)] * 3)
    assert s.flag == "no pixel is predicted in two successive frames" and (s.tae, s.seam_inside) == (None, None)
    assert s.reference_pixels == 2 * 1200 and s.pixels == 0 and s.coverage == 0.0
    assert scores(still, [None] * 3).flag == s.flag
    one = np.full(SHAPE, nothing, np.float32)
    one[3, 4] = 1.0
    assert scores(still, [one] * 3).tae == pytest.approx(0, abs=1e-4)


def test_one_frame_and_no_truth_are_flagged() -> None:
    assert scores([moment(wall(1.0))], [wall(1.0)]).flag == "no successive frames with valid truth"
    unknown = [moment(wall(np.nan), pose())] * 2
    assert scores(unknown, [wall(1.0)] * 2).flag == "no successive frames with valid truth"
    assert Temporal().scores().flag


def test_a_pose_that_is_no_number_is_no_pose() -> None:
    moments = [moment(wall(1.0), pose()), moment(wall(1.0), np.full((4, 4), np.nan))]
    assert scores(moments, [wall(1.0)] * 2).pairs_without_pose == 1
