"""``--through node``: real rclpy, real DDS, the real node in a process of its own, and the depth of ``Perception``."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not here: pip install -e '.[ros]', or source a ROS 2 install")

from dkt_ros import node_replay
from dkt_ros.commands.run import add_engine_arguments, make_perception
from dkt_ros.evaluation import through_node
from dkt_ros.evaluation.bag_writer import write_sequence
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.protocols import Reference
from dkt_ros.evaluation.through_node import node_parameters
from dkt_ros.frames import Estimate
from dkt_ros.node_parameters import BY_NAME
from dkt_ros.node_processes import set_environment
from dkt_ros.node_replay import NodeError
from dkt_ros.node_timing import same_clips
from dkt_ros.perception import Perception

from .. import rendered, scenes
from .foreign_robot import robot

REPOSITORY = Path(__file__).parents[2]
#: Every clip full and none too late, however busy the machine is: the clips of the path in this process.
PATIENT = ("max_age:=0.0", "queue:=100")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Variables are set for good; other tests must not see them."""
    before = dict(os.environ)
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    yield
    os.environ.clear()
    os.environ.update(before)


def parsed(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_engine_arguments(parser)
    return parser.parse_args(options)


def recorded(frames: int) -> Recording:
    """A rendered sequence; its sensor has holes."""
    sequence = rendered.sequence(frames)
    truth = Reference("scene", sequence.depth, sequence.transparent, sequence.sensor_depth)
    return Recording("scene", sequence.frames(), truth)


def same(came: list[Estimate], expected: list[Estimate]) -> None:
    assert [each.frame.stamp_ns for each in came] == [each.frame.stamp_ns for each in expected]
    for ours, theirs in zip(came, expected, strict=True):
        for name in ("depth", "disparity", "normals", "provenance", "confidence"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name), equal_nan=True), name


def test_a_bag_through_the_node_gives_the_depth_of_the_path_in_this_process(tmp_path: Path) -> None:
    """... bit for bit, the bundled engine and JPEG included."""
    from dkt_ros.evaluation.recordings import load_recording

    recording = load_recording(write_sequence(rendered.sequence(9), tmp_path / "bag"))
    assert recording.origin is not None, "its own messages, not some made from the frames"
    arguments = parsed("--threads", "1", "--clip-length", "5", "--overlap", "1")
    came, timing = through_node.run(recording, arguments, tmp_path, PATIENT)
    expected = list(make_perception(arguments).run(recording.frames))
    same(list(came), expected)
    assert (timing["sent"], timing["answered"], timing["waiting"]) == (9, 9, 0) and same_clips(timing)
    assert timing["age_frame"] == list(range(9)) and all(0 < age < 600 for age in timing["age_s"])
    assert timing["age_median_s"] <= timing["age_p95_s"] <= timing["age_max_s"] == max(timing["age_s"])
    assert json.loads(json.dumps(timing)) == timing and (timing["clip_length"], timing["overlap"]) == (5, 1)
    assert timing["rate_in_hz"] < 10.5, "at 1x, not as fast as it goes"


def test_frames_go_out_with_their_values_and_no_robot_is_heard_or_disturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(through_node, "NODE_PROGRAM", (sys.executable, "-m", "test.scripted_node"))
    monkeypatch.setattr(through_node, "set_environment", lambda logs: None)  # the robot is on the domain of this test
    recording = recorded(15)
    with robot() as other:
        came, timing = through_node.run(recording, parsed(), tmp_path, PATIENT)
        estimates = list(came)
        publishers = {info.node_namespace for info in other.node.get_publishers_info_by_topic("/image")}
    assert timing["sent"] == 15 and timing["answered"] == 13 and timing["drops"] == {} and timing["waiting"] == 2
    engine = scenes.ScriptedEngine(normals=True)
    engine.calls = 1  # the node's has warmed up
    same(estimates, list(Perception(engine).run(recording.frames))[:13])
    assert all(each.depth is not None for each in estimates)
    assert publishers == {"/"}, "only its own"
    assert other.heard and set(other.heard) == {"/image", "/camera_info", "/dkt_perception/depth/image"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_node_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    program = f"""
import argparse
from pathlib import Path
from dkt_ros import replay
from dkt_ros.commands.run import add_engine_arguments
from dkt_ros.evaluation import through_node
from test.evaluation.test_through_node import recorded
through_node.NODE_PROGRAM = ({sys.executable!r}, "-m", "test.scripted_node")
play = replay.Replayer.play
replay.Replayer.play = lambda *arguments: (print("sent", flush=True), play(*arguments))
parser = argparse.ArgumentParser()
add_engine_arguments(parser)
through_node.run(recorded(40), parser.parse_args([]), Path("."))
"""
    started = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path / "temporary")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert started.stdout is not None and started.stdout.readline() == "sent\n"
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split()
    assert len(children) == 1
    started.send_signal(number)
    _, said = started.communicate(timeout=60)
    assert "KeyboardInterrupt" in said if number == signal.SIGINT else started.returncode == 128 + number
    assert not Path(f"/proc/{children[0]}").exists()
    assert not [path for path in (tmp_path / "temporary").iterdir() if "ros" not in path.name]


