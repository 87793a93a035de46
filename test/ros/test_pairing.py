"""Which depth, mask and camera go with which picture, and how long a picture waits for them."""

from __future__ import annotations

import numpy as np
import pytest

from dkt_ros.frames import Intrinsics
from dkt_ros.messages import MessageError
from dkt_ros.pairing import LONGEST_QUEUE, FrameAssembler

CAMERA = Intrinsics(10, 10, 3.5, 2.5, 8, 6)
RGB = np.zeros((6, 8, 3), np.uint8)
MS = 1_000_000


class Recorder:
    def __init__(self) -> None:
        self.texts: dict[str, str] = {}
        self.count = 0

    def __call__(self, reason: str, text: str) -> None:
        self.texts[reason] = text
        self.count += 1


@pytest.fixture
def reports():
    return Recorder()


@pytest.fixture
def drops():
    return Recorder()


@pytest.fixture
def assembler(reports, drops):
    made = FrameAssembler(reports, drops)
    made.set_camera(CAMERA)
    return made


def ready(assembler, now: float):
    return [each.frame for each in assembler.ready(now)]


def image(assembler, stamp_ms: int, now: float = 0.0, rgb=RGB) -> None:
    assembler.add_image(stamp_ms * MS, "optical", rgb, now)


def depth(assembler, stamp_ms: int, value: float = 1.0, shape=(6, 8), frame_id="optical") -> None:
    assembler.depths.add(stamp_ms * MS, (np.full(shape, value, np.float32), frame_id))


def test_a_picture_waits_for_the_transforms_of_its_plane_but_not_for_ever(reports, drops):
    known = set()

    def plane_of(frame_id, stamp_ns):
        return (0.0, 0.0, -1.0, 2.0) if stamp_ns in known else None

    made = FrameAssembler(reports, drops, None, plane_of, lambda frame_id, stamp_ns: stamp_ns in known)
    made.set_camera(CAMERA)
    image(made, 100)
    assert ready(made, 0.1) == []
    known.add(100 * MS)
    (frame,) = ready(made, 0.1)
    assert frame.plane == (0.0, 0.0, -1.0, 2.0)
    image(made, 200, now=1.0)
    assert ready(made, 1.1) == []
    (frame,) = ready(made, 1.0 + made.patience_s)
    assert frame.plane is None and drops.count == 0


def test_without_a_depth_sensor_nothing_waits(assembler):
    image(assembler, 0)
    (frame,) = ready(assembler, 0.0)
    assert (frame.stamp_ns, frame.frame_id, frame.intrinsics, frame.sensor_depth) == (0, "optical", CAMERA, None)


def test_a_picture_waits_for_its_depth(assembler):
    assembler.depths.expected = True
    image(assembler, 100)
    depth(assembler, 67)
    assert ready(assembler, 0.1) == []
    depth(assembler, 100, 2.0)
    (frame,) = ready(assembler, 0.1)
    assert frame.sensor_depth[0, 0] == 2


def test_the_nearest_depth_is_taken_and_only_within_the_slop(assembler):
    assembler.depths.expected = True
    for stamp, value in ((80, 1.0), (95, 2.0), (115, 3.0)):
        depth(assembler, stamp, value)
    image(assembler, 100)
    assert ready(assembler, 0.0)[0].sensor_depth[0, 0] == 2
    depth(assembler, 221)
    image(assembler, 200)
    assert ready(assembler, 0.0)[0].sensor_depth is None


def test_after_its_patience_a_picture_goes_without_depth_and_that_is_reported(assembler, reports, drops):
    assembler.depths.expected = True
    image(assembler, 100, now=5.0)
    assert ready(assembler, 5.24) == []
    assert ready(assembler, 5.25)[0].sensor_depth is None
    assert "raise sync_slop or sync_wait" in reports.texts["image without depth"]
    assert drops.count == 0


