"""``dkt demo``: a bag replayed over DDS into the node, a grasp planner on its cloud, each in its own process; what they
answer is recorded, scored and drawn."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dkt_ros import demo_grasps
from dkt_ros.bags import Bag, BagError, BagWriter, RawMessage
from dkt_ros.demo_processes import running, set_environment, tail
from dkt_ros.evaluation import recorded, topics
from dkt_ros.evaluation.evaluate import Recording, evaluate
from dkt_ros.evaluation.pictures import contact_sheet
from dkt_ros.evaluation.protocols import Range
from dkt_ros.evaluation.recordings import RecordingError, load_recording
from dkt_ros.evaluation.report import Report, command_line

if TYPE_CHECKING:
    from dkt_ros.frames import Estimate
    from dkt_ros.replay import Exchange

BUNDLED_BAG = Path(__file__).parent / "resources" / "demo"
NODE = "/dkt_perception"
#: How the nodes are started; the parameters follow.
NODE_PROGRAM = (sys.executable, "-m", "dkt_ros.node")
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
DEPTH_OUT = f"{NODE}/{recorded.DEPTH}"
IMAGE_TYPE = "sensor_msgs/msg/Image"
OUTPUTS = {
    **{f"{NODE}/{name}": IMAGE_TYPE for name in (recorded.DEPTH, recorded.DISPARITY, recorded.NORMALS)},
    **{f"{NODE}/{name}": IMAGE_TYPE for name in (recorded.PROVENANCE, recorded.CONFIDENCE)},
    f"{NODE}/depth/camera_info": "sensor_msgs/msg/CameraInfo",
    f"{NODE}/points": "sensor_msgs/msg/PointCloud2",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
    **demo_grasps.OUTPUTS,
}
#: In the recording these are for looking at, one a second and all of the same moment: they are most of the bytes.
HEAVY = tuple(f"{NODE}/{name}" for name in ("points", recorded.NORMALS, recorded.DISPARITY, recorded.CONFIDENCE))
HEAVY_PERIOD_NS = 900_000_000
START_S, QUIET_S, DRAIN_S = 90.0, 4.0, 30.0


class DemoError(Exception):
    """The demo could not be done; the message says why and, if the node failed, ends with its last words."""


@dataclass(frozen=True)
class Timing:
    """How the node kept up.

    Attributes:
        sent, answered: pictures published and depth images that came back for them.
        rate_in_hz: of the pictures; 0 for fewer than two.
        rate_out_hz: answered pictures over the time from the first picture sent to the last answer.
        age_median_s, age_max_s: from publishing a picture to receiving its depth, over DDS both ways.
        drops: by reason, as the node counted them in its diagnostics.
        waiting: pictures that still waited for a full clip when the bag ended.
    """

    sent: int
    answered: int
    rate_in_hz: float
    rate_out_hz: float
    age_median_s: float
    age_max_s: float
    drops: dict[str, int]
    waiting: int

    def __str__(self) -> str:
        drops = ", ".join(f"{count} {reason}" for reason, count in self.drops.items()) or "none"
        return (
            f"{self.answered} of {self.sent} frames answered at {self.rate_out_hz:.1f} Hz"
            f" (sent at {self.rate_in_hz:.1f} Hz); age median {self.age_median_s:.2f} s, max {self.age_max_s:.2f} s;"
            f" drops: {drops}; {self.waiting} still waited for a full clip when the bag ended"
            + ("\nthis machine is too busy, or too slow, for that rate" if self.drops.get("overload") else "")
        )


def run_demo(bag: Path, out: Path) -> str:
    """Do it all; returns what to print. Writes demo.png, demo.mcap, demo.json and node.log into ``out``.

    Raises:
        DemoError: ROS 2 is missing, the node did not start or died, or nothing came back.
        BagError: the bag cannot be used.
    """
    began = time.monotonic()
    try:
        recording = load_recording(bag)
    except RecordingError as error:
        raise DemoError(str(error)) from error
    out.mkdir(parents=True, exist_ok=True)
    set_environment(out)
    log = out / "node.log"
    with Bag(bag) as opened:
        everything = list(opened.messages())
    exchange = replay_into_nodes([message for message in everything if message.topic in INPUTS], log)
    _record(out / "demo.mcap", everything, exchange)
    timing = timing_of(exchange)
    if not timing.answered:
        why = diagnostics_of(exchange).get("why no output", "")
        raise DemoError(f"the node answered none of {timing.sent} frames{f': {why}' if why else ''}{tail(log)}")
    estimates = recorded.read_estimates(recorded.Heard(exchange.received), NODE, recording.frames)
    limits, planned = Range(), demo_grasps.timing_of(exchange)
    report = _report(recording, estimates, limits, timing, planned)
    report.write_json(out / "demo.json")
    title = f"{recording.name}: what the node was given, what it made of it, what is true"
    contact_sheet(recording, estimates, out / "demo.png", limits, title=title, jaws=_jaws(recording, exchange))
    files = f"{out / 'demo.png'}, {out / 'demo.mcap'}, {out / 'demo.json'}"
    took = f"{time.monotonic() - began:.0f} s"
    return f"{report.table()}\n\n{report.bars()}\n\n{timing}\n{planned}\n{files}; {took} in all"


def _commands() -> tuple[list[str], list[str]]:
    """Command lines of the node and of the grasp node."""
    node = [*NODE_PROGRAM, "--ros-args", "-p", "autostart:=true", "-p", f"cloud.max_rate:={CLOUD_RATE_HZ}"]
    for own, bags in REMAPPINGS.items():
        node += ["-r", f"{own}:={bags}"]
    return node, [*GRASP_PROGRAM, "--ros-args", "-r", f"points:={NODE}/points"]


def diagnostics_of(exchange: Exchange) -> dict[str, str]:
    """The node's last diagnostics as key -> value."""
    from diagnostic_msgs.msg import DiagnosticArray
    from rclpy.serialization import deserialize_message

    for message in reversed(exchange.received):
        if message.topic == "/diagnostics":
            for status in deserialize_message(message.data, DiagnosticArray).status:
                if NODE.strip("/") in status.name:
                    return {pair.key: pair.value for pair in status.values}
    return {}


