"""A rendered sequence and the bag made of it are the same recording; what is damaged is used as far as it goes."""

from pathlib import Path

import numpy as np
import pytest

from dkt_ros.bags import Bag, BagWriter
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.bag_writer import START_NS, write_sequence
from dkt_ros.evaluation.recordings import RecordingError, find_recordings, load_recording
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
