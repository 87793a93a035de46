"""What a node published, read back from a recording as estimates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Literal

import numpy as np
from rosbags.typesys import Stores, get_typestore

from dkt_ros import messages
from dkt_ros.bag_frames import joined
from dkt_ros.bags import RawMessage, RawMessages
from dkt_ros.frames import PROVENANCE_NONE, Estimate, Float32, Frame

#: Topics of one estimate under the node's name; all carry the stamp of the picture.
DEPTH, DISPARITY, NORMALS = "depth/image", "disparity/image", "normals/image"
PROVENANCE, CONFIDENCE = "provenance", "confidence"


class Heard:
    """Messages in memory, read like a bag (``RawMessages``)."""

    def __init__(self, messages: Sequence[RawMessage]) -> None:
        self._messages = messages
        self._types = get_typestore(Stores.ROS2_KILTED)

    def messages(self, topics: Collection[str] | None = None) -> Iterator[RawMessage]:
        """Those of these topics (None: all), in their order."""
        return (message for message in self._messages if topics is None or message.topic in topics)

    def decode(self, message: RawMessage) -> Any:
        """The message as an object with the fields of its ROS type."""
        return self._types.deserialize_cdr(message.data, message.type)


def read_estimates(bag: RawMessages, node: str, frames: Sequence[Frame]) -> list[Estimate]:
    """The estimates that ``/node`` published for these frames, in their order; frames without one are left out.

    Args:
        bag: an open bag, or ``Heard``, of the node's output topics.
        node: the node's full name, e.g. "/dkt_perception".
        frames: what the node was given; found by stamp.

    Raises:
        MessageError: a published message cannot be decoded.
    """
    by_stamp = {frame.stamp_ns: frame for frame in frames}
    names = {name: f"{node}/{name}" for name in (DEPTH, NORMALS, PROVENANCE, CONFIDENCE)}
    estimates = []
    for message, others in joined(bag, f"{node}/{DISPARITY}", list(names.values()), 0.0, Counter()):
        frame = by_stamp.get(messages.stamp_ns(message))
        if frame is None:
            continue
        disparity = _floats(message)
        found = {name: others[topic] for name, topic in names.items() if topic in others}
        height, width = disparity.shape
        provenance = np.full((height, width), PROVENANCE_NONE, np.uint8)
        if PROVENANCE in found:
            provenance = np.frombuffer(found[PROVENANCE].data, np.uint8).reshape(height, width)
        confidence = np.zeros((height, width), np.float32)
        if CONFIDENCE in found:
            confidence = _floats(found[CONFIDENCE])
        normals = messages.decode_normals(found[NORMALS]) if NORMALS in found else None
        depth = messages.decode_depth(found[DEPTH]) if DEPTH in found else None
        # The topic does not say whether normals came from the model or from depth; it matters to nobody here.
        source: Literal["model", "none"] = "none" if normals is None else "model"
        estimates.append(Estimate(frame, disparity, depth, normals, source, provenance, confidence, None))
    return estimates


def _floats(message: Any) -> Float32:
    """(H, W) of a 32FC1 picture that our node made (no row padding, this machine's byte order), zero and below kept."""
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
