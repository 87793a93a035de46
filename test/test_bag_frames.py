"""The camera inside a bag: topics found by type and name, depth joined to its picture by stamp."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.bag_frames import CameraTopics, find_camera, read_frames
from dkt_ros.bags import Bag, BagError, BagWriter
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.bag_writer import START_NS, MessageMaker, write_sequence
from dkt_ros.frames import Intrinsics

from . import rendered

IMAGE, JPEG, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage", "sensor_msgs/msg/CameraInfo"
CAMERA = CameraTopics("/image", "/camera_info", "/depth")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"/camera/image_raw": IMAGE}, CameraTopics("/camera/image_raw", None, None)),
        (
            {"/c/color/image_raw": IMAGE, "/c/color/image_raw/compressed": JPEG, "/c/color/camera_info": INFO},
            CameraTopics("/c/color/image_raw", "/c/color/camera_info", None),
        ),
        (
            {
                "/c/color/image_raw/compressed": JPEG,
                "/c/color/camera_info": INFO,
                "/c/depth/image_rect_raw": IMAGE,
                "/c/aligned_depth_to_color/image_raw": IMAGE,
                "/c/infra1/image_rect_raw": IMAGE,
            },
            CameraTopics(
                "/c/color/image_raw/compressed", "/c/color/camera_info", "/c/aligned_depth_to_color/image_raw"
            ),
        ),
        ({"/wrist/image": IMAGE, "/head/rgb/image": IMAGE}, CameraTopics("/head/rgb/image", None, None)),
    ],
)
def test_topics_are_found(names: dict[str, str], expected: CameraTopics) -> None:
    assert find_camera(names) == expected


def test_a_choice_that_is_not_clear_names_the_option() -> None:
    with pytest.raises(BagError, match=r"/left/image, /right/image; choose one with --image"):
        find_camera({"/left/image": IMAGE, "/right/image": IMAGE})
    with pytest.raises(BagError, match="no colour pictures in the bag; it has /odom"):
        find_camera({"/odom": "nav_msgs/msg/Odometry"})
    with pytest.raises(BagError, match="topic '/imag' is not in the bag; it has /image"):
        find_camera({"/image": IMAGE}, image="/imag")


def test_a_bag_of_a_sequence_gives_its_frames(tmp_path: Path) -> None:
    sequence = rendered.sequence(5)
    with Bag(write_sequence(sequence, tmp_path / "bag")) as bag:
        frames = list(read_frames(bag, find_camera(bag.topics)))
    assert [frame.stamp_ns for frame in frames] == list(START_NS + sequence.stamps_ns)
    for frame, original in zip(frames, sequence.frames(), strict=True):
        assert frame.frame_id == topics.OPTICAL_FRAME
        assert frame.intrinsics == original.intrinsics
        assert np.abs(frame.rgb.astype(int) - original.rgb).mean() < 12  # JPEG of blocks of noise
        np.testing.assert_allclose(frame.sensor_depth, original.sensor_depth, atol=0.00051)


def write(folder: Path, images: list[int], depths: list[int], *, encoding: str = "16UC1", size: int = 8) -> Path:
    """Pictures and depth with these stamps in ms; depth holds its stamp in mm."""
    with BagWriter(folder) as bag:
        make = MessageMaker(bag.types)
        bag.write("/camera_info", make.camera_info(0, Intrinsics(10.0, 10.0, 3.5, 3.5, 8, 8)), 0)
        events = [("/image", ms) for ms in images] + [("/depth", ms) for ms in depths]
        for topic, ms in sorted(events, key=lambda event: event[1]):
            if topic == "/image":
                message = make.image(ms * 10**6, "rgb8", np.full((8, 8, 3), 9, np.uint8))
            else:
                message = make.image(ms * 10**6, encoding, np.full((size, size), ms, np.uint16))
            bag.write(topic, message, ms * 10**6)
    return folder


def depths_of(folder: Path, skipped: Counter[str] | None = None) -> list[int | None]:
    with Bag(folder) as bag:
        frames = list(read_frames(bag, CAMERA, skipped=skipped))
    return [None if f.sensor_depth is None else round(float(f.sensor_depth[0, 0]) * 1000) for f in frames]


def test_depth_goes_to_the_nearest_picture_within_the_slop(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", images=[100, 200, 300, 400], depths=[95, 112, 205, 350])
    assert depths_of(bag) == [95, 205, None, None]


def test_depth_of_another_size_is_resized_without_inventing_values(tmp_path: Path) -> None:
    assert depths_of(write(tmp_path / "bag", [100], [100], size=16)) == [100]


def test_depth_that_stops_does_not_hold_the_pictures_back(tmp_path: Path) -> None:
    images = list(range(100, 20_000, 100))
    assert depths_of(write(tmp_path / "bag", images, [100])) == [100, *[None] * (len(images) - 1)]


def test_an_unusable_encoding_is_counted_and_the_pictures_go_on(tmp_path: Path) -> None:
    skipped: Counter[str] = Counter()
    assert depths_of(write(tmp_path / "bag", [100, 200], [100, 200], encoding="bayer_rggb16"), skipped) == [None, None]
    ((reason, count),) = skipped.items()
    assert count == 2 and "/depth" in reason and "bayer_rggb16" in reason


def test_without_camera_info_frames_have_no_intrinsics(tmp_path: Path) -> None:
    with Bag(write(tmp_path / "bag", [100], [])) as bag:
        (frame,) = read_frames(bag, CameraTopics("/image", None, None))
    assert frame.intrinsics is None
