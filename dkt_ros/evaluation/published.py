"""The scores of the DVD and DKT papers, chain and all, so that a number of ours can stand beside one of theirs.

The chain of DVD's benchmark, per clip: one scale and one shift, least squares in disparity over the valid pixels with
a positive prediction; aligned disparity held at or above 1e-3 1/m; depth held within the data set's range; then the
scores below over all valid pixels, whether or not the fit used them. Valid means strictly within the range. DKT fits
alike (``fit``) and stops at the 1e-3, without a range: ``fit`` and ``protocols.aligned_depth``.

Scores (p predicted, g reference depth, metres; d = ln p - ln g), each over a frame's pixels and then meant over frames
unless said otherwise:

* AbsRel |p - g| / g; SqRel (p - g)^2 / g; RMSE; RMSE log of d; delta_k: share of max(p / g, g / p) < 1.25^k;
* log10 |log10 p - log10 g|, pooled over all pixels; inverse RMSE of 1/p - 1/g;
* SILog 100 sqrt(mean over frames of (mean d^2 - (mean d)^2));
* relative temporal difference: root mean square, over pixels valid in both frames, of (p' - p) / (p + 1e-6) less the
  same of g, meant over successive pairs;
* boundaries: edges of the predicted depth against **Sobel edges of the colour picture**, pooled over the clip. Texture
  counts as a boundary, so this is not Depth Pro's boundary F1, which compares depth with depth.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Alignment, Answer, Range, Reference, align_disparity, aligned_depth
from dkt_ros.evaluation.videos import whole
from dkt_ros.frames import Float32, UInt8

#: Written beside the numbers.
IN_WORDS = (
    "one scale and shift per video, least squares in disparity on the valid pixels with a positive prediction; depth"
    " held within the range; mean over frames, then over videos (log10 and boundaries pooled over a video);"
    " boundaries against Sobel edges of the picture"
)
#: A step of depth to a neighbour by more than this ratio is a predicted edge.
EDGE_RATIO = 1.05
#: Sobel magnitude, as a share of the frame's range, from which a pixel of the picture is an edge.
PICTURE_EDGE = 0.15
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_EPS = 1e-6


@dataclass(frozen=True)
class PublishedScores:
    """One clip's scores; every number is None where nothing could be scored, and ``flag`` then says why.

    Attributes:
        reference_pixels: valid pixels; ``pixels``: those with a prediction; ``coverage``: their ratio.
        abs_rel, rmse_log, log10, silog, relative_temporal_difference: no unit; the last is None for a single frame.
        sq_rel_m, rmse_m: metres; ``inverse_rmse``: 1/m.
        delta_1, delta_2, delta_3: shares 0..1 within 1.25, 1.25^2, 1.25^3.
        boundary_f1, boundary_precision, boundary_recall: 0..1; None without pictures or where they have no edges.
        flag: "" or what is wrong with this clip.
    """

    reference_pixels: int
    pixels: int
    coverage: float | None = None
    abs_rel: float | None = None
    sq_rel_m: float | None = None
    rmse_m: float | None = None
    rmse_log: float | None = None
    log10: float | None = None
    delta_1: float | None = None
    delta_2: float | None = None
    delta_3: float | None = None
    inverse_rmse: float | None = None
    silog: float | None = None
    relative_temporal_difference: float | None = None
    boundary_f1: float | None = None
    boundary_precision: float | None = None
    boundary_recall: float | None = None
    flag: str = ""


def fit(disparity: Float32, reference: Float32, valid: Mask) -> Alignment:
    """The least squares of DVD and DKT: ``align_disparity`` over the valid pixels with a positive prediction.

    A fit that turns near and far around, or of a constant, comes back flagged; the reference would use it.

    Args:
        disparity: (..., H, W) float32, larger is nearer; NaN where unknown.
        reference: same shape, metres; 0, NaN and infinity mean unknown.
        valid: same shape.
    """
    with np.errstate(invalid="ignore"):
        return align_disparity(disparity, reference, valid & (disparity > 0))


def score_published(
    answer: Answer, reference: Reference, limits: Range, pictures: UInt8 | None = None
) -> dict[str, Any]:
    """The whole chain for one answer, as plain values: ``{"alignment": ..., "all": PublishedScores as a dict}``.

    The video is in memory as a whole.

    Args:
        answer: needs disparity or depth; 1/depth stands in for a missing disparity.
        reference: same shape as the answer.
        limits: the data set's range; ground truth on a limit is not valid.
        pictures: (T, H, W, 3) uint8 RGB of the same frames, for the boundaries; None leaves those out.
    """
    truth = whole(reference.depth)
    with np.errstate(invalid="ignore", divide="ignore"):
        valid = (truth > limits.near_m) & (truth < limits.far_m)
        if answer.disparity is not None:
            disparity = whole(answer.disparity)
        elif answer.depth is not None:
            metres = whole(answer.depth)
            disparity = np.where(metres > 0, 1.0 / metres, np.nan).astype(np.float32)
        else:
            raise ValueError(f"{answer.method}: neither disparity nor depth; there is nothing to score")
    alignment = fit(disparity, truth, valid)
    if alignment.flag:
        scores = PublishedScores(int(valid.sum()), 0, flag=alignment.flag)
    else:
        depth = within(aligned_depth(disparity, alignment), limits)
        scores = published_scores(depth, truth, valid, pictures)
    return {"alignment": asdict(alignment), "all": asdict(scores)}


def within(depth: Float32, limits: Range) -> Float32:
    """DVD's last step before the scores: metres held within the range, NaN stays NaN."""
    return np.asarray(np.clip(depth, max(limits.near_m, _EPS), limits.far_m), np.float32)


