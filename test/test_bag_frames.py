"""The frames of one camera: depth and camera_info joined by stamp, in whatever order they were recorded."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dkt_ros.bag_frames import read_moments, survey
from dkt_ros.bag_messages import MessageMaker
from dkt_ros.bag_topics import CameraTopics
from dkt_ros.bags import Bag, BagWriter
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.bag_writer import START_NS, write_sequence
from dkt_ros.frames import Frame, Intrinsics
from dkt_ros.sources import open_source

from . import rendered

MS = 1_000_000


def write(folder: Path, *events: tuple[str, float, float], encoding: str = "16UC1", size: int = 8) -> Path:
    """(topic, stamp, time of recording) in ms, in any order; depth holds its time of recording in mm, a camera_info as
    its focal length, a picture as its grey."""
    with BagWriter(folder) as bag:
        make = MessageMaker(bag.types, "camera")
        for topic, stamp, recorded in events:
            value = int(recorded)
            if topic == "/image":
                message = make.image(round(stamp * MS), "rgb8", np.full((8, 8, 3), value // 10 % 256, np.uint8))
            elif topic == "/camera_info":
                message = make.camera_info(round(stamp * MS), Intrinsics(value, value, 3.5, 3.5, 8, 8))
            else:
                message = make.image(round(stamp * MS), encoding, np.full((size, size), value, np.uint16))
            bag.write(topic, message, round(recorded * MS))
    return folder


def at(topic: str, *times: float) -> list[tuple[str, float, float]]:
    """Stamped when recorded."""
    return [(topic, time, time) for time in times]


def frames_of(folder: Path, skipped: Counter[str] | None = None) -> list[Frame]:
    with Bag(folder) as bag:
        info, depth = (name if name in bag.topics else None for name in ("/camera_info", "/depth"))
        known = survey(bag, CameraTopics("/image", info, depth))
        return [moment.frame for moment in read_moments(bag, known, Counter() if skipped is None else skipped)]


def depths_of(folder: Path, skipped: Counter[str] | None = None) -> list[int | None]:
    sensed = [frame.sensor_depth for frame in frames_of(folder, skipped)]
    return [None if depth is None else round(float(depth[0, 0]) * 1000) for depth in sensed]


def stamps_of(folder: Path, skipped: Counter[str] | None = None) -> list[float]:
    return [frame.stamp_ns / MS for frame in frames_of(folder, skipped)]


def told(skipped: Counter[str], *words: str) -> int:
    """How often something was counted whose words hold all of these."""
    found = [count for reason, count in skipped.items() if all(word in reason for word in words)]
    assert len(found) == 1, skipped
    return found[0]


def test_a_bag_of_a_sequence_gives_its_frames(tmp_path: Path) -> None:
    sequence = rendered.sequence(5)
    frames = list(open_source(write_sequence(sequence, tmp_path / "bag")).frames())
    assert [frame.stamp_ns for frame in frames] == list(START_NS + sequence.stamps_ns)
    for frame, original in zip(frames, sequence.frames(), strict=True):
        assert frame.frame_id == topics.OPTICAL_FRAME
        assert frame.intrinsics == original.intrinsics
        assert np.abs(frame.rgb.astype(int) - original.rgb).mean() < 12  # JPEG of blocks of noise
        np.testing.assert_allclose(frame.sensor_depth, original.sensor_depth, atol=0.00051)


def test_depth_goes_to_the_nearest_picture_within_the_slop(tmp_path: Path) -> None:
    skipped: Counter[str] = Counter()
    bag = write(tmp_path / "bag", *at("/image", 100, 200, 300, 400), *at("/depth", 95, 112, 205, 350))
    assert depths_of(bag, skipped) == [95, 205, None, None]
    assert told(skipped, "/depth: no depth near enough", "--slop") == 2


def test_jitter_joins_by_the_nearest_stamp_whatever_was_recorded_first(tmp_path: Path) -> None:
    """Depth 7 ms after its picture, recorded up to half a second late or early and out of order."""
    pictures = [("/image", 100 * i, 100 * i + 40 * (i % 3)) for i in range(1, 12)]
    depths = [("/depth", 100 * i + 7, 100 * i + 500 * (-1) ** i + 1000) for i in range(1, 12)]
    events = sorted([*pictures, *depths], key=lambda event: event[2])
    found = depths_of(write(tmp_path / "bag", *((topic, stamp, when + 1000) for topic, stamp, when in events)))
    assert found == [100 * i + 500 * (-1) ** i + 2000 for i in range(1, 12)]


def test_a_time_of_recording_that_cannot_be_costs_that_picture_its_depth_only(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag", *at("/image", 100, 200), *at("/depth", 100, 200))
    with Bag(folder) as bag, BagWriter(tmp_path / "odd") as odd:
        for m in bag.messages():
            late = m.topic == "/depth" and m.time_ns == 200 * MS
            odd.write_raw(m.topic, m.type, 2**64 - 1 if late else m.time_ns, m.data)
    assert depths_of(tmp_path / "odd") == [100, None]


def test_pictures_recorded_out_of_order_are_put_in_order(tmp_path: Path) -> None:
    skipped: Counter[str] = Counter()
    order = (("/image", 100, 10), ("/image", 300, 20), ("/image", 200, 30), ("/image", 400, 40))
    assert stamps_of(write(tmp_path / "bag", *order), skipped) == [100, 200, 300, 400]
    assert told(skipped, "/image", "put in order") == 1


def test_a_bag_that_was_played_twice_is_read_twice(tmp_path: Path) -> None:
    skipped: Counter[str] = Counter()
    loop = [("/image", 100 * i, 10_000 * lap + 100 * i) for lap in range(2) for i in range(1, 31)]
    depth = [("/depth", stamp, when + 1) for _, stamp, when in loop]
    bag = write(tmp_path / "bag", *sorted([*loop, *depth], key=lambda event: event[2]))
    assert stamps_of(bag, skipped) == [100 * i for i in range(1, 31)] * 2
    assert depths_of(bag) == [10_000 * lap + 100 * i + 1 for lap in range(2) for i in range(1, 31)]
    assert not any("put in order" in reason for reason in skipped)


def test_a_stamp_that_comes_twice_stays_for_the_path_to_count(tmp_path: Path) -> None:
    assert stamps_of(write(tmp_path / "bag", *at("/image", 100, 200), ("/image", 200, 210))) == [100, 200, 200]


def test_without_stamps_the_time_of_recording_joins(tmp_path: Path) -> None:
    skipped: Counter[str] = Counter()
    pictures = [("/image", 0, 100 * i) for i in range(1, 6)]
    depths = [("/depth", 100 * i, 100 * i + 3) for i in range(1, 6)]
    bag = write(tmp_path / "bag", *sorted([*pictures, *depths], key=lambda event: event[2]))
    assert stamps_of(bag, skipped) == [100, 200, 300, 400, 500]
    assert depths_of(bag) == [103, 203, 303, 403, 503]
    assert told(skipped, "/image: no stamp (0)") == 5


def test_one_picture_without_a_stamp_among_stamped_ones_is_left_out_and_counted(tmp_path: Path) -> None:
    skipped: Counter[str] = Counter()
    bag = write(tmp_path / "bag", *at("/image", 100, 200), ("/image", 0, 250), *at("/image", 300))
    assert stamps_of(bag, skipped) == [100, 200, 300]
    assert told(skipped, "/image", "without a stamp (0)") == 1
    assert stamps_of(write(tmp_path / "simulated", *at("/image", 0, 100, 200))) == [0, 100, 200]


def focals(folder: Path, skipped: Counter[str] | None = None) -> list[float | None]:
    return [frame.intrinsics and frame.intrinsics.fx for frame in frames_of(folder, skipped)]


def test_pictures_before_the_first_camera_info_get_its_intrinsics_and_are_counted(tmp_path: Path) -> None:
    skipped: Counter[str] = Counter()
    late = write(tmp_path / "late", *at("/image", 10, 20, 30, 40), *at("/camera_info", 30))
    assert focals(late, skipped) == [30, 30, 30, 30]
    assert told(skipped, "/camera_info", "before the first camera_info") == 2


def test_a_camera_that_changes_is_followed(tmp_path: Path) -> None:
    """Each camera_info is stamped 2 ms after its picture."""
    infos = [("/camera_info", time + 2, 30 if time < 35 else 60) for time in (10, 20, 30, 40, 50)]
    assert focals(write(tmp_path / "bag", *at("/image", 10, 20, 30, 40, 50), *infos)) == [30, 30, 30, 60, 60]


def test_without_camera_info_there_are_no_intrinsics_and_that_is_counted(tmp_path: Path) -> None:
    skipped: Counter[str] = Counter()
    assert focals(write(tmp_path / "bag", *at("/image", 100, 200)), skipped) == [None, None]
    assert told(skipped, "/image: a picture without camera_info") == 2


def test_an_unstamped_camera_info_is_found_by_its_time(tmp_path: Path) -> None:
    infos = [("/camera_info", 0, 40), ("/camera_info", 0, 90)]
    assert focals(write(tmp_path / "bag", *at("/image", 40, 90), *infos)) == [40, 90]


def test_an_uncalibrated_camera_info_is_counted_and_the_next_one_taken(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        make = MessageMaker(bag.types, "camera")
        for time, focal in ((1, 0.0), (2, 50.0)):
            info = make.camera_info(time * MS, Intrinsics(1.0, 1.0, 3.5, 3.5, 8, 8))
            info.k[0] = info.k[4] = info.p[0] = info.p[5] = focal
            bag.write("/camera_info", info, time * MS)
            bag.write("/image", make.image(time * MS, "rgb8", np.zeros((8, 8, 3), np.uint8)), time * MS)
    skipped: Counter[str] = Counter()
    assert focals(tmp_path / "bag", skipped) == [50, 50]
    assert told(skipped, "/camera_info", "calibrate the camera") == 1


def test_depth_of_another_size_is_resized_without_inventing_values(tmp_path: Path) -> None:
    assert depths_of(write(tmp_path / "bag", *at("/image", 100), *at("/depth", 100), size=16)) == [100]


def test_depth_of_another_frame_is_left_out_unless_it_is_registered(tmp_path: Path) -> None:
    """The node's rule: what runs is what is evaluated."""
    for size, expected in ((8, 1), (16, 0)):
        with BagWriter(tmp_path / f"{size}") as bag:
            colour, sensor = (MessageMaker(bag.types, name) for name in ("colour", "sensor"))
            bag.write("/image", colour.image(MS, "rgb8", np.zeros((8, 8, 3), np.uint8)), MS)
            bag.write("/depth", sensor.image(MS, "16UC1", np.full((size, size), 500, np.uint16)), MS)
        skipped: Counter[str] = Counter()
        (frame,) = frames_of(tmp_path / f"{size}", skipped)
        assert (frame.sensor_depth is not None) == bool(expected)
        assert told(skipped, "'sensor'", "'colour'", "used" if expected else "left out") == 1


