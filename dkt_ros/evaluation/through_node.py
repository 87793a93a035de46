"""``dkt eval --through node``: the recording at its own rate over DDS into the real node, and what that publishes.

The node is the one that a robot runs, in a process of its own, with its own defaults: it drops what it cannot keep up
with, sends a clip incomplete that does not fill in time, and looks for no scene cuts. For clips that hold the same
frames its depth is, bit for bit, that of ``Perception`` in this process.

Everything has a namespace of its own, on a ROS domain of this host alone, so that a robot's nodes of the same name
neither hear nor disturb it.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields
from os import pathsep
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dkt_ros.bags import Bag, RawMessage
from dkt_ros.engines import EngineOptions
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.evaluation.recorded import read_estimates
from dkt_ros.exchange import DIAGNOSTICS, DIAGNOSTICS_TYPE, DISPARITY, METRIC, Exchange
from dkt_ros.frames import Estimate, Frame
from dkt_ros.node_processes import set_environment
from dkt_ros.node_replay import NODE_NAME, NODE_PROGRAM, NodeError, NodeProcess, refuse_without_ros, replay_into
from dkt_ros.node_timing import ages_of, timing_of

if TYPE_CHECKING:
    from dkt_ros.bag_topics import BagOrigin

IMAGE_TYPE, INFO_TYPE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
#: What is read of the node.
PICTURES = (DISPARITY, *METRIC)
#: Bytes that these are for one pixel, and of the encapsulation and the stamp that every message begins with.
PIXEL_BYTES, HEADER_BYTES = 4 + 4 + 12 + 1 + 4, 12
#: Estimates that the node keeps for us: it publishes those of a clip all at once, and we are no robot that would rather
#: miss one than read it late.
KEPT = 100
#: The node drops pictures that have no camera.
NO_CAMERA = "the node needs camera_info, and there is none; evaluate it without --through node"
#: Engines for which the node has a mode and a profile of its own (``node_settings``); the former is ours unless chosen,
#: the latter is not.
STREAM_ENGINES, STREAM_MODE, PROFILE = ("dkt", "dvd"), "streaming", "reference"


def run(
    recording: Recording, arguments: Namespace, logs: Path, parameters: Sequence[str] = ()
) -> tuple[Iterator[Estimate], dict[str, Any]]:
    """Replay a recording into a fresh node, to the end; returns what came back and how the node kept up.

    Of a bag its own messages go out as they are, else messages with exactly the values of the frames.

    Args:
        recording: of a bag or of anything else.
        arguments: as ``commands.run.add_engine_arguments`` parses them; they become the node's parameters.
        logs: a folder for what the node says, there already.
        parameters: further ones, NAME:=VALUE, laid over the node's defaults.

    Returns:
        The estimates in the order in which they came, read one by one from a temporary file, without a ``fit``; and the
        numbers of ``node_timing.Timing``, with "age_s" and "age_frame": the age of each answered frame, and its number;
        and "clip_length" and "overlap" of the node's clips.

    Raises:
        NodeError: an option that the node has not, ROS 2 is missing, the node did not start or died, or no answer.
    """
    refuse_without_ros()
    own = [*node_parameters(arguments), *parameters]
    _check_room(recording)
    set_environment(logs)
    namespace = f"/dkt_eval_{secrets.token_hex(4)}"
    node = f"{namespace}/{NODE_NAME}"
    diagnostics = f"{namespace}/{DIAGNOSTICS}"
    command = [*NODE_PROGRAM, "--ros-args", "-r", f"__ns:={namespace}", "-r", f"/{DIAGNOSTICS}:={diagnostics}"]
    patient = [f"qos_overrides.{node}/{name}.publisher.depth:={KEPT}" for name in PICTURES]
    for parameter in ("autostart:=true", *patient, *own):
        command += ["-p", parameter]
    origin = recording.origin
    inputs, picture, messages = _bag_messages(recording, origin) if origin else _frame_messages(recording)
    exchange = Exchange(node, diagnostics)
    replay_into(
        [NodeProcess("the node", command, logs / "node.log")],
        exchange,
        {f"{namespace}/{topic}": kind for topic, kind in inputs.items()},
        {**{f"{node}/{name}": IMAGE_TYPE for name in PICTURES}, diagnostics: DIAGNOSTICS_TYPE},
        (RawMessage(f"{namespace}/{m.topic}", m.type, m.time_ns, m.data) for m in messages),
        f"{namespace}/{picture}",
        len(recording.stamps()),
        namespace,
    )
    return read_estimates(exchange, recording), _timing(exchange, recording)


def node_parameters(arguments: Namespace) -> list[str]:
    """The options of a command as NAME:=VALUE of the node; what is left to the engine is what the path takes here.

    Raises:
        NodeError: an option that the node has no parameter for.
    """
    streams = arguments.engine in STREAM_ENGINES
    if arguments.mode is not None and not (streams and arguments.mode == STREAM_MODE):
        remedy = "leave --mode out" + (f", or give --mode {STREAM_MODE}, which is what it does" if streams else "")
        raise NodeError(f"--mode {arguments.mode}: the node follows a camera clip by clip; {remedy}")
    given = {each.name: getattr(arguments, each.name) for each in fields(EngineOptions) if each.name != "mode"}
    if streams:
        given["profile"] = arguments.profile or PROFILE
    if given["weights"]:
        given["weights"] = pathsep.join(str(Path(path).absolute()) for path in given["weights"])
    given |= {"engine": arguments.engine, "clip_length": arguments.clip_length, "overlap": arguments.overlap}
    given["use_sensor_depth"] = False if arguments.no_sensor_depth else None
    given["sync_slop"] = getattr(arguments, "slop", None)  # of commands that have topics to choose
    return [f"{name}:={_yaml(value)}" for name, value in given.items() if value is not None]


def _yaml(value: object) -> str:
    """A value as ROS reads it; words quoted, since some look like numbers."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else "'{}'".format(str(value).replace("'", "''"))


