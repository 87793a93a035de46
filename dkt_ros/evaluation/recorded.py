"""What a node published, read back from what was heard as estimates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from dkt_ros import messages
from dkt_ros.evaluation.evaluate import Recording
from dkt_ros.exchange import CONFIDENCE, DEPTH, DISPARITY, METRIC, NORMALS, PROVENANCE, Exchange
from dkt_ros.frames import PROVENANCE_NONE, Estimate, Float32


def read_estimates(exchange: Exchange, recording: Recording) -> Iterator[Estimate]:
    """The estimates that the node published for the frames of a recording, in the order in which they came, one in
    memory at a time; what has no frame in it (by stamp), or did not come whole, is left out.

    Args:
        exchange: of all output topics of an estimate.
        recording: what the node was given.

    Raises:
        MessageError: a published message cannot be decoded.
    """
    numbers = {stamp: number for number, stamp in enumerate(recording.stamps())}
    heard = exchange.received
    for stamp in exchange.answers():
        if stamp not in numbers:
            continue
        found = {}
        for name in (DISPARITY, *METRIC):
            message = heard.with_stamp(f"{exchange.node}/{name}", stamp)
            if message is not None:
                found[name] = heard.decode(message)
        disparity = _floats(found[DISPARITY])
        height, width = disparity.shape
        provenance = np.full((height, width), PROVENANCE_NONE, np.uint8)
        if PROVENANCE in found:
            provenance = np.frombuffer(found[PROVENANCE].data, np.uint8).reshape(height, width)
        confidence = _floats(found[CONFIDENCE]) if CONFIDENCE in found else np.zeros((height, width), np.float32)
        normals = messages.decode_normals(found[NORMALS]) if NORMALS in found else None
        depth = messages.decode_depth(found[DEPTH]) if DEPTH in found else None
        # The topic does not say whether normals came from the model or from depth; it matters to nobody here.
        source: Literal["model", "none"] = "none" if normals is None else "model"
        frame = recording.frames[numbers[stamp]]
        yield Estimate(frame, disparity, depth, normals, source, provenance, confidence, None)


def _floats(message: Any) -> Float32:
    """(H, W) of a 32FC1 picture that our node made (no row padding, this machine's byte order), zero and below kept."""
    return np.frombuffer(message.data, np.float32).reshape(message.height, message.width)
