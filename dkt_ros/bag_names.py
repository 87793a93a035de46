"""What the name of a topic says: whose it is, and what it carries.

A name is read part by part. ``/wrist/camera/color/image_raw`` has the parts ``color`` and ``image_raw``, which say what
it carries, and ``wrist/camera``, which names the camera.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

COLOUR = frozenset(("color", "colour", "rgb"))
NORMALS = frozenset(("normal", "normals"))
MASK = frozenset(("transparent", "transparency", "mask", "masks", "glass"))
TRUTH = frozenset(("truth", "gt", "groundtruth", "true"))
INFRARED = frozenset(("ir", "infra", "infrared", "thermal"))
#: Words of what a program made of depth.
DERIVED = frozenset(("disparity", "confidence", "provenance"))
#: Words that only say what a picture is, and so do not name a camera.
_GENERIC = COLOUR | NORMALS | MASK | TRUTH | INFRARED | DERIVED
_GENERIC |= {"image", "images", "raw", "rect", "rectified", "compressed", "compresseddepth", "info", "camera_info"}
_GENERIC |= {"bgr", "mono", "grey", "gray", "depth", "registered", "aligned", "to", "stereo", "ground", "hw", "sw"}
#: What a name holds that no colour camera has.
_NOT_COLOUR = ("depth", "mask", "normal", "infra", "thermal", "transparent", *DERIVED)


def camera_name(topic: str) -> str:
    """The parts of a topic that say whose it is: "wrist/camera" of /wrist/camera/color/image_raw; "" if none do."""
    return "/".join(part for part in topic.strip("/").split("/") if not _is_generic(part))


def words_of(topic: str) -> set[str]:
    """In lower case and without the numbers at their ends (infra1)."""
    return {word for part in topic.split("/") for word in _split(part)}


def raw_name(topic: str) -> str:
    """Without what image_transport puts behind the name of a picture that it compressed."""
    return re.sub(r"/(compressed|compressedDepth)$", "", topic)


def could_be_colour(topic: str) -> bool:
    """A part says colour, and nothing else (/depth_camera/rgb/image_raw), or none says anything else."""
    parts = topic.lower().split("/")
    strange = [any(word in part for word in _NOT_COLOUR) for part in parts]
    return not any(strange) or any(
        COLOUR & set(_split(part)) and not odd for part, odd in zip(parts, strange, strict=True)
    )


def grouped(topics: Sequence[str]) -> dict[str, list[str]]:
    """Camera -> its topics."""
    groups: dict[str, list[str]] = {}
    for topic in topics:
        groups.setdefault(camera_name(topic), []).append(topic)
    return groups


def _is_generic(part: str) -> bool:
    words = _split(part)
    return part.lower() in _GENERIC or (bool(words) and all(word in _GENERIC for word in words))


def _split(part: str) -> list[str]:
    words = (word.rstrip("0123456789") for word in part.lower().split("_"))
    return [word for word in words if word]