def published_scores(
    predicted: Float32, reference: Float32, valid: Mask, pictures: UInt8 | None = None
) -> PublishedScores:
    """The scores of one clip (see the module's docstring), in float64.

    A clip with a frame that has nothing to score is flagged and has no numbers: DVD's script leaves such a clip out.

    Args:
        predicted: (T, H, W) metres; not finite or not positive means no prediction.
        reference: (T, H, W) metres; not finite or not positive is not valid.
        valid: (T, H, W) True where to score.
        pictures: (T, H, W, 3) uint8 RGB; None leaves the boundaries out.

    Raises:
        ValueError: the shapes do not agree.
    """
    if predicted.ndim != 3 or not predicted.shape == reference.shape == valid.shape:
        raise ValueError(
            f"predicted {predicted.shape}, reference {reference.shape}, valid {valid.shape}: must be one (T, H, W)"
        )
    if pictures is not None and pictures.shape != (*predicted.shape, 3):
        raise ValueError(f"pictures {pictures.shape}: must be {(*predicted.shape, 3)} as the depth is; resize them")
    with np.errstate(invalid="ignore"):
        valid = valid & np.isfinite(reference) & (reference > 0)
        answered = valid & np.isfinite(predicted) & (predicted > 0)
    pixels = answered.sum(axis=(1, 2))
    total = int(valid.sum())
    scores = PublishedScores(total, int(pixels.sum()), float(pixels.sum() / total) if total else None)
    if (pixels == 0).any():
        return replace(scores, flag=f"frame {int(np.argmin(pixels))} has no pixel to score")
    frames = [_frame_terms(p[mask], g[mask]) for p, g, mask in zip(predicted, reference, answered, strict=True)]
    found: dict[str, Any] = {name: float(np.mean([terms[name] for terms in frames])) for name in frames[0]}
    found["log10"] = float(np.average([terms["log10"] for terms in frames], weights=pixels))
    found["silog"] = 100 * float(np.sqrt(found.pop("variance")))
    found["relative_temporal_difference"] = _temporal(predicted, reference, answered)
    if pictures is not None:
        found |= _boundaries(predicted, pictures, answered)
    return replace(scores, **found)


