"""A rendered sequence and the bag made of it are the same recording; what is damaged is used as far as it goes."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dkt_ros.bag_topics import TopicChoice
from dkt_ros.bags import Bag, BagError, BagWriter
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.bag_writer import START_NS, write_sequence
from dkt_ros.evaluation.evaluate import evaluate
from dkt_ros.evaluation.layout import Selection
from dkt_ros.evaluation.protocols import Range
from dkt_ros.evaluation.recordings import RecordingError, bag_recordings, find_recordings, load_recording
from dkt_ros.frames import Estimate, Frame
from dkt_ros.training.sequences import SequenceError, save_sequence, sequence_path

from .. import rendered
from ..training.test_transphy3d import published, write


def test_tar_and_bag_agree(tmp_path: Path) -> None:
    sequence = rendered.sequence(4)
    sequence.depth[:, 0, 0] = np.nan
    sequence.normals[:, 0, 0] = np.nan
    save_sequence(sequence_path(tmp_path, 1), sequence)
    a = load_recording(sequence_path(tmp_path, 1))
    b = load_recording(write_sequence(sequence, tmp_path / "bag"))
    assert [START_NS + f.stamp_ns for f in a.frames] == [f.stamp_ns for f in b.frames]
    np.testing.assert_allclose(a.reference.depth, b.reference.depth, atol=1 / 7500)  # steps of the bag and of the tar
    np.testing.assert_array_equal(a.reference.transparent, b.reference.transparent)
    np.testing.assert_allclose(a.reference.sensor_depth, b.reference.sensor_depth, atol=0.00051)
    np.testing.assert_allclose(a.reference.normals, b.reference.normals, atol=0.01)
    assert (a.problem, b.problem) == ("", "")


def test_chosen_frames_keep_their_stamps_and_their_truth(tmp_path: Path) -> None:
    sequence = rendered.sequence(8)
    save_sequence(sequence_path(tmp_path, 1), sequence)
    for path in (sequence_path(tmp_path, 1), write_sequence(sequence, tmp_path / "bag")):
        whole, some = load_recording(path), load_recording(path, Selection(every=3, first=2))
        assert list(some.stamps()) == [whole.stamps()[0], whole.stamps()[3]]
        for index, place in enumerate((0, 3)):
            np.testing.assert_array_equal(some.frames[index].rgb, whole.frames[place].rgb)
            np.testing.assert_array_equal(some.reference.depth[index], whole.reference.depth[place])
        assert len(some.frames) == len(some.reference.depth) == some.counts["frames"] == 2
        assert some.origin is None, "the bag's messages are more than these"
        assert len(load_recording(path, Selection(every=3)).frames) == 3


def test_normals_survive_eight_bits_within_half_a_degree() -> None:
    normals = np.random.default_rng(0).normal(size=(50, 40, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[0, 0] = np.nan
    back = topics.rgb_to_normals(topics.normals_to_rgb(normals))
    assert np.isnan(back[0, 0]).all() and np.isfinite(back[1:]).all()
    cosine = (back * normals).sum(-1)[1:]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.5


def test_the_bag_has_what_the_issue_asks_for(tmp_path: Path) -> None:
    with Bag(write_sequence(rendered.sequence(3), tmp_path / "bag")) as bag:
        kinds = {message.topic: bag.decode(message) for message in bag.messages()}
    assert set(kinds) == {
        "/camera/color/image_raw/compressed",
        "/camera/color/camera_info",
        "/camera/aligned_depth_to_color/image_raw",
        "/camera/aligned_depth_to_color/camera_info",
        "/ground_truth/depth",
        "/ground_truth/normals",
        "/ground_truth/transparent",
        "/tf",
    }
    assert kinds[topics.DEPTH].encoding == "16UC1"
    transform = kinds["/tf"].transforms[0]
    assert (transform.header.frame_id, transform.child_frame_id) == ("world", topics.OPTICAL_FRAME)
    assert transform.transform.translation.z == pytest.approx(0.004)
    assert transform.transform.rotation.w == pytest.approx(1.0)


def test_a_cut_off_bag_is_scored_as_far_as_it_goes(tmp_path: Path) -> None:
    sequence = rendered.sequence(120)
    rng = np.random.default_rng(1)
    sequence.depth[:] += rng.normal(0, 0.01, sequence.depth.shape)  # so that it does not compress to one chunk
    folder = write_sequence(sequence, tmp_path / "bag")
    (file,) = folder.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: int(0.7 * file.stat().st_size)])
    recording = load_recording(folder)
    assert 5 < len(recording.frames) < 115
    assert recording.counts["frames"] == len(recording.frames) == len(recording.reference.depth)
    assert str(folder) in recording.problem and "mcap recover" in recording.problem


def test_a_bag_without_ground_truth_is_refused_by_name(tmp_path: Path) -> None:
    with BagWriter(tmp_path / "bag") as bag:
        bag.declare("/image", "sensor_msgs/msg/Image")
        bag.write_raw("/image", "sensor_msgs/msg/Image", 5, b"\0\1\0\0")
    with pytest.raises(RecordingError, match=r"bag: no ground truth: .* --truth \(it has /image\); `dkt run`"):
        load_recording(tmp_path / "bag")


def rewrite(source: Path, target: Path, change: Callable[[str, Any, int], Iterable[tuple[str, Any, int]]]) -> Path:
    """A bag with other messages: ``change`` gets topic, message and time of recording, and gives what is written."""
    with Bag(source) as bag, BagWriter(target) as writer:
        for raw in bag.messages():
            for topic, message, time_ns in change(raw.topic, bag.decode(raw), raw.time_ns):
                writer.write(topic, message, time_ns)
    return target


TRUTHS = (topics.TRUE_DEPTH, topics.TRUE_NORMALS, topics.TRUE_TRANSPARENT)


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    return write_sequence(rendered.sequence(6), tmp_path / "bag")


def test_pictures_without_ground_truth_are_run_and_scored_nowhere(bag: Path, tmp_path: Path) -> None:
    """Truth at half the camera's rate; one truth has no mask, and so is none."""
    seen: Counter[str] = Counter()

    def thin(topic: str, message: Any, time_ns: int) -> list[tuple[str, Any, int]]:
        seen[topic] += 1
        lost = topic in TRUTHS and (seen[topic] % 2 == 0 or (topic == TRUTHS[2] and seen[topic] == 3))
        return [] if lost else [(topic, message, time_ns)]

    recording = load_recording(rewrite(bag, tmp_path / "thin", thin))
    known = [bool(np.isfinite(recording.reference.depth[i]).any()) for i in range(6)]
    assert len(recording.frames) == 6 and known == [True, False, False, False, True, False]
    assert recording.counts["frames"] == 6 and recording.counts["pictures without ground truth"] == 4
    assert any("no mask near enough" in reason and count == 1 for reason, count in recording.counts.items())
    assert recording.reference.normals is not None and np.isnan(recording.reference.normals[1]).all()
    assert recording.reference.transparent[0].any() and not recording.reference.transparent[1].any()

    frames = [frame for frame, true in zip(recording.frames, known, strict=True) if true]
    estimates = [estimate_of(frame, recording.reference.depth[i]) for i, frame in enumerate(recording.frames)]
    only = [estimate for estimate in estimates if estimate.frame.stamp_ns in {frame.stamp_ns for frame in frames}]
    every, some = (evaluate(recording, given, Range(), groups=()).scores["ours"] for given in (estimates, only))
    assert every["C"] == some["C"] and every["A"]["all"] == some["A"]["all"] and every["C"]["all"]["pixels"] > 0


