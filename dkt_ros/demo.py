"""``dkt demo``: a bag replayed over DDS into the node, a grasp planner on its cloud, each in its own process; what they
answer is recorded, scored and drawn."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dkt_ros import demo_grasps
from dkt_ros.bags import Bag, BagError, BagWriter, RawMessage
from dkt_ros.evaluation import topics
from dkt_ros.evaluation.evaluate import Recording, evaluate
from dkt_ros.evaluation.pictures import contact_sheet
from dkt_ros.evaluation.protocols import Range
from dkt_ros.evaluation.recorded import read_estimates
from dkt_ros.evaluation.recordings import RecordingError, load_recording
from dkt_ros.evaluation.report import Report, command_line
from dkt_ros.exchange import (
    CONFIDENCE,
    DIAGNOSTICS,
    DIAGNOSTICS_TYPE,
    DISPARITY,
    METRIC,
    NORMALS,
    Exchange,
    header_stamp_ns,
)
from dkt_ros.frames import Estimate
from dkt_ros.node_processes import set_environment
from dkt_ros.node_replay import NODE_NAME, NODE_PROGRAM, NodeProcess, replay_into
from dkt_ros.node_timing import Timing, timing_of

BUNDLED_BAG = Path(__file__).parent / "resources" / "demo"
NODE = f"/{NODE_NAME}"
#: How the grasp node is started; the parameters follow.
GRASP_PROGRAM = (sys.executable, "-m", "dkt_ros.grasp_node")
#: Clouds go to the planner this often: it shares two cores with the model.
CLOUD_RATE_HZ = 4.0
#: node's topic -> bag's topic
REMAPPINGS = {
    "image/compressed": topics.IMAGE,
    "image": topics.IMAGE.removesuffix("/compressed"),
    "camera_info": topics.CAMERA_INFO,
    "depth": topics.DEPTH,
    "depth/camera_info": topics.DEPTH_INFO,
}
INPUTS = (topics.IMAGE, topics.CAMERA_INFO, topics.DEPTH, topics.DEPTH_INFO)
IMAGE_TYPE = "sensor_msgs/msg/Image"
OUTPUTS = {
    **{f"{NODE}/{name}": IMAGE_TYPE for name in (DISPARITY, *METRIC)},
    f"{NODE}/depth/camera_info": "sensor_msgs/msg/CameraInfo",
    f"{NODE}/points": "sensor_msgs/msg/PointCloud2",
    f"/{DIAGNOSTICS}": DIAGNOSTICS_TYPE,
    **demo_grasps.OUTPUTS,
}
#: In the recording these are for looking at, one a second and all of the same moment: they are most of the bytes.
HEAVY = tuple(f"{NODE}/{name}" for name in ("points", NORMALS, DISPARITY, CONFIDENCE))
HEAVY_PERIOD_NS = 900_000_000


class DemoError(Exception):
    """The demo cannot be done with this bag; the message says why."""


def run_demo(bag: Path, out: Path) -> str:
    """Do it all; returns what to print. Writes demo.png, demo.mcap, demo.json and node.log into ``out``.

    Raises:
        DemoError: the bag is not one for the demo.
        NodeError: ROS 2 is missing, a node did not start or died, or nothing came back.
        BagError: the bag cannot be used.
    """
    began = time.monotonic()
    try:
        recording = load_recording(bag)
    except RecordingError as error:
        raise DemoError(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    set_environment(out)
    with Bag(bag) as opened:
        everything = list(opened.messages())
    exchange = Exchange(NODE)
    replay_into_nodes([message for message in everything if message.topic in INPUTS], exchange, out)
    _record(out / "demo.mcap", everything, exchange)
    timing = timing_of(exchange)
    estimates = list(read_estimates(exchange, recording))
    limits, planned = Range(), demo_grasps.timing_of(exchange)
    report = _report(recording, estimates, limits, timing, planned)
    report.write_json(out / "demo.json")
    title = f"{recording.name}: what the node was given, what it made of it, what is true"
    contact_sheet(recording, estimates, out / "demo.png", limits, title=title, jaws=_jaws(recording, exchange))
    files = f"{out / 'demo.png'}, {out / 'demo.mcap'}, {out / 'demo.json'}"
    took = f"{time.monotonic() - began:.0f} s"
    return f"{report.table()}\n\n{report.bars()}\n\n{timing}\n{planned}\n{files}; {took} in all"


def replay_into_nodes(messages: Sequence[RawMessage], exchange: Exchange, logs: Path) -> None:
    """Start both nodes, replay ``messages`` (CDR on the topics of ``INPUTS``) by their times, record, end the nodes.

    What the nodes say goes to node.log and grasps.log in ``logs``. ``set_environment`` must have been called.

    Raises:
        DemoError: there are no pictures.
        NodeError: ROS 2 is missing, a node did not start or died, or nothing came back.
    """
    kinds = {message.topic: message.type for message in messages}
    if topics.IMAGE not in kinds:
        raise DemoError(f"the bag has no pictures on {topics.IMAGE}; the demo needs the topics of the bundled bag")
    node = [*NODE_PROGRAM, "--ros-args", "-p", "autostart:=true", "-p", f"cloud.max_rate:={CLOUD_RATE_HZ}"]
    for own, bags in REMAPPINGS.items():
        node += ["-r", f"{own}:={bags}"]
    grasps = [*GRASP_PROGRAM, "--ros-args", "-r", f"points:={NODE}/points"]
    nodes = [
        NodeProcess("the node", node, logs / "node.log"),
        NodeProcess("the grasp node", grasps, logs / "grasps.log"),
    ]
    pictures = sum(message.topic == topics.IMAGE for message in messages)
    replay_into(nodes, exchange, kinds, OUTPUTS, messages, topics.IMAGE, pictures)


def _record(path: Path, inputs: Sequence[RawMessage], exchange: Exchange) -> None:
    """Everything of the bag and what came back, ``HEAVY`` topics thinned, on the bag's time line, as one MCAP file."""
    start = inputs[0].time_ns - exchange.start_ns
    outputs = [RawMessage(m.topic, m.type, m.time_ns + start, m.data) for m in _thinned(exchange)]
    merged = sorted([*inputs, *outputs], key=lambda message: message.time_ns)
    folder = Path(tempfile.mkdtemp(prefix=".demo_", dir=path.parent))
    try:
        with BagWriter(folder / path.stem) as writer:
            for topic, kind in OUTPUTS.items():
                writer.declare(topic, kind)
            for message in merged:
                writer.write_raw(message.topic, message.type, message.time_ns, message.data)
        os.replace(folder / path.stem / path.name, path)
    except OSError as error:
        raise BagError(f"cannot write {path}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _thinned(exchange: Exchange) -> Iterator[RawMessage]:
    """What came back; of the ``HEAVY`` topics only the moments of one cloud a second."""
    kept: list[int] = []
    for stamp in sorted(exchange.received.arrivals(f"{NODE}/points")):
        if not kept or stamp - kept[-1] >= HEAVY_PERIOD_NS:
            kept.append(stamp)
    came = exchange.received.messages()
    return (message for message in came if message.topic not in HEAVY or header_stamp_ns(message.data) in kept)


def _jaws(recording: Recording, exchange: Exchange) -> dict[int, NDArray[np.float64]]:
    """Stamp of a frame -> jaws in the picture, the best one first; for frames that have one."""
    cameras = {frame.stamp_ns: frame.intrinsics for frame in recording.frames}
    jaws = {}
    for stamp, grasps in demo_grasps.grasps_of(exchange).items():
        if len(grasps) and (camera := cameras.get(stamp)) is not None:
            jaws[stamp] = demo_grasps.drawn(grasps, camera)
    return jaws


def _report(
    recording: Recording,
    estimates: Sequence[Estimate],
    limits: Range,
    timing: Timing,
    planned: demo_grasps.GraspTiming,
) -> Report:
    scores = evaluate(recording, estimates, limits)
    details = {
        "timing": asdict(timing),
        "grasps": asdict(planned),
        "problems": [recording.problem] if recording.problem else [],
    }
    return Report([scores], limits, "the node's default", command_line(), details)