def _is_warm(exchange: Exchange) -> bool:
    """Whether the node works and has run its model once; pictures that come before that only wait and age."""
    told = diagnostics_of(exchange)
    return told.get("state") == "active" and told.get("why no output") != "the model warms up"


def replay_into_nodes(messages: Sequence[RawMessage], log: Path) -> Exchange:
    """Start the nodes, replay ``messages`` (CDR on the topics of ``INPUTS``) by their times, record, end the nodes.

    The perception node's output goes to ``log``, the grasp node's to ``grasps.log`` beside it.

    Returns the ``replay.Exchange``. ``set_environment`` must have been called.

    Raises:
        DemoError: ROS 2 is missing, a node did not start or died.
    """
    from tqdm import tqdm

    kinds = {message.topic: message.type for message in messages}
    if topics.IMAGE not in kinds:
        raise DemoError(f"the bag has no pictures on {topics.IMAGE}; the demo needs the topics of the bundled bag")
    try:
        from dkt_ros.replay import Replayer
    except ImportError as error:
        raise DemoError(f"ROS 2 is not here ({error}); `dkt doctor` says what to do") from error
    command, grasp_command = _commands()
    grasp_log = log.with_name("grasps.log")
    with running(command, log) as node, running(grasp_command, grasp_log) as planner:

        def watch(exchange: Exchange) -> None:
            for process, what, file in ((node, "the node", log), (planner, "the grasp node", grasp_log)):
                if process.poll() is not None:
                    raise DemoError(f"{what} ended with status {process.returncode}{tail(file)}")
            # It starts by itself before it tells anything, so what it tells then is final.
            if diagnostics_of(exchange).get("state") == "unconfigured":
                raise DemoError(f"the node could not be configured{tail(log)}")

        with Replayer(kinds, OUTPUTS, watch) as replayer:
            print("starting the nodes ...", file=sys.stderr)
            if not replayer.wait_until_connected(START_S):
                raise DemoError(f"the node was not ready after {START_S:.0f} s{tail(log)}")
            if not replayer.wait_until(_is_warm, START_S):
                raise DemoError(f"the model was not warm after {START_S:.0f} s{tail(log)}")
            pictures = sum(message.topic == topics.IMAGE for message in messages)
            with tqdm(total=pictures, unit="frame", desc="replay", disable=None) as bar:
                replayer.play(messages, topics.IMAGE, bar.update)
            replayer.drain(DEPTH_OUT, QUIET_S, DRAIN_S)
            return replayer.exchange


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


def _thinned(exchange: Exchange) -> list[RawMessage]:
    """What came back; of the ``HEAVY`` topics only the moments of one cloud a second."""
    from dkt_ros.replay import header_stamp_ns

    kept: list[int] = []
    for stamp in sorted(exchange.arrivals(f"{NODE}/points")):
        if not kept or stamp - kept[-1] >= HEAVY_PERIOD_NS:
            kept.append(stamp)
    return [m for m in exchange.received if m.topic not in HEAVY or header_stamp_ns(m.data) in kept]


def _jaws(recording: Recording, exchange: Exchange) -> dict[int, NDArray[np.float64]]:
    """Stamp of a frame -> jaws in the picture, the best one first; for frames that have one."""
    cameras = {frame.stamp_ns: frame.intrinsics for frame in recording.frames}
    jaws = {}
    for stamp, grasps in demo_grasps.grasps_of(exchange).items():
        if len(grasps) and (camera := cameras.get(stamp)) is not None:
            jaws[stamp] = demo_grasps.drawn(grasps, camera)
    return jaws


def timing_of(exchange: Exchange) -> Timing:
    """Rates, ages and drops of an exchange."""
    arrived = {s: t for s, t in exchange.arrivals(DEPTH_OUT).items() if s in exchange.sent}
    ages = [(t - exchange.sent[s]) * 1e-9 for s, t in arrived.items()] or [0.0]
    told = diagnostics_of(exchange)
    drops = {key.removeprefix("drops/"): int(n) for key, n in told.items() if key.startswith("drops/") and int(n)}
    sent = sorted(exchange.sent.values())
    sending_s = (sent[-1] - sent[0]) * 1e-9
    answering_s = (max(arrived.values(), default=sent[0]) - sent[0]) * 1e-9
    return Timing(
        sent=len(sent),
        answered=len(arrived),
        rate_in_hz=(len(sent) - 1) / sending_s if sending_s else 0.0,
        rate_out_hz=len(arrived) / answering_s if answering_s else 0.0,
        age_median_s=statistics.median(ages),
        age_max_s=max(ages),
        drops=drops,
        waiting=int(told.get("waiting", 0)),
    )


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