def estimate_of(frame: Frame, depth: np.ndarray) -> Estimate:
    depth = np.where(np.isfinite(depth), depth * 1.05, 0.7).astype(np.float32)
    sure = np.ones(depth.shape, np.float32)
    return Estimate(frame, 1 / depth, depth, None, "none", sure.astype(np.uint8), sure, None)


def test_truth_of_another_name_and_clock_is_found_when_it_is_named(bag: Path, tmp_path: Path) -> None:
    names = dict(zip(TRUTHS, ("/scan", "/scan_n", "/scan_m"), strict=True))

    def shift(topic: str, message: Any, time_ns: int) -> list[tuple[str, Any, int]]:
        if topic in TRUTHS:
            message.header.stamp.nanosec += 5_000_000
        return [(names.get(topic, topic), message, time_ns)]

    other = rewrite(bag, tmp_path / "other", shift)
    with pytest.raises(RecordingError, match=r"name its topic with --truth \(it has /camera/.*/scan"):
        bag_recordings(other)
    choice = TopicChoice(truth="/scan", truth_normals="/scan_n", truth_mask="/scan_m")
    ((name, load),) = bag_recordings(other, choice)
    with pytest.raises(RecordingError, match=r"none of 6 pictures has ground truth: no stamps within 0\.001 s"):
        load()
    ((name, load),) = bag_recordings(other, replace(choice, truth_slop_s=0.01))
    found, before = load(), load_recording(bag)
    assert name == found.name == "other"
    for what in ("depth", "transparent", "normals"):
        one, two = (getattr(recording.reference, what) for recording in (found, before))
        np.testing.assert_array_equal([one[i] for i in range(6)], [two[i] for i in range(6)])


