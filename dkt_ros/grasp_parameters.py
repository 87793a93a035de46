"""Parameters of the grasp node: ``GraspSettings`` by name, all live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from rclpy.parameter import Parameter

from dkt_ros.grasps import GraspSettings, Gripper

#: name -> (description, lowest, highest); lengths in metres.
DESCRIBED: dict[str, tuple[str, float, float]] = {
    "gripper.max_width": ("widest opening of the jaw, m", 0.005, 0.5),
    "gripper.min_width": ("thinnest thing that is worth closing on, m", 0.0, 0.2),
    "gripper.finger_length": ("from palm to finger tips, m", 0.005, 0.5),
    "gripper.finger_width": ("of a finger, across the closing line, m", 0.001, 0.2),
    "gripper.finger_thickness": ("of a finger, along the closing line, m", 0.001, 0.2),
    "gripper.palm_width": ("of the body behind the fingers, along the closing line, m", 0.0, 1.0),
    "gripper.palm_thickness": ("of that body, across the closing line, m", 0.0, 1.0),
    "gripper.palm_height": ("of that body, along the approach, m", 0.0, 1.0),
    "gripper.tip": ("how far the finger tips reach beyond the contacts, m", 0.0, 0.1),
    "friction": ("coefficient: contacts may be off the closing line by atan of it", 0.01, 2.0),
    "clearance": ("free way of each finger beside the object, m", 0.0, 0.1),
    "table_clearance": ("between gripper and table, m", -0.01, 0.2),
    "max_distance": ("farther points are ignored, m", 0.1, 10.0),
    "max_grasps": ("so many at most", 1, 1000),
    "min_score": ("worse ones are left out", 0.0, 1.0),
    "apart": ("nearer to a better one than this and apart_deg: left out, m", 0.0, 1.0),
    "apart_deg": ("see apart, degrees", 0.0, 180.0),
}
DIRECTIONS = {
    "up": "rough direction away from the floor, in the cloud's frame",
    "viewpoint": "where the camera is in the cloud's frame, m; the origin in an optical frame",
}
_DEFAULTS = GraspSettings()


def default(name: str) -> Any:
    """What a parameter is unless it is given."""
    group, _, key = name.rpartition(".")
    return getattr(_DEFAULTS.gripper if group else _DEFAULTS, key)


def described() -> str:
    """A line for each parameter, for people."""
    lines = [f"  {name:<26} {text} [{default(name)!r}]" for name, (text, _, _) in DESCRIBED.items()]
    return "\n".join(lines + [f"  {name:<26} {text} [{list(default(name))}]" for name, text in DIRECTIONS.items()])


def declare(node: Any) -> None:
    """Declare all parameters on a node, with descriptors and ranges."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    for name, (text, low, high) in DESCRIBED.items():
        descriptor = ParameterDescriptor(name=name, description=text)
        if isinstance(default(name), int):
            descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high), step=0)]
        else:
            descriptor.floating_point_range = [FloatingPointRange(from_value=low, to_value=high, step=0.0)]
        node.declare_parameter(name, default(name), descriptor)
    for name, text in DIRECTIONS.items():
        descriptor = ParameterDescriptor(name=name, description=text, additional_constraints="three numbers")
        node.declare_parameter(name, list(default(name)), descriptor)


def settings(node: Any) -> GraspSettings:
    """The planner's settings out of a node's parameters."""
    return _made({name: node.get_parameter(name).value for name in (*DESCRIBED, *DIRECTIONS)})


def _made(values: Mapping[str, Any]) -> GraspSettings:
    gripper = Gripper(**{field.name: values[f"gripper.{field.name}"] for field in fields(Gripper)})
    own: dict[str, Any] = {name: values[name] for name in DESCRIBED if "." not in name}
    own |= {name: tuple(values[name]) for name in DIRECTIONS}
    return replace(_DEFAULTS, gripper=gripper, **own)


def refusal(node: Any, changes: Sequence[Parameter]) -> str:
    """Why these changes cannot be taken, "" if they can. Ranges are checked by rclpy already."""
    new = {change.name: change.value for change in changes}
    for name in DIRECTIONS:
        if name in new and len(new[name]) != 3:
            return f"{name} = {list(new[name])}: give three numbers"
    if "up" in new and not any(new["up"]):
        return "up = [0, 0, 0] is no direction; [0.0, -1.0, 0.0] is up in a camera's optical frame"
    low, high = (
        new.get(name, node.get_parameter(name).value if node.has_parameter(name) else default(name))
        for name in ("gripper.min_width", "gripper.max_width")
    )
    return f"gripper.min_width = {low} is not below gripper.max_width = {high}" if low >= high else ""
