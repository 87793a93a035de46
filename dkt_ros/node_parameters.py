"""The node's parameters: names, defaults, bounds, and when a change takes effect. What they become: node_settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rclpy.parameter import Parameter

from dkt_ros.choices import ENGINE_NAMES, PRECISIONS, PROFILES, STITCHINGS, VAES
from dkt_ros.clouds import CLOUD_LAYOUTS
from dkt_ros.fusion import FusionSettings
from dkt_ros.metric import ScaleSettings, TrustSettings
from dkt_ros.perception import PerceptionSettings

RELIABILITIES = ("auto", "reliable", "best_effort")
STREAM_MODES = ("streaming", "latest")
INVALID_VALUES = ("nan", "zero")

_PATH, _TRUST, _SCALE, _FUSION = PerceptionSettings(), TrustSettings(), ScaleSettings(), FusionSettings()


@dataclass(frozen=True)
class Declared:
    """One parameter.

    Attributes:
        name: as users give it.
        default: its type is the parameter's; None: an array of doubles that is empty unless the user sets it.
        description: for people; units last.
        when: a change takes effect at once ("now"), at the next configure ("configure"), or never after the start
            ("start").
        limits: bounds of a number.
        choices: the words that are allowed.
    """

    name: str
    default: Any
    description: str
    when: Literal["now", "configure", "start"] = "now"
    limits: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()


def _engine(name: str, default: Any, description: str, **bounds: Any) -> Declared:
    return Declared(name, default, description, "configure", **bounds)


def _number(name: str, default: float, description: str, low: float, high: float) -> Declared:
    return Declared(name, default, description, limits=(low, high))


DECLARED: tuple[Declared, ...] = (
    Declared("autostart", False, "configure and activate by itself at start", "start"),
    _engine("engine", "nano", "depth model", choices=ENGINE_NAMES),
    _engine("weights", "", "file or folder of weights, or several (base:result); empty: nano has its own"),
    _engine("profile", "", "published window, or short ones; empty: low_latency for dkt, dvd", choices=("", *PROFILES)),
    _engine("steps", 0, "denoising steps; 0: the engine's choice", limits=(0, 1000)),
    _engine("device", "", "cpu, cuda or cuda:N; empty: a GPU where there is one"),
    _engine("precision", "", "empty: bfloat16 on a GPU, float32 on a CPU", choices=("", *PRECISIONS)),
    _engine("vae", "", "tiny: a small video autoencoder decodes; empty: the full one", choices=("", *VAES)),
    _engine("compiled", False, "compile the networks: a slow start, then faster"),
    _engine("stitching", "", "which published rule joins windows; empty: the engine's", choices=("", *STITCHINGS)),
    _engine("normals_axes", "", "axes of decoded normals, such as +x-y-z; empty: the engine's"),
    _engine("threads", 0, "CPU threads for inference; 0 leaves it to torch", limits=(0, 1024)),
    _engine("clip_length", 0, "frames in a clip, 4n+1; 0: what suits the engine", limits=(0, 129)),
    _engine("overlap", 0, "frames that a clip shares with the one before it; 0: what suits", limits=(0, 128)),
    Declared("warm_up", True, "at activate run the model once on a made-up clip before real ones"),
    Declared("mode", "streaming", "streaming: every frame once; latest: lowest age", choices=STREAM_MODES),
    _number("max_age", 1.0, "no frame waits longer than this for the model, s; 0: no bound", 0.0, 60.0),
    _number("queue", 1, "frames that may wait beyond a clip; more lose fewer frames, and age them", 0, 100),
    Declared("use_sensor_depth", _PATH.use_sensor_depth, "false ignores the depth topic"),
    _number("sync_slop", 0.02, "depth and mask whose stamps are this near belong to an image, s", 0.0, 1.0),
    _number("sync_wait", 0.25, "an image waits so long for depth, mask, camera_info and the plane's TF, s", 0.0, 10.0),
    Declared("input.reliability", "auto", "auto: reliable where every publisher offers it", choices=RELIABILITIES),
    _number("max_rate", 0.0, "all outputs but the cloud, per second of image time; 0: no limit", 0.0, 1000.0),
    Declared("invalid_value", "nan", "unknown depth, and xyz of an organised cloud", choices=INVALID_VALUES),
    Declared("cloud.layout", "organised", "fields and order of points", choices=tuple(CLOUD_LAYOUTS)),
    _number("cloud.stride", 1, "every so many rows and columns become points", 1, 64),
    _number("cloud.max_rate", 10.0, "clouds per second of image time; 0: no limit", 0.0, 1000.0),
    Declared("cloud.frame", "", "TF frame of the points; empty: the image's optical frame"),
    Declared("workspace.frame", "", "TF frame of the box that clouds are cut to; empty: not cut"),
    Declared("workspace.min", [-1.0, -1.0, -1.0], "smaller corner of the box in workspace.frame: x, y, z, m"),
    Declared("workspace.max", [1.0, 1.0, 1.0], "larger corner of the box in workspace.frame: x, y, z, m"),
    Declared("static_extrinsics", None, "x y z qx qy qz qw of the optical frame there, not TF; a restart empties it"),
    _number("trust.min_depth", _TRUST.min_depth, "nearest depth that is believed, m", 0.001, 100.0),
    _number("trust.max_depth", _TRUST.max_depth, "farthest depth believed and published, m", 0.01, 1000.0),
    _number("trust.flying_jump", _TRUST.flying_jump, "flying pixel: off by more than this share", 0.001, 1.0),
    _number("trust.temporal_jump", _TRUST.temporal_jump, "flicker: off by more than this share", 0.001, 1.0),
    _number("trust.mask_dilation_px", _TRUST.mask_dilation_px, "a mask is widened, px at width 640", 0.0, 100.0),
    Declared("trust.gate", _TRUST.gate, "distrust the sensor where it disagrees with the model over a region"),
    _number("trust.gate_relative", _TRUST.gate_relative, "a smaller disagreement than this share is none", 0.0, 1.0),
    Declared("scale.plane_frame", "", "TF frame whose z = 0 is the table in view, for cameras without depth"),
    _number("scale.fixed_scale", 0.0, "1/m per unit of disparity, for cameras without depth; 0: none", 0.0, 1e6),
    _number("scale.fixed_shift", _SCALE.fixed_shift, "1/m, with scale.fixed_scale", -1e6, 1e6),
    _number("scale.min_pixels", _SCALE.min_pixels, "trusted pixels that a fit needs", 2, 10_000_000),
    _number("scale.min_spread", _SCALE.min_spread, "depth spread that a fit needs, as a share", 0.0, 10.0),
    _number("scale.max_residual", _SCALE.max_residual, "a fit with more residual is refused, share", 0.001, 10.0),
    _number(
        "scale.hold_frames", _SCALE.hold_frames, "new frames for which an accepted fit outlives a refusal", 0, 10_000
    ),
    _number("fusion.decay_px", _FUSION.decay_px, "reach of a measured pixel into a hole, px at width 640", 1.0, 1000.0),
    _number("capture.frames", 5, "settled estimates in a row that ~/capture waits for", 1, 100),
    _number("capture.max_wait", 5.0, "~/capture refuses after this time, s", 0.1, 600.0),
    _number("capture.stability", 0.02, "~/capture: estimates agree within this share of depth", 0.0001, 1.0),
    _number("log_period", 10.0, "the same fault is logged at most this often, s", 0.0, 3600.0),
    _number("diagnostics_period", 1.0, "diagnostics go out this often, s", 0.05, 60.0),
)
BY_NAME = {each.name: each for each in DECLARED}


def described() -> str:
    """A line for each parameter, for people."""
    return "\n".join(f"  {each.name:<24} {each.description} [{_default(each)}{_bounds(each)}]" for each in DECLARED)


def _bounds(declared: Declared) -> str:
    if declared.choices:
        return f"; one of {listed(declared.choices)}"
    return f"; {declared.limits[0]:g} .. {declared.limits[1]:g}" if declared.limits else ""


def _default(declared: Declared) -> str:
    return "empty" if declared.default is None else repr(declared.default)


def declare(node: Any) -> None:
    """Declare all parameters on a node, with descriptors and ranges."""
    for each in DECLARED:
        # rclpy takes an empty list for bytes, so an array that may be empty is declared by its type, without a value
        default = Parameter.Type.DOUBLE_ARRAY if each.default is None else each.default
        node.declare_parameter(each.name, default, _descriptor(each))


def _descriptor(declared: Declared) -> Any:
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    descriptor = ParameterDescriptor(name=declared.name, description=declared.description)
    effect = {"now": "", "configure": "takes effect at configure", "start": "read at start"}[declared.when]
    choices = f"one of {listed(declared.choices)}" if declared.choices else ""
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


def listed(choices: Sequence[str]) -> str:
    """Words for people; the empty one in quotes."""
    return ", ".join(each or '""' for each in choices)