def two_cameras(bag: Path, target: Path, truth: str) -> Path:
    """The same camera as /left and /right; ``truth`` is the name of its topics, with {} for the camera."""

    def double(topic: str, message: Any, time_ns: int) -> list[tuple[str, Any, int]]:
        kind = topic.rpartition("/")[2]
        if topic == "/tf":
            return []
        if topic in TRUTHS:
            named = dict.fromkeys(truth.format(camera, kind) for camera in ("left", "right"))
            return [(name, message, time_ns) for name in named]
        return [(topic.replace("/camera", f"/{camera}", 1), message, time_ns) for camera in ("left", "right")]

    return rewrite(bag, target, double)


def test_every_camera_with_ground_truth_is_a_recording(bag: Path, tmp_path: Path) -> None:
    both = two_cameras(bag, tmp_path / "both", "/ground_truth/{}/{}")
    found = bag_recordings(both)
    assert [name for name, _ in found] == ["both:left", "both:right"]
    assert [load().origin.camera.truth.depth for _, load in found] == [
        f"/ground_truth/{x}/depth" for x in ("left", "right")
    ]
    ((name, load),) = bag_recordings(both, TopicChoice(camera="right"))
    camera = load().origin.camera
    assert name == "both" and camera.topics.image == "/right/color/image_raw/compressed"
    assert camera.topics.camera_info == "/right/color/camera_info"
    with pytest.raises(RecordingError, match="several cameras have ground truth: both:left, both:right"):
        load_recording(both)


def test_ground_truth_of_no_named_camera_has_to_be_chosen(bag: Path, tmp_path: Path) -> None:
    both = two_cameras(bag, tmp_path / "both", "/ground_truth/{1}")
    with pytest.raises(BagError, match=r"several cameras could be meant: left: .*; right: .*--camera"):
        bag_recordings(both)
    for ((name, load),) in (
        bag_recordings(both, TopicChoice(camera="right")),
        bag_recordings(both, ask=lambda question, lines: [line.startswith("right") for line in lines].index(True)),
    ):
        assert name == "both" and load().origin.camera.name == "right"


def test_a_stamp_that_comes_twice_is_counted_once(bag: Path, tmp_path: Path) -> None:
    twice = rewrite(
        bag, tmp_path / "twice", lambda topic, message, time: [(topic, message, time), (topic, message, time + 1)]
    )
    recording = load_recording(twice)
    assert len(recording.frames) == len(set(recording.stamps())) == 6
    assert recording.counts[f"{topics.IMAGE}: a stamp that came before, the picture is left out"] == 6


