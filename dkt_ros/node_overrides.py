"""Parameters that somebody gave the node at its start and that nothing reads: mostly a slip of the pen."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from dkt_ros.node_parameters import BY_NAME

_INPUTS = (
    *("image", "image/compressed", "camera_info", "mask"),
    *("depth", "depth/compressedDepth", "depth/camera_info"),
)
_OUTPUTS = ("depth/image", "depth/camera_info", "normals/image", "confidence", "provenance", "points")
_POLICIES = ("reliability", "durability", "history", "depth")


def unknown_overrides(node: Any) -> list[str]:
    """A line for each override (``-p``, a params file) of a parameter that this node has not, with what may be meant.

    Args:
        node: the rclpy node, with its own parameters declared. Those of the QoS of topics are declared with the topics,
            later; hence they are known by their names here.
    """
    known = {*BY_NAME, *_qos_overrides(node)}
    # rclpy keeps them for itself only; without declaring each there is no other way to hear of them
    given = getattr(node, "_parameter_overrides", {})
    return [
        f"parameter {name} is unknown{_meant(name, known)}"
        for name in sorted(given)
        if name not in known and not node.has_parameter(name) and not name.startswith("qos_overrides./clock.")
    ]


def _meant(name: str, known: set[str]) -> str:
    # only among their own kind: the long names of QoS overrides resemble each other
    near = get_close_matches(name, sorted(each for each in known if _is_qos(each) == _is_qos(name)), 1)
    return f"; did you mean {near[0]}?" if near else ", and nothing is called alike; see --help"


def _is_qos(name: str) -> bool:
    return name.startswith("qos_overrides.")


def _qos_overrides(node: Any) -> Iterator[str]:
    sides = [(name, "subscription") for name in _INPUTS]
    sides += [(f"~/{name}", "publisher") for name in (*_OUTPUTS, "disparity/image")]
    sides += [(f"~/captured/{name}", "publisher") for name in _OUTPUTS]
    for name, side in sides:
        for policy in _POLICIES:
            yield f"qos_overrides.{node.resolve_topic_name(name)}.{side}.{policy}"
