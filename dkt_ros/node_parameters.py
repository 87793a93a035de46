"""The node's parameters: what they are, when they take effect, and how they become settings."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from rclpy.parameter import Parameter

from dkt_ros.choices import ENGINE_NAMES, MODES, PRECISIONS, PROFILES, STITCHINGS, VAES
from dkt_ros.clouds import CLOUD_LAYOUTS
from dkt_ros.engines import EngineOptions
from dkt_ros.fusion import FusionSettings
from dkt_ros.metric import ScaleSettings, TrustSettings
from dkt_ros.perception import PerceptionSettings

#: What a camera needs of the published video models, unless the parameters say otherwise.
LIVE = {"profile": "low_latency", "mode": "streaming"}
LIVE_ENGINES = ("dkt", "dvd")

RELIABILITIES = ("auto", "reliable", "best_effort")

_PATH, _TRUST, _SCALE, _FUSION = PerceptionSettings(), TrustSettings(), ScaleSettings(), FusionSettings()


@dataclass(frozen=True)
class _Declared:
    """One parameter. ``when``: a change takes effect at once ("now"), at the next configure ("configure"), or never
    after the start ("start"). ``limits`` or ``choices`` bound it."""

    name: str
    default: Any
    description: str
    when: Literal["now", "configure", "start"] = "configure"
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


DECLARED: tuple[_Declared, ...] = (
    _Declared("autostart", False, "configure and activate by itself at start", "start"),
    _Declared("engine", "nano", "depth model", choices=ENGINE_NAMES),
    _Declared("weights", "", "file or folder of weights, or several (base:result); empty: nano has its own"),
    _Declared(
        "profile", "", "published window, or short ones; empty: low_latency for dkt and dvd", choices=("", *PROFILES)
    ),
    _Declared("steps", 0, "denoising steps; 0: the engine's choice", limits=(0, 1000)),
    _Declared("mode", "", "how windows are joined; a camera needs streaming; empty: that", choices=("", *MODES)),
    _Declared("device", "", "cpu, cuda or cuda:N; empty: a GPU where there is one"),
    _Declared("precision", "", "empty: bfloat16 on a GPU, float32 on a CPU", choices=("", *PRECISIONS)),
    _Declared("vae", "", "tiny: a small video autoencoder decodes; empty: the full one", choices=("", *VAES)),
    _Declared("compiled", False, "compile the networks: a slow start, then faster"),
    _Declared("stitching", "", "which published rule joins windows; empty: the engine's", choices=("", *STITCHINGS)),
    _Declared("normals_axes", "", "axes of decoded normals, such as +x-y-z; empty: the engine's"),
    _Declared("threads", 0, "CPU threads for inference; 0 leaves it to torch", limits=(0, 1024)),
    _Declared("clip_length", 0, "frames in a clip, 4n+1; 0: what suits the engine", limits=(0, 129)),
    _Declared("overlap", 0, "frames that a clip shares with the one before it; 0: what suits", limits=(0, 128)),
    _Declared("queue", 1, "frames that may wait beyond a clip; more lose fewer frames, and age them", limits=(0, 100)),
    _Declared("use_sensor_depth", _PATH.use_sensor_depth, "false ignores the depth topic"),
    _Declared("sync_slop", 0.02, "depth and mask whose stamps are this near belong to an image, s", "now", (0.0, 1.0)),
    _Declared("sync_wait", 0.25, "an image waits so long for depth, mask and camera_info, s", "now", (0.0, 10.0)),
    _Declared(
        "input.reliability", "auto", "auto: reliable where every publisher offers it", "now", choices=RELIABILITIES
    ),
    _Declared("cloud.layout", "organised", "fields and order of points", "now", choices=tuple(CLOUD_LAYOUTS)),
    _Declared("cloud.stride", 1, "every so many rows and columns become points", "now", (1, 64)),
    _Declared("cloud.max_rate", 10.0, "clouds per second of image time; 0: no limit", "now", (0.0, 1000.0)),
    _Declared("max_rate", 0.0, "the other outputs per second of image time; 0: no limit", "now", (0.0, 1000.0)),
    _Declared("trust.min_depth", _TRUST.min_depth, "nearest depth that is believed, m", limits=(0.001, 100.0)),
    _Declared("trust.max_depth", _TRUST.max_depth, "farthest depth believed and published, m", limits=(0.01, 1000.0)),
    _Declared(
        "trust.flying_jump", _TRUST.flying_jump, "flying pixel: off by more than this share", limits=(0.001, 1.0)
    ),
    _Declared("trust.temporal_jump", _TRUST.temporal_jump, "flicker: off by more than this share", limits=(0.001, 1.0)),
    _Declared(
        "trust.mask_dilation_px",
        _TRUST.mask_dilation_px,
        "a mask is widened by this, px at width 640",
        limits=(0.0, 100.0),
    ),
    _Declared("trust.gate", _TRUST.gate, "distrust the sensor where it disagrees with the model over a region"),
    _Declared(
        "trust.gate_relative", _TRUST.gate_relative, "a smaller disagreement than this share is none", limits=(0.0, 1.0)
    ),
    _Declared(
        "scale.fixed_scale", 0.0, "1/m per unit of disparity, for cameras without depth; 0: none", limits=(0.0, 1e6)
    ),
    _Declared("scale.fixed_shift", _SCALE.fixed_shift, "1/m, with scale.fixed_scale", limits=(-1e6, 1e6)),
    _Declared("scale.min_pixels", _SCALE.min_pixels, "trusted pixels that a fit needs", limits=(2, 10_000_000)),
    _Declared("scale.min_spread", _SCALE.min_spread, "depth spread that a fit needs, as a share", limits=(0.0, 10.0)),
    _Declared(
        "scale.max_residual", _SCALE.max_residual, "a fit with more residual is refused, share", limits=(0.001, 10.0)
    ),
    _Declared(
        "scale.hold_clips", _SCALE.hold_clips, "clips for which an accepted fit outlives a refusal", limits=(0, 1000)
    ),
    _Declared(
        "fusion.decay_px",
        _FUSION.decay_px,
        "reach of a measured pixel into a hole, px at width 640",
        limits=(1.0, 1000.0),
    ),
)
_BY_NAME = {each.name: each for each in DECLARED}


def described() -> str:
    """A line for each parameter, for people."""
    return "\n".join(f"  {each.name:<24} {each.description} [{each.default!r}]" for each in DECLARED)


def declare(node: Any) -> None:
    """Declare all parameters on a node, with descriptors and ranges."""
    for each in DECLARED:
        node.declare_parameter(each.name, each.default, _descriptor(each))


def _descriptor(declared: _Declared) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    descriptor = ParameterDescriptor(name=declared.name, description=declared.description)
    effect = {"now": "", "configure": "takes effect at configure", "start": "read at start"}[declared.when]
    choices = f"one of {_listed(declared.choices)}" if declared.choices else ""
    descriptor.additional_constraints = "; ".join(part for part in (choices, effect) if part)
    descriptor.read_only = declared.when == "start"
    if declared.limits:
        low, high = declared.limits
        if isinstance(declared.default, int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        else:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)
            ]
    return descriptor


def _listed(choices: Sequence[str]) -> str:
    return ", ".join(each or '""' for each in choices)


def refusal(changes: Sequence[Parameter], configured: bool, node_name: str) -> str:
    """Why these changes cannot be taken, "" if they can. Ranges are checked by rclpy already."""
    for change in changes:
        declared = _BY_NAME.get(change.name)
        if declared is None:
            continue  # rclpy's own, such as use_sim_time
        if declared.choices and change.value not in declared.choices:
            return f"{change.name} = {change.value!r}: choose one of {_listed(declared.choices)}"
        if change.name == "clip_length" and change.value and change.value % 4 != 1:
            return f"clip_length = {change.value}: must be 4n+1, such as 5, 9 or 21, or 0"
        if configured and declared.when == "configure":
            return (
                f"{change.name} takes effect at configure, but the node is configured; first: "
                f"ros2 lifecycle set {node_name} deactivate; ros2 lifecycle set {node_name} cleanup"
            )
    return ""


def settings(node: Any) -> PerceptionSettings:
    """The path's settings out of a node's parameters.

    Raises:
        ValueError: values that do not go together; the text names them.
    """

    def value(name: str) -> Any:
        return node.get_parameter(name).value

    def group(prefix: str) -> dict[str, Any]:
        return {each.name[len(prefix) :]: value(each.name) for each in DECLARED if each.name.startswith(prefix)}

    scale = group("scale.")
    scale["fixed_scale"] = scale["fixed_scale"] or None
    return PerceptionSettings(
        clip_length=value("clip_length") or None,
        overlap=value("overlap") or None,
        use_sensor_depth=value("use_sensor_depth"),
        trust=TrustSettings(**group("trust.")),
        scale=ScaleSettings(**scale),
        fusion=FusionSettings(**group("fusion.")),
    )


def engine_options(node: Any) -> tuple[str, EngineOptions]:
    """The engine's name and options out of a node's parameters; what is empty or 0 is the engine's choice."""
    name: str = node.get_parameter("engine").value
    given = {each.name: node.get_parameter(each.name).value or None for each in fields(EngineOptions)}
    if given["weights"]:
        places = tuple(Path(place).expanduser() for place in given["weights"].split(os.pathsep))
        given["weights"] = places if len(places) > 1 else places[0]
    if name in LIVE_ENGINES:
        given |= {option: given[option] or value for option, value in LIVE.items()}
    return name, EngineOptions(**given)