def test_a_node_that_cannot_load_its_weights_is_quoted(tmp_path: Path) -> None:
    recording = recorded(2)
    with pytest.raises(NodeError, match=r"could not be configured; the end of (.|\n)*no/such/weights"):
        through_node.run(recording, parsed("--engine", "dkt", "--weights", "no/such/weights"), tmp_path)


def test_a_node_that_dies_and_one_that_never_speaks_are_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = recorded(2)
    dying = "import sys; print('no module named torch'); sys.exit(3)"
    monkeypatch.setattr(through_node, "NODE_PROGRAM", (sys.executable, "-c", dying))
    with pytest.raises(NodeError, match=r"the node ended with status 3; the end of (.|\n)*named torch"):
        through_node.run(recording, parsed(), tmp_path)
    silent = "import time; print('thinking', flush=True); time.sleep(600)"
    monkeypatch.setattr(through_node, "NODE_PROGRAM", (sys.executable, "-c", silent))
    monkeypatch.setattr(node_replay, "START_S", 1.5)
    with pytest.raises(NodeError, match=r"not ready after 2 s; the end of .*\n    thinking"):
        through_node.run(recording, parsed(), tmp_path)


def test_without_ros_there_is_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dkt_ros.replay", None)
    with pytest.raises(NodeError, match=r"ROS 2 is not here \(.*\); `dkt doctor` says what to do"):
        through_node.run(recorded(2), parsed(), tmp_path)


def test_a_full_disk_is_told_before_and_a_missing_camera_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = recorded(2)
    frames = [replace(frame, intrinsics=None) for frame in recording.frames]
    with pytest.raises(NodeError, match=r"scene: the node needs camera_info, and there is none"):
        through_node.run(replace(recording, frames=frames), parsed(), tmp_path)
    monkeypatch.setattr(through_node.shutil, "disk_usage", lambda place: SimpleNamespace(free=239_999))
    with pytest.raises(NodeError, match=r"scene waits there and needs 0\.0 GB, but 0\.0 GB are free; set TMPDIR"):
        through_node.run(recording, parsed(), tmp_path)


def test_nothing_reaches_beyond_this_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROS_DOMAIN_ID": "0", "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}.items():
        monkeypatch.setenv(name, value)
    for name in ("ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER"):
        monkeypatch.setenv(name, "192.168.1.7")
    set_environment(tmp_path)
    assert os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST" and os.environ["ROS_LOCALHOST_ONLY"] == "1"
    assert 1 <= int(os.environ["ROS_DOMAIN_ID"]) <= 100, "not the domain that robots are on by default"
    assert not {"ROS_STATIC_PEERS", "ROS_DISCOVERY_SERVER"} & set(os.environ)


def test_every_option_reaches_the_node_or_is_refused() -> None:
    given = parsed(
        *("--engine", "dvd", "--weights", "5", "it's", "--profile", "low_latency", "--steps", "2", "--compile"),
        *("--mode", "streaming", "--device", "cuda:1", "--precision", "float32", "--vae", "tiny", "--threads", "3"),
        *("--stitching", "demo", "--normals-axes=+x-y-z", "--clip-length", "13", "--overlap", "5"),
        *("--no-sensor-depth", "--no-cuts"),
    )
    assert all(value for value in vars(given).values()), "an option was added; does it reach the node?"
    found = dict(each.split(":=", 1) for each in node_parameters(given))
    here = Path.cwd()
    assert found == {
        "engine": "'dvd'",
        "weights": f"'{here}/5:{here}/it''s'",
        "profile": "'low_latency'",
        "steps": "2",
        "compiled": "true",
        "device": "'cuda:1'",
        "precision": "'float32'",
        "vae": "'tiny'",
        "threads": "3",
        "stitching": "'demo'",
        "normals_axes": "'+x-y-z'",
        "clip_length": "13",
        "overlap": "5",
        "use_sensor_depth": "false",
    }
    assert set(found) <= set(BY_NAME)
    assert node_parameters(parsed()) == ["engine:='nano'"]
    given.slop = 0.05
    assert "sync_slop:=0.05" in node_parameters(given)
    window = set(node_parameters(parsed("--engine", "dvd")))
    assert window == {"engine:='dvd'", "profile:='reference'"}, "the node's own default would be another"
    with pytest.raises(NodeError, match=r"--mode windowed: the node follows a camera clip by clip; .* streaming"):
        node_parameters(parsed("--engine", "dkt", "--mode", "windowed"))
    with pytest.raises(NodeError, match=r"--mode streaming: .*; leave --mode out$"):
        node_parameters(parsed("--mode", "streaming"))
