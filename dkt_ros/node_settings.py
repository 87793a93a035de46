"""From parameters to settings: checked as a whole, so that the node never runs with values that do not go together."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from rclpy.parameter import Parameter

from dkt_ros.engines import EngineOptions
from dkt_ros.fusion import FusionSettings
from dkt_ros.metric import ScaleSettings, TrustSettings
from dkt_ros.node_parameters import BY_NAME, listed
from dkt_ros.perception import PerceptionSettings
from dkt_ros.transforms import pose_matrix
from dkt_ros.workspace import Workspace, check_corner

#: What a camera needs of the published video models, unless the parameters say otherwise.
LIVE_PROFILE = "low_latency"
#: Engines with several published ways of joining windows; a camera needs the one that follows a stream.
LIVE_ENGINES = ("dkt", "dvd")

Value = Callable[[str], Any]
Group = TypeVar("Group")


@dataclass(frozen=True)
class BufferSettings:
    """Which frames wait for the model, see ``clips.ClipBuffer``."""

    mode: str
    max_age: float
    queue: int


@dataclass(frozen=True)
class OutputSettings:
    """How estimates become messages, see ``node_outputs.Outputs``. Empty frames: no transform, no crop."""

    max_rate: float
    invalid: Any
    cloud_layout: str
    cloud_stride: int
    cloud_max_rate: float
    cloud_frame: str
    workspace: Workspace | None


@dataclass(frozen=True)
class CaptureSettings:
    """When a capture is settled, see ``node_capture.Capture``."""

    frames: int
    max_wait: float
    stability: float


@dataclass(frozen=True)
class FrameSettings:
    """Which TF frames are asked for, and what stands in for TF."""

    cloud: str
    workspace: str
    plane: str
    extrinsics: tuple[float, ...]

    @property
    def named(self) -> frozenset[str]:
        """The frames whose place must be known."""
        return frozenset(name for name in (self.cloud, self.workspace, self.plane) if name)


@dataclass(frozen=True)
class NodeSettings:
    """Everything that may change while the node runs."""

    path: PerceptionSettings
    buffer: BufferSettings
    outputs: OutputSettings
    capture: CaptureSettings
    frames: FrameSettings
    warm_up: bool
    log_period: float
    diagnostics_period: float


def current(node: Any, changes: Sequence[Parameter] = ()) -> Value:
    """Parameter values by name: the node's own with ``changes`` laid over them."""
    changed = {change.name: change.value for change in changes}

    def value(name: str) -> Any:
        if name in changed:
            return changed[name]
        # get_parameter raises for one that was declared without a value
        return node.get_parameter_or(name, Parameter(name)).value

    return value


def refusal(changes: Sequence[Parameter], configured: bool, node_name: str) -> str:
    """Why one of these changes cannot be taken for itself, "" if all can. Ranges are checked by rclpy already."""
    for change in changes:
        declared = BY_NAME.get(change.name)
        if declared is None:
            continue  # rclpy's own, such as use_sim_time
        if declared.choices and change.value not in declared.choices:
            return f"{change.name} = {change.value!r}: choose one of {listed(declared.choices)}"
        if change.name == "clip_length" and change.value and change.value % 4 != 1:
            return f"clip_length = {change.value}: must be 4n+1, such as 5, 9 or 21, or 0"
        if reason := _misshapen(change.name, change.value):
            return reason
        if configured and declared.when == "configure":
            return (
                f"{change.name} takes effect at configure, but the node is configured; first: "
                f"ros2 lifecycle set {node_name} deactivate; ros2 lifecycle set {node_name} cleanup"
            )
    return ""


def _misshapen(name: str, value: Any) -> str:
    """Why an array is no corner of a box or no pose, whether a frame is named for it yet or not; "" if it is one."""
    try:
        if name in ("workspace.min", "workspace.max") and value is not None:
            check_corner(value, name)
        elif name == "static_extrinsics" and value:
            pose_matrix(value, name)
    except ValueError as error:
        return str(error)
    return ""


def check(value: Value) -> None:
    """What ``refusal`` says of changes, of values that were given at the start.

    Raises:
        ValueError: the first one that cannot be taken.
    """
    if reason := refusal([Parameter(name, value=value(name)) for name in BY_NAME], False, ""):
        raise ValueError(reason)


def settings(value: Value) -> NodeSettings:
    """All settings out of parameter values.

    Raises:
        ValueError: values that do not go together; the text names them.
    """
    frames = FrameSettings(
        cloud=value("cloud.frame"),
        workspace=value("workspace.frame"),
        plane=value("scale.plane_frame"),
        extrinsics=tuple(value("static_extrinsics") or ()),
    )
    box = Workspace(frames.workspace, value("workspace.min"), value("workspace.max"))
    return NodeSettings(
        path=_path_settings(value),
        buffer=BufferSettings(value("mode"), value("max_age"), value("queue")),
        outputs=OutputSettings(
            max_rate=value("max_rate"),
            invalid=value("invalid_value"),
            cloud_layout=value("cloud.layout"),
            cloud_stride=value("cloud.stride"),
            cloud_max_rate=value("cloud.max_rate"),
            cloud_frame=frames.cloud,
            workspace=box if frames.workspace else None,
        ),
        capture=_group(CaptureSettings, "capture.", value),
        frames=frames,
        warm_up=value("warm_up"),
        log_period=value("log_period"),
        diagnostics_period=value("diagnostics_period"),
    )


def _path_settings(value: Value) -> PerceptionSettings:
    nearest, farthest = value("trust.min_depth"), value("trust.max_depth")
    if not nearest < farthest:
        raise ValueError(
            f"trust.min_depth = {nearest:g} and trust.max_depth = {farthest:g}: must be ascending, in metres; to move "
            "both, set them in one call (service set_parameters_atomically), or first the one that widens the range"
        )
    fixed = value("scale.fixed_scale") or None
    return PerceptionSettings(
        clip_length=value("clip_length") or None,
        overlap=value("overlap") or None,
        use_sensor_depth=value("use_sensor_depth"),
        trust=_group(TrustSettings, "trust.", value),
        scale=_group(ScaleSettings, "scale.", value, fixed_scale=fixed),
        fusion=_group(FusionSettings, "fusion.", value),
    )


def _group(kind: type[Group], prefix: str, value: Value, **given: Any) -> Group:
    """A settings object of the parameters that are called like its fields; what is no parameter keeps its default."""
    names = [each.name for each in fields(kind) if prefix + each.name in BY_NAME]  # type: ignore[arg-type]
    return kind(**{name: value(prefix + name) for name in names} | given)


def engine_options(value: Value) -> tuple[str, EngineOptions]:
    """The engine's name and options out of parameter values; what is empty or 0 is the engine's choice."""
    name: str = value("engine")
    given = {each.name: value(each.name) or None for each in fields(EngineOptions) if each.name != "mode"}
    if given["weights"]:
        places = tuple(Path(place).expanduser() for place in given["weights"].split(os.pathsep))
        given["weights"] = places if len(places) > 1 else places[0]
    if name in LIVE_ENGINES:
        given |= {"profile": given["profile"] or LIVE_PROFILE, "mode": "streaming"}
    return name, EngineOptions(**given)
