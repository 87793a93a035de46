"""The estimate of one frame: model and sensor joined, at the size of the picture."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import cv2
import numpy as np

from dkt_ros import fusion, geometry, metric
from dkt_ros.frames import PROVENANCE_NONE, Estimate, Float32, Frame, MetricFit

#: ``confidence.confidence``: of what was fused, the sensor, the coarse disparity, the fit and the clips' disagreement.
Confidence = Callable[[fusion.FusedDepth, Float32 | None, Float32, MetricFit, Float32 | None], Float32]


class Seen(NamedTuple):
    """What is known of a frame before it becomes an estimate.

    Attributes:
        frame: of W x H pixels.
        disparity: (h, w) float32 of the model, in the unit of the stream.
        normals: (h, w, 3) float32 of the model, or None.
        sensor: (H, W) float32 metres, NaN unknown; None without.
        trust: (H, W) float32 0..1 of ``sensor``; None without.
        fit: from disparity to metres; None without an anchor.
        disagreement: (h, w) float32 between this clip and the one before it, see ``stitching``; None without.
    """

    frame: Frame
    disparity: Float32
    normals: Float32 | None
    sensor: Float32 | None
    trust: Float32 | None
    fit: MetricFit | None
    disagreement: Float32 | None


def make_estimate(
    seen: Seen, trusting: metric.TrustSettings, fusing: fusion.FusionSettings, confidence: Confidence
) -> Estimate:
    """The estimate of a frame; without an accepted fit it has disparity, and normals if the model gives them."""
    frame, fit, sensor, trust = seen.frame, seen.fit, seen.sensor, seen.trust
    width, height = frame.size
    disparity = np.asarray(cv2.resize(seen.disparity, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    depth = None
    provenance = np.full((height, width), PROVENANCE_NONE, np.uint8)
    believed = np.zeros((height, width), np.float32)
    if fit is not None and fit.accepted:
        model_depth = metric.disparity_to_depth(disparity, fit, trusting)
        if sensor is not None and trust is not None:
            trust = metric.disagreement_gate(trust, sensor, model_depth, trusting)
        fused = fusion.fuse(sensor, trust, model_depth, fusing, trusting)
        depth, provenance = fused.depth, fused.provenance
        believed = confidence(fused, sensor, seen.disparity, fit, seen.disagreement)
    normals, source = _normals(frame, seen.normals, depth)
    return Estimate(frame, disparity, depth, normals, source, provenance, believed, fit)


def _normals(
    frame: Frame, normals: Float32 | None, depth: Float32 | None
) -> tuple[Float32 | None, Literal["model", "depth", "none"]]:
    """(H, W, 3) normals and where they come from."""
    if normals is not None:
        return geometry.resize_normals(normals, frame.size), "model"
    if depth is not None and frame.intrinsics is not None:
        return geometry.normals_from_depth(depth, frame.intrinsics), "depth"
    return None, "none"