def test_pictures_stay_in_order(assembler):
    assembler.depths.expected = True
    image(assembler, 100)
    image(assembler, 133)
    depth(assembler, 133)
    frames = ready(assembler, 0.0)
    assert [frame.stamp_ns // MS for frame in frames] == [100, 133]
    assert [frame.sensor_depth is None for frame in frames] == [True, False]


def test_time_going_back_does_not_pair_with_depth_of_the_past_round(assembler):
    """A bag that loops: stale depth lies in the picture's future and must not make it go without its own."""
    assembler.depths.expected = True
    for stamp in (900, 1000):
        depth(assembler, stamp)
        image(assembler, stamp)
    assert len(ready(assembler, 0.0)) == 2
    image(assembler, 0)
    assert ready(assembler, 0.0) == []
    depth(assembler, 0, 2.0)
    assert ready(assembler, 0.0)[0].sensor_depth[0, 0] == 2
    depth(assembler, 100, 3.0)
    image(assembler, 100)
    assert ready(assembler, 0.0)[0].sensor_depth[0, 0] == 3


def test_depth_of_another_size_comes_to_the_pictures_grid(assembler):
    depth(assembler, 0, shape=(3, 4))
    image(assembler, 0)
    assert ready(assembler, 0.0)[0].sensor_depth.shape == (6, 8)


def test_depth_of_another_size_follows_its_own_camera(assembler):
    """A depth camera with twice the field of view: the picture sees only its middle."""
    assembler.depth_camera = Intrinsics(5, 5, 3.5, 2.5, 8, 6)
    wide = np.zeros((6, 8), np.float32)
    wide[1:5, 2:6] = 1
    assembler.depths.add(0, (wide, "optical"))
    image(assembler, 0, rgb=np.zeros((3, 4, 3), np.uint8))
    assembler.set_camera(Intrinsics(5, 5, 1.5, 1.0, 4, 3))
    np.testing.assert_array_equal(ready(assembler, 0.0)[0].sensor_depth, 1)


def test_a_mask_goes_with_its_picture_and_one_of_another_size_is_reported(assembler, reports):
    assembler.masks.add(0, np.ones((6, 8), bool))
    image(assembler, 0)
    assert ready(assembler, 0.0)[0].transparent.all()
    assembler.masks.add(100 * MS, np.ones((3, 4), bool))
    image(assembler, 100)
    assert ready(assembler, 0.0)[0].transparent is None
    assert "4x3" in reports.texts["mask of another size"]


def test_without_camera_info_pictures_wait_and_are_dropped_with_the_remedy(reports, drops):
    assembler = FrameAssembler(reports, drops)
    image(assembler, 0, now=0.0)
    assert ready(assembler, 0.2) == [] and drops.count == 0
    assert ready(assembler, 0.3) == []
    assert drops.count == 1
    assert "remap camera_info" in drops.texts["missing camera_info"]
    image(assembler, 400, now=0.4)
    assembler.set_camera(CAMERA)
    assert len(ready(assembler, 0.4)) == 1


def test_a_camera_info_that_cannot_be_used_is_named_and_a_good_one_heals(assembler, drops):
    assembler.set_camera(MessageError("bad camera_info", "/info", "K has fx=nan", "calibrate"))
    image(assembler, 0)
    ready(assembler, 1.0)
    assert drops.texts == {"bad camera_info": "/info: K has fx=nan; calibrate"}
    assembler.set_camera(CAMERA)
    image(assembler, 100, now=2.0)
    assert len(ready(assembler, 2.0)) == 1


def test_a_camera_info_of_another_size_is_not_used(assembler, drops):
    image(assembler, 0, rgb=np.zeros((3, 4, 3), np.uint8))
    assert ready(assembler, 1.0) == []
    assert "is for 8x6" in drops.texts["camera_info of another size"]
    assert "4x3" in drops.texts["camera_info of another size"]


def test_doubtful_depth_is_used_and_reported(assembler, reports):
    depth(assembler, 0, np.nan, frame_id="left_ir")
    image(assembler, 0)
    assert ready(assembler, 0.0)[0].sensor_depth is not None
    assert "8x6" in reports.texts["depth all invalid"]
    assert "'left_ir'" in reports.texts["depth of another frame"]


def test_memory_is_bounded_and_what_goes_is_counted(assembler, drops):
    assembler.depths.expected = True
    for index in range(LONGEST_QUEUE + 3):
        image(assembler, index)
    assert (assembler.waiting, drops.count) == (LONGEST_QUEUE, 3)
    assembler.clear("reset")
    assert (assembler.waiting, drops.count) == (0, LONGEST_QUEUE + 3)


def test_depth_of_another_frame_is_used_only_where_size_and_camera_are_the_images(assembler, reports):
    depth(assembler, 0, frame_id="depth_optical")
    image(assembler, 0)
    assert ready(assembler, 0.0)[0].sensor_depth is not None
    assert "it is used" in reports.texts["depth of another frame"]
    depth(assembler, 100, shape=(3, 4), frame_id="depth_optical")
    image(assembler, 100)
    assert ready(assembler, 0.0)[0].sensor_depth is None
    assembler.depth_camera = Intrinsics(12, 12, 3.5, 2.5, 8, 6)
    depth(assembler, 200, frame_id="depth_optical")
    image(assembler, 200)
    assert ready(assembler, 0.0)[0].sensor_depth is None
    assert "it is left out" in reports.texts["depth of another frame"] and reports.count == 3
