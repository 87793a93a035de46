"""Results as a bag: the node's topics beside the inputs, with the frames' stamps, whole or absent."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dkt_ros import cli, messages
from dkt_ros.bag_join import header_stamp_ns
from dkt_ros.bags import Bag, BagError
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.bag_writer import write_sequence
from dkt_ros.evaluation.recordings import load_recording
from dkt_ros.result_bag import NODE, result_bag
from dkt_ros.sources import open_source

from . import rendered
from .scenes import ScriptedEngine

COUNT = 13


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    scripted = ScriptedEngine(normals=True)
    monkeypatch.setattr("dkt_ros.engines.load_engine", lambda name, options=None: scripted)
    return scripted


@pytest.fixture
def bag_of_five(tmp_path: Path) -> Path:
    return write_sequence(rendered.sequence(5), tmp_path / "bag")


@pytest.fixture
def ran(engine: ScriptedEngine, tmp_path: Path) -> Path:
    """A folder with the input "bag", the results "results" and their arrays in "out"."""
    write_sequence(rendered.sequence(COUNT), tmp_path / "bag")
    run = ["run", str(tmp_path / "bag"), "--out", str(tmp_path / "out"), "--bag", str(tmp_path / "results")]
    assert cli.main(run) == 0
    return tmp_path


def test_results_lie_beside_the_inputs_with_the_stamps_of_the_pictures(ran: Path) -> None:
    with Bag(ran / "bag") as bag:
        given = Counter(message.topic for message in bag.messages())
        original = {message.topic: message.data for message in bag.messages()}
        pictures = {header_stamp_ns(m.data): m.time_ns for m in bag.messages([topics.IMAGE])}
    with Bag(ran / "results") as bag:
        written = list(bag.messages())
        counts = Counter(message.topic for message in written)
        assert {name: counts.pop(name) for name in given} == given, "inputs, ground truth and /tf are there"
        last = {message.topic: message.data for message in written}
        assert {name: last[name] for name in given} == original
        outputs = ("depth/image", "depth/camera_info", "normals/image", "provenance", "confidence", "disparity/image")
        assert counts == {f"{NODE}/{name}": COUNT for name in outputs}
        for message in written:
            if message.topic.startswith(NODE):
                assert pictures[header_stamp_ns(message.data)] == message.time_ns
                assert bag.decode(message).header.frame_id == topics.OPTICAL_FRAME
        found = {name: [bag.decode(m) for m in bag.messages([f"{NODE}/{name}"])] for name in outputs}
    with np.load(ran / "out" / "depth.npz", allow_pickle=False) as arrays:
        for index in range(COUNT):
            np.testing.assert_array_equal(messages.decode_depth(found["depth/image"][index]), arrays["depth"][index])
            normals = messages.decode_normals(found["normals/image"][index])
            np.testing.assert_allclose(normals, arrays["normals"][index], atol=1e-3)
            provenance = found["provenance"][index]
            assert provenance.encoding == "mono8"
            np.testing.assert_array_equal(provenance.data, arrays["provenance"][index].reshape(-1))
    camera = messages.decode_intrinsics(found["depth/camera_info"][0])
    assert camera == rendered.sequence(1).intrinsics


def test_the_result_is_read_as_the_input_is(ran: Path) -> None:
    """Our own depth is not taken for the sensor's."""
    before, after = load_recording(ran / "bag"), load_recording(ran / "results")
    assert after.origin is not None and before.origin is not None
    assert after.origin.camera == before.origin.camera and after.counts == before.counts
    for left, right in zip(before.frames, after.frames, strict=True):
        assert (left.stamp_ns, left.frame_id, left.intrinsics) == (right.stamp_ns, right.frame_id, right.intrinsics)
        np.testing.assert_array_equal(left.rgb, right.rgb)
        np.testing.assert_array_equal(left.sensor_depth, right.sensor_depth)
    np.testing.assert_array_equal(before.reference.depth[5], after.reference.depth[5])


def test_pictures_of_no_bag_are_written_with_disparity_alone(engine: ScriptedEngine, tmp_path: Path) -> None:
    import cv2

    (tmp_path / "pictures").mkdir()
    for index, picture in enumerate(rendered.sequence(5).rgb):
        cv2.imwrite(str(tmp_path / "pictures" / f"{index}.png"), picture[..., ::-1])
    run = ["run", str(tmp_path / "pictures"), "--fps", "10", "--out", str(tmp_path / "out")]
    assert cli.main([*run, "--bag", str(tmp_path / "deep" / "results")]) == 0
    frames = list(open_source(tmp_path / "deep" / "results").frames())
    assert len(frames) == 5 and frames[0].sensor_depth is None
    with Bag(tmp_path / "deep" / "results") as bag:
        counts = Counter(message.topic for message in bag.messages())
    assert counts == {"/camera/color/image_raw/compressed": 5, f"{NODE}/disparity/image": 5}


def test_a_bag_is_not_overwritten_and_a_half_one_does_not_stay(ran: Path, engine: ScriptedEngine, capsys) -> None:
    calls = len(engine.clips)
    run = ["run", str(ran / "bag"), "--out", str(ran / "out"), "--bag"]
    assert cli.main([*run, str(ran / "results")]) == 1
    assert f"bag {ran / 'results'}: exists already" in capsys.readouterr().err and len(engine.clips) == calls
    estimates = iter(range(3))
    with pytest.raises(StopIteration), result_bag(ran / "half", load_recording(ran / "bag").origin):
        while True:
            next(estimates)
    assert sorted(path.name for path in ran.iterdir()) == ["bag", "out", "results"]
    (ran / "file").write_text("")
    with pytest.raises(BagError, match="cannot be written"), result_bag(ran / "file" / "below", None):
        pass


def test_a_full_disk_is_named_with_the_bag(ran: Path, monkeypatch, capsys) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dkt_ros.bags.BagWriter.write", full)
    run = ["run", str(ran / "bag"), "--out", str(ran / "other"), "--bag", str(ran / "more")]
    assert cli.main(run) == 1
    said = capsys.readouterr().err
    assert f"bag {ran / 'more'}: cannot be written: [Errno 28]" in said and "choose another place" in said
    assert not (ran / "more").exists() and not (ran / "other").exists()
