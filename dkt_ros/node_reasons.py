"""Why nothing comes out of the node, or less than could: one line with the remedy, and how bad that is. No ROS here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from dkt_ros.frames import MetricFit
from dkt_ros.node_statistics import Statistics

#: Levels of diagnostic_msgs/DiagnosticStatus.
OK, WARN, ERROR, STALE = b"\x00", b"\x01", b"\x02", b"\x03"

#: Beginnings of the faults that leave the model without an anchor in metres, most telling first.
_ANCHOR_FAULTS = ("TF missing", "depth:", "image without depth", "depth all invalid")
#: What makes the history start anew; again and again, no clip ever fills.
_CUTS = ("stamp backward", "size changed", "frame_id changed", "camera_info changed")
#: Pictures come and nothing goes out for this time, or for three clips: that is no beginning any more.
_PATIENCE_S, _PATIENCE_CLIPS = 10.0, 3


class Diagnosis(NamedTuple):
    """One line, "" if all outputs flow, and its level.

    Levels: OK: all flows, or nothing is to be done (not active, no reader, warming up, the first clip fills).
    WARN: something comes out, but less than could, or something is lost. ERROR: pictures come or could come and nothing
    goes out, for a fault that the line names. STALE: no picture comes, so what was published last is old.
    """

    line: str
    level: bytes


@dataclass(frozen=True)
class Snapshot:
    """What a diagnosis needs to know, gathered by the node.

    Attributes:
        state: of the lifecycle, "active" and so on.
        statistics: counters of this run.
        name: full name of the node.
        topics: full names of the inputs by their own names.
        image_publishers, depth_publishers: how many there are.
        pictures_elsewhere: where there is no image publisher, some topics on which others publish pictures.
        input_mismatches: what keeps image publishers and our subscriptions apart, in words with the remedy.
        reader_mismatches: the same of our outputs and their readers.
        wanted: whether anybody reads an output.
        has_camera: whether a usable camera_info has come.
        waiting: frames in the node that are not published yet; ``needed``: with how many of them a clip goes at once.
        ignores_depth: use_sensor_depth is false.
        clip_s: what the last finished clip took, seconds; 0 before the first.
        max_age_s: longest wait before a clip, seconds; 0: no limit.
        drops: pictures by reason since configure.
        fit: the newest one.
        trouble: why and until when the model is not asked, or why the node could not start.
        phase: what the node is busy with before it can work, such as "warming up".
        clock_stands: use_sim_time is true and no /clock has come.
        remarks: what the start of the node gave reason to tell, see ``node_overrides``.
        values: further key -> value pairs for the status.
    """

    state: str
    statistics: Statistics
    name: str = "NODE"
    topics: Mapping[str, str] = field(default_factory=dict)
    image_publishers: int = 0
    depth_publishers: int = 0
    pictures_elsewhere: tuple[str, ...] = ()
    input_mismatches: tuple[str, ...] = ()
    reader_mismatches: tuple[str, ...] = ()
    wanted: bool = False
    has_camera: bool = False
    waiting: int = 0
    needed: int = 0
    ignores_depth: bool = False
    clip_s: float = 0.0
    max_age_s: float = 0.0
    drops: Mapping[str, int] = field(default_factory=dict)
    fit: MetricFit | None = None
    trouble: str = ""
    phase: str = ""
    clock_stands: bool = False
    remarks: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=dict)


def why_no_output(snapshot: Snapshot) -> str:
    """The first thing that stands between input and output, with the remedy; "" if all outputs flow."""
    return diagnose(snapshot).line


def diagnose(snapshot: Snapshot) -> Diagnosis:
    """The most important thing to know, in the order in which things have to be put right."""
    if snapshot.state != "active":
        return _not_active(snapshot)
    if snapshot.trouble:
        return Diagnosis(snapshot.trouble, ERROR)
    if flows(snapshot):
        line, statistics = _shortfall(snapshot), snapshot.statistics
        faulty = line or statistics.recent_fault() or snapshot.reader_mismatches
        return Diagnosis(line, WARN if faulty or statistics.clock_offset_s is not None else OK)
    if not snapshot.wanted:
        return _no_reader(snapshot)
    if snapshot.phase:
        return Diagnosis(snapshot.phase, OK)
    if snapshot.statistics.silent():
        return _no_image(snapshot)
    return _not_yet(snapshot)


def flows(snapshot: Snapshot) -> bool:
    """Whether pictures come and estimates go out."""
    # A model may take longer for one clip than the window in which outputs count as recent.
    statistics = snapshot.statistics
    return snapshot.state == "active" and not statistics.silent() and statistics.flows(2 * snapshot.clip_s)


def notes(snapshot: Snapshot, lately: Mapping[str, int]) -> list[str]:
    """What else people should know, each with the remedy.

    Args:
        snapshot: the node.
        lately: drops of the last seconds, and under "lost before arrival" what the stamps say about those.
    """
    found = [*snapshot.remarks, *snapshot.input_mismatches, *snapshot.reader_mismatches]
    if empty := snapshot.statistics.recent_fault("workspace empty"):
        found.append(empty)
    offset = snapshot.statistics.clock_offset_s
    if snapshot.clock_stands:
        found.append("use_sim_time is true, but no /clock comes; play the bag with --clock, or set use_sim_time:=false")
    elif offset is not None:
        way = "older" if offset > 0 else "newer"
        found.append(
            f"stamps are {abs(offset):.3g} s {way} than the node's clock, so ages are counted from arrival; play a bag "
            "with --clock and set use_sim_time:=true; of a camera on another host, synchronise the clocks (chrony)"
        )
    if lost := lately.get("lost before arrival", 0):
        found.append(
            f"{lost} images were lost before they arrived lately; give the camera's process the transport profile "
            "config/fastdds_large.xml"
        )
    if late := lately.get("overload", 0) + lately.get("too old", 0):
        takes = f" (a clip takes {snapshot.clip_s:.2f} s)" if snapshot.clip_s else ""
        found.append(
            f"{late} images were dropped lately because the model is slower than the camera{takes}; lower the camera's "
            "rate, or choose a faster device or engine"
        )
    return found


def _not_active(snapshot: Snapshot) -> Diagnosis:
    if snapshot.trouble:
        return Diagnosis(f"the node is {snapshot.state}: {snapshot.trouble}", ERROR)
    if snapshot.phase:
        return Diagnosis(f"the node is {snapshot.state}: {snapshot.phase}", OK)
    command = f"ros2 lifecycle set {snapshot.name}"
    first = f"{command} configure; " if snapshot.state == "unconfigured" else ""
    remedy = f"activate it: {first}{command} activate; or start it with -p autostart:=true"
    return Diagnosis(f"the node is {snapshot.state}; {remedy}", OK)


def _no_reader(snapshot: Snapshot) -> Diagnosis:
    if snapshot.reader_mismatches:
        return Diagnosis(snapshot.reader_mismatches[0], WARN)
    line = "nobody subscribes to an output, so nothing is computed"
    if snapshot.statistics.silent():
        missing = _no_image(snapshot)
        return Diagnosis(f"{line}; and {missing.line}", missing.level)
    return Diagnosis(line, OK)


def _no_image(snapshot: Snapshot) -> Diagnosis:
    image = snapshot.topics.get("image", "image")
    if snapshot.input_mismatches:
        return Diagnosis(snapshot.input_mismatches[0], ERROR)
    if snapshot.image_publishers == 0:
        elsewhere = (
            f"; topics with one: {', '.join(snapshot.pictures_elsewhere)}" if snapshot.pictures_elsewhere else ""
        )
        remedy = f"start the camera or remap image (or image/compressed){elsewhere}"
        return Diagnosis(f"{image} has no publisher; {remedy}", STALE)
    line = (
        f"{image} has {snapshot.image_publishers} publisher(s), but no image comes; look whether the camera runs "
        f"(ros2 topic hz {image}), and give its process the transport profile config/fastdds_large.xml"
    )
    return Diagnosis(line, STALE)


def _not_yet(snapshot: Snapshot) -> Diagnosis:
    """Pictures come and nothing goes out."""
    statistics = snapshot.statistics
    if lost := statistics.recent_drop() or statistics.recent_fault("stamp repeated", repeated=True):
        return Diagnosis(lost, ERROR)
    for cut in _CUTS:
        if text := statistics.recent_fault(cut, repeated=True):
            return Diagnosis(f"no clip fills, again and again: {text}", ERROR)
    if not snapshot.has_camera:
        why = statistics.recent_fault("bad camera_info")
        name = snapshot.topics.get("camera_info", "camera_info")
        line = why or f"{name}: no usable camera_info yet; remap camera_info to the topic beside the image"
        return Diagnosis(line, WARN)
    if statistics.published == 0 and snapshot.drops.get("too old", 0) > snapshot.waiting:
        took = f", whose last clip took {snapshot.clip_s:.2f} s" if snapshot.clip_s else ""
        return Diagnosis(
            f"every frame waits longer than max_age ({snapshot.max_age_s:g} s) for the model{took}; raise max_age, or "
            "choose a faster device or engine",
            ERROR,
        )
    if snapshot.waiting < snapshot.needed:
        line = f"a clip fills: {snapshot.waiting} of {snapshot.needed} frames, at {statistics.rate_in():.1f} Hz"
    else:
        line = "the first clip is in work" if not statistics.published else "a clip is in work"
    idle = statistics.idle_s()
    if idle > max(_PATIENCE_S, _PATIENCE_CLIPS * snapshot.clip_s):
        return Diagnosis(f"{line}; nothing has come out for {idle:.0f} s", WARN)
    return Diagnosis(line, OK)


def _shortfall(snapshot: Snapshot) -> str:
    """What is missing in outputs that flow."""
    statistics, fit = snapshot.statistics, snapshot.fit
    if fit is None:
        for reason in _ANCHOR_FAULTS[:1] if snapshot.ignores_depth else _ANCHOR_FAULTS:
            if text := statistics.recent_fault(reason):
                return f"only disparity: {text}"
        if snapshot.ignores_depth:
            return (
                "only disparity: use_sensor_depth is false, and there is no other metric anchor; set it true, or set "
                "scale.plane_frame or scale.fixed_scale"
            )
        if snapshot.depth_publishers:
            depth = snapshot.topics.get("depth", "depth")
            return f"only disparity: {depth} has a publisher, but no depth comes; look whether it runs (ros2 topic hz)"
        return "only disparity: no metric anchor; connect a depth topic, or set scale.plane_frame or scale.fixed_scale"
    if not fit.accepted:
        return f"only disparity: metric fit refused: {fit.reason}"
    return statistics.recent_fault("TF missing")