def _check_room(recording: Recording) -> None:
    width, height = recording.frames[0].size
    needed = len(recording.stamps()) * width * height * PIXEL_BYTES
    place = tempfile.gettempdir()
    free = shutil.disk_usage(place).free
    if needed > free:
        raise NodeError(
            f"{place}: what the node publishes for {recording.name} waits there and needs {needed / 1e9:.1f} GB, but"
            f" {free / 1e9:.1f} GB are free; set TMPDIR to another disk, or take fewer frames"
        )


def _bag_messages(recording: Recording, origin: BagOrigin) -> tuple[dict[str, str], str, Iterator[RawMessage]]:
    """Types by our names of the topics, the name of the picture's, and the bag's own messages under these names."""
    with Bag(origin.path) as bag:
        kinds = dict(bag.topics)
    chosen = origin.camera.topics
    if not chosen.camera_info:
        raise NodeError(f"{recording.name}: {NO_CAMERA}")
    picture = "image" if kinds[chosen.image] == IMAGE_TYPE else "image/compressed"
    names = {chosen.image: picture, chosen.camera_info: "camera_info"}
    if chosen.depth:
        names[chosen.depth] = "depth" if kinds[chosen.depth] == IMAGE_TYPE else "depth/compressedDepth"
    if chosen.depth_info:
        names[chosen.depth_info] = "depth/camera_info"

    def messages() -> Iterator[RawMessage]:
        with Bag(origin.path) as bag:
            for message in bag.messages(list(names)):
                if len(message.data) >= HEADER_BYTES:  # else it is none, which the recording counts already
                    yield RawMessage(names[message.topic], message.type, message.time_ns, message.data)

    return {name: kinds[topic] for topic, name in names.items()}, picture, messages()


def _frame_messages(recording: Recording) -> tuple[dict[str, str], str, Iterator[RawMessage]]:
    """As ``_bag_messages``, made from the frames: rgb8, 32FC1 in metres, a camera_info for each."""
    first = recording.frames[0]
    if first.intrinsics is None:
        raise NodeError(f"{recording.name}: {NO_CAMERA}")
    kinds = {"image": IMAGE_TYPE, "camera_info": INFO_TYPE}
    if any(frame.sensor_depth is not None for frame in recording.frames):
        kinds["depth"] = IMAGE_TYPE
    return kinds, "image", (message for frame in recording.frames for message in _made(frame))


def _made(frame: Frame) -> Iterator[RawMessage]:
    """The picture last: it need not wait for what belongs to it."""
    from rclpy.serialization import serialize_message

    from dkt_ros.messages import make_camera_info, make_image

    stamp, name = frame.stamp_ns, frame.frame_id
    if frame.intrinsics is not None:
        info = make_camera_info(frame.intrinsics, stamp, name)
        yield RawMessage("camera_info", INFO_TYPE, stamp, serialize_message(info))
    if frame.sensor_depth is not None:
        depth = make_image(frame.sensor_depth, "32FC1", stamp, name)
        yield RawMessage("depth", IMAGE_TYPE, stamp, serialize_message(depth))
    yield RawMessage("image", IMAGE_TYPE, stamp, serialize_message(make_image(frame.rgb, "rgb8", stamp, name)))


def _timing(exchange: Exchange, recording: Recording) -> dict[str, Any]:
    numbers = {stamp: number for number, stamp in enumerate(recording.stamps())}
    ages = sorted((numbers[stamp], age) for stamp, age in ages_of(exchange).items() if stamp in numbers)
    found = {"age_s": [age for _, age in ages], "age_frame": [number for number, _ in ages]}
    window = {name: int(exchange.told()[name.replace("_", " ")]) for name in ("clip_length", "overlap")}
    return {**asdict(timing_of(exchange)), **found, **window}