def test_truth_of_another_size_is_refused_by_name(bag: Path, tmp_path: Path) -> None:
    def smaller(topic: str, message: Any, time_ns: int) -> list[tuple[str, Any, int]]:
        if topic == topics.TRUE_DEPTH:
            message.height //= 2
        return [(topic, message, time_ns)]

    with pytest.raises(BagError, match=r"true depth \(80, 30\) at .* differs from the first picture \(80, 60\)"):
        load_recording(rewrite(bag, tmp_path / "smaller", smaller))


def test_no_room_for_the_frames_is_told_with_the_remedy(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dkt_ros.evaluation.videos.Spool.append", full)
    with pytest.raises(RecordingError, match=r"bag: its frames wait in .*No space left on device; set TMPDIR"):
        load_recording(bag)


def test_normals_of_floats_are_read_too(bag: Path, tmp_path: Path) -> None:
    normals = np.zeros((60, 80, 3), np.float32)
    normals[..., 2] = -1

    def floats(topic: str, message: Any, time_ns: int) -> list[tuple[str, Any, int]]:
        if topic == topics.TRUE_NORMALS:
            message = replace(message, encoding="32FC3", step=80 * 12, data=normals.reshape(-1).view(np.uint8))
        return [(topic, message, time_ns)]

    recording = load_recording(rewrite(bag, tmp_path / "floats", floats))
    assert recording.reference.normals is not None
    np.testing.assert_array_equal(recording.reference.normals[3], normals)


def test_frames_are_a_sequence(bag: Path) -> None:
    frames = load_recording(bag).frames
    assert [f.stamp_ns for f in frames[1:4:2]] == [frames[1].stamp_ns, frames[3].stamp_ns] and frames[-1] is not None
    assert len(list(frames)) == 6
    with pytest.raises(IndexError):
        frames[6]


def peak_mb(path: Path) -> float:
    """Of what Python and numpy hold while a recording is loaded and read once from end to end."""
    tracemalloc.start()
    recording = load_recording(path)
    reference = recording.reference
    for index, frame in enumerate(recording.frames):
        assert frame.sensor_depth is not None and reference.depth[index].shape == frame.rgb.shape[:2]
        assert reference.normals is not None and reference.normals[index].shape == frame.rgb.shape
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def test_memory_does_not_grow_with_the_bag(tmp_path: Path) -> None:
    """Sixty frames more of 0.07 MB: to hold them would show as 4.3 MB. The shorter bag has several chunks already."""
    short, long = (write_sequence(rendered.sequence(count), tmp_path / f"{count}") for count in (60, 120))
    first = peak_mb(short)
    assert peak_mb(long) < first + 1.0


def test_a_video_of_the_published_set_has_neither_sensor_nor_masks(tmp_path: Path) -> None:
    members = published(4, "0826_0004")
    members["0826_0004_00000001.depth.json"] = b'{"max_depth": 0}'
    recording = load_recording(write(tmp_path / "0826_0004.tar", members))
    assert recording.name == "0826_0004" and len(recording.frames) == 3
    assert recording.counts == {"frames": 3, "frames whose max_depth is 0": 1}
    assert recording.reference.sensor_depth is None and not recording.reference.transparent.any()
    assert recording.reference.normals is not None and recording.frames[0].sensor_depth is None
    with pytest.raises(SequenceError, match="sequences are tars now"):
        load_recording(tmp_path / "sequence_000001.npz")


def test_a_folder_of_sequences_is_taken_in_order(tmp_path: Path) -> None:
    for seed in (3, 1, 2):
        save_sequence(sequence_path(tmp_path, seed), rendered.sequence(1))
    assert [path.name for path in find_recordings(tmp_path)] == [f"00000{i}.tar" for i in (1, 2, 3)]
    with pytest.raises(RecordingError, match="absent: no such file"):
        find_recordings(tmp_path / "absent")