def test_depth_that_stops_does_not_hold_the_pictures_back(tmp_path: Path) -> None:
    images = list(range(100, 20_000, 100))
    bag = write(tmp_path / "bag", *at("/depth", 100), *at("/image", *images))
    assert depths_of(bag) == [100, *[None] * (len(images) - 1)]


def test_an_unusable_encoding_is_counted_and_the_pictures_go_on(tmp_path: Path) -> None:
    skipped: Counter[str] = Counter()
    bag = write(tmp_path / "bag", *at("/image", 100, 200), *at("/depth", 100, 200), encoding="bayer_rggb16")
    assert depths_of(bag, skipped) == [None, None]
    assert told(skipped, "/depth", "bayer_rggb16") == 2


@pytest.mark.parametrize("form", ["16UC1; compressedDepth png", "32FC1; compressedDepth png"])
def test_compressed_depth_is_read(form: str, tmp_path: Path) -> None:
    import cv2

    metres = 0.5
    a, b = 100.0, 0.0
    code = round(metres * 1000) if form.startswith("16") else round(a / metres + b)
    _, png = cv2.imencode(".png", np.full((8, 8), code, np.uint16))
    header = np.concatenate([np.zeros(1, "<u4").view(np.uint8), np.array([a, b], "<f4").view(np.uint8)])
    with BagWriter(tmp_path / "bag") as bag:
        make = MessageMaker(bag.types, "camera")
        bag.write("/camera/color/image_raw/compressed", make.jpeg(MS, np.full((8, 8, 3), 90, np.uint8)), MS)
        message = make.jpeg(MS, np.zeros((8, 8, 3), np.uint8))
        message.format, message.data = form, np.concatenate([header, png.reshape(-1)])
        bag.write("/camera/depth/image_raw/compressedDepth", message, MS)
    (frame,) = open_source(tmp_path / "bag").frames()
    np.testing.assert_allclose(frame.sensor_depth, metres, rtol=1e-3)
    assert abs(int(frame.rgb[4, 4, 0]) - 90) < 3


def test_what_nobody_needs_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Depth at ten times the rate of the pictures, from long before them on: one message waits, not hundreds."""
    import dkt_ros.bag_join as join

    bag = write(tmp_path / "bag", *at("/depth", *range(10, 3000, 10)), *at("/image", *range(2000, 3000, 100)))
    held: list[int] = []

    class Watched(dict):
        def __setitem__(self, key, value) -> None:
            super().__setitem__(key, value)
            held.append(len(self))

    monkeypatch.setattr(join, "Held", Watched)
    assert depths_of(bag) == list(range(2000, 3000, 100))
    assert max(held) <= 2 and len(held) == 20