def _frame_terms(predicted: Float32, reference: Float32) -> dict[str, float]:
    """Means over one frame's pixels, by the names of ``PublishedScores``; ``variance`` is that of ln p - ln g."""
    p, g = predicted.astype(np.float64), reference.astype(np.float64)
    error, log, ratio = p - g, np.log(p) - np.log(g), np.maximum(p / g, g / p)
    values = {
        "abs_rel": (np.abs(error) / g).mean(),
        "sq_rel_m": (error * error / g).mean(),
        "rmse_m": np.sqrt((error * error).mean()),
        "rmse_log": np.sqrt((log * log).mean()),
        "log10": np.abs(log).mean() / np.log(10),
        "inverse_rmse": np.sqrt(np.square(1 / p - 1 / g).mean()),
        "variance": log.var(),
        **{f"delta_{k}": (ratio < 1.25**k).mean() for k in (1, 2, 3)},
    }
    return {name: float(value) for name, value in values.items()}


def _temporal(predicted: Float32, reference: Float32, answered: Mask) -> float | None:
    """The relative temporal difference over the pairs of frames that have a common pixel; None if there is no pair."""
    found = []
    for now in range(1, len(predicted)):
        both = answered[now] & answered[now - 1]
        if both.any():
            p, g = (_change(depth[now - 1][both], depth[now][both]) for depth in (predicted, reference))
            found.append(float(np.sqrt(np.square(p - g).mean())))
    return float(np.mean(found)) if found else None


def _change(before: Float32, after: Float32) -> NDArray[np.float64]:
    before_64 = before.astype(np.float64)
    return (after - before_64) / (before_64 + _EPS)


def _boundaries(predicted: Float32, pictures: UInt8, answered: Mask) -> dict[str, float]:
    """Precision, recall and F1 of the clip's edges within one pixel; empty if the pictures have no edge to find."""
    near, asked, matched, given, kernel = 0, 0, 0, 0, np.ones((3, 3), np.uint8)
    for depth, picture, mask in zip(predicted, pictures, answered, strict=True):
        ours, theirs = depth_steps(depth) & mask, picture_edges(picture) & mask
        near += int((ours & (cv2.dilate(theirs.view(np.uint8), kernel) > 0)).sum())
        matched += int((theirs & (cv2.dilate(ours.view(np.uint8), kernel) > 0)).sum())
        given += int(ours.sum())
        asked += int(theirs.sum())
    if not asked:
        return {}
    precision, recall = near / (given + _EPS), matched / (asked + _EPS)
    f1 = 2 * precision * recall / (precision + recall + _EPS)
    return {"boundary_f1": f1, "boundary_precision": precision, "boundary_recall": recall}


def depth_steps(depth: Float32) -> Mask:
    """(H, W) bool: DVD's predicted edges, on the far side of a step.

    A pixel is one if it is more than ``EDGE_RATIO`` times as far as one of its four neighbours and, along that axis,
    no pixel beside it has a larger ratio in the same direction. Unknown depth is no edge.

    Args:
        depth: (H, W) float32 metres, NaN where unknown.
    """
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.nan).astype(np.float32)
    padded = np.pad(depth, 1, mode="edge")
    height, width = depth.shape
    result = np.zeros(depth.shape, bool)
    for dv, du in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        ratio = np.nan_to_num(depth / padded[1 + dv : 1 + dv + height, 1 + du : 1 + du + width])
        kernel = np.ones((3, 1) if dv else (1, 3), np.uint8)
        highest = cv2.dilate(ratio, kernel, borderType=cv2.BORDER_REPLICATE)
        result |= (ratio > EDGE_RATIO) & (ratio >= highest)
    return result


def picture_edges(picture: UInt8) -> Mask:
    """(H, W) bool: DVD's reference edges, from the colour picture.

    Sobel magnitude of the luma with zeros around the picture, scaled from its least to its greatest value, above
    ``PICTURE_EDGE``. The zeros make the rim of a bright picture an edge.

    Args:
        picture: (H, W, 3) uint8 RGB.
    """
    luma = (picture.astype(np.float32) / 255) @ _LUMA
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, ksize=3, borderType=cv2.BORDER_CONSTANT)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, ksize=3, borderType=cv2.BORDER_CONSTANT)
    size = np.sqrt(across * across + down * down + np.float32(_EPS))
    return np.asarray((size - size.min()) / (size.max() - size.min() + _EPS) > PICTURE_EDGE, bool)
