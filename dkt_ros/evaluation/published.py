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

from dkt_ros.evaluation.alignment import Alignment, RunningFit, aligned_depth
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.protocols import Answer, Range, Reference
from dkt_ros.evaluation.videos import Made, Pictures
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


def fit(disparity: Pictures, reference: Pictures, valid: Pictures) -> Alignment:
    """The least squares of DVD and DKT: ``RunningFit`` over the valid pixels with a positive prediction.

    A fit that turns near and far around, or of a constant, comes back flagged; the reference would use it.

    Args:
        disparity: (T, H, W) float32, larger is nearer; NaN where unknown.
        reference: same shape, metres; 0, NaN and infinity mean unknown.
        valid: same shape, bool.
    """
    running = RunningFit()
    for index in range(len(disparity)):
        d, g = disparity[index], reference[index]
        with np.errstate(invalid="ignore"):
            chosen = valid[index] & (d > 0)
        running.add(d[chosen], g[chosen])
    return running.result()


def score_published(
    answer: Answer, reference: Reference, limits: Range, pictures: Pictures | None = None
) -> dict[str, Any]:
    """The whole chain for one answer, as plain values: ``{"alignment": ..., "all": PublishedScores as a dict}``.

    Frame by frame, so that memory does not grow with the video.

    Args:
        answer: needs disparity or depth; 1/depth stands in for a missing disparity.
        reference: same shape as the answer.
        limits: the data set's range; ground truth on a limit is not valid.
        pictures: (T, H, W, 3) uint8 RGB of the same frames, for the boundaries; None leaves those out.
    """
    truth, shape = reference.depth, reference.depth.shape

    def valid(index: int) -> Mask:
        with np.errstate(invalid="ignore"):
            return np.asarray((truth[index] > limits.near_m) & (truth[index] < limits.far_m))

    disparity, scored = _disparity(answer), Made(shape, valid)
    alignment = fit(disparity, truth, scored)
    if alignment.flag:
        scores = PublishedScores(sum(int(valid(index).sum()) for index in range(len(truth))), 0, flag=alignment.flag)
    else:
        depth = Made(shape, lambda index: within(aligned_depth(disparity[index], alignment), limits))
        scores = published_scores(depth, truth, scored, pictures)
    return {"alignment": asdict(alignment), "all": asdict(scores)}


def _disparity(answer: Answer) -> Pictures:
    metres = answer.depth
    if answer.disparity is not None:
        return answer.disparity
    if metres is None:
        raise ValueError(f"{answer.method}: neither disparity nor depth; there is nothing to score")

    def inverse(index: int) -> Float32:
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(metres[index] > 0, 1.0 / metres[index], np.nan).astype(np.float32)

    return Made(metres.shape, inverse)


def within(depth: Float32, limits: Range) -> Float32:
    """DVD's last step before the scores: metres held within the range, NaN stays NaN."""
    return np.asarray(np.clip(depth, max(limits.near_m, _EPS), limits.far_m), np.float32)


def published_scores(
    predicted: Pictures, reference: Pictures, valid: Pictures, pictures: Pictures | None = None
) -> PublishedScores:
    """The scores of one clip (see the module's docstring), in float64, frame by frame.

    A clip with a frame that has truth and nothing to score is flagged and has no numbers: DVD's script leaves such a
    clip out. A frame without any truth does not count.

    Args:
        predicted: (T, H, W) metres; not finite or not positive means no prediction.
        reference: (T, H, W) metres; not finite or not positive is not valid.
        valid: (T, H, W) True where to score.
        pictures: (T, H, W, 3) uint8 RGB; None leaves the boundaries out.

    Raises:
        ValueError: the shapes do not agree.
    """
    shapes = [tuple(each.shape) for each in (predicted, reference, valid)]
    if len(shapes[0]) != 3 or len(set(shapes)) != 1:
        raise ValueError(f"predicted {shapes[0]}, reference {shapes[1]}, valid {shapes[2]}: must be one (T, H, W)")
    if pictures is not None and tuple(pictures.shape) != (*shapes[0], 3):
        raise ValueError(f"pictures {tuple(pictures.shape)}: must be {(*shapes[0], 3)} as the depth is; resize them")
    sums = _Sums()
    for index in range(shapes[0][0]):
        picture = None if pictures is None else pictures[index]
        sums.add(predicted[index], reference[index], valid[index], picture)
    return sums.scores()


class _Sums:
    """What is kept of the frames of one clip."""

    def __init__(self) -> None:
        self._pixels: list[int] = []
        self._total = 0
        self._terms: list[dict[str, float]] = []
        self._changes: list[float] = []
        self._edges: NDArray[np.int64] | None = None
        self._before: tuple[Float32, Float32, Mask] | None = None

    def add(self, p: Float32, g: Float32, valid: Mask, picture: UInt8 | None) -> None:
        """One frame; one without any truth is none of the clip."""
        with np.errstate(invalid="ignore"):
            known = np.isfinite(g) & (g > 0)
            if not known.any():
                self._before = None
                return
            valid = valid & known
            answered = valid & np.isfinite(p) & (p > 0)
        self._total += int(valid.sum())
        self._pixels.append(int(answered.sum()))
        if not self._pixels[-1]:
            return  # the clip is left out
        self._terms.append(_frame_terms(p[answered], g[answered]))
        if self._before is not None:
            change = _relative_change(self._before, (p, g, answered))
            self._changes += [] if change is None else [change]
        self._before = p, g, answered
        if picture is not None:
            edges = _edge_counts(p, picture, answered)
            self._edges = edges if self._edges is None else self._edges + edges

    def scores(self) -> PublishedScores:
        """Of all frames so far."""
        pixels, total = sum(self._pixels), self._total
        scores = PublishedScores(total, pixels, pixels / total if total else None)
        if 0 in self._pixels:
            return replace(scores, flag=f"frame {self._pixels.index(0)} has no pixel to score")
        terms = self._terms
        if not terms:
            return replace(scores, flag="no frame has ground truth")
        found: dict[str, Any] = {name: float(np.mean([each[name] for each in terms])) for name in terms[0]}
        found["log10"] = float(np.average([each["log10"] for each in terms], weights=self._pixels))
        found["silog"] = 100 * float(np.sqrt(found.pop("variance")))
        found["relative_temporal_difference"] = float(np.mean(self._changes)) if self._changes else None
        if self._edges is not None:
            found |= _boundaries(*self._edges.tolist())
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


def _relative_change(before: tuple[Float32, Float32, Mask], now: tuple[Float32, Float32, Mask]) -> float | None:
    """The relative temporal difference of a pair of frames (p, g, answered); None if they have no common pixel."""
    both = before[2] & now[2]
    if not both.any():
        return None
    p, g = (_change(then[both], later[both]) for then, later in zip(before[:2], now[:2], strict=True))
    return float(np.sqrt(np.square(p - g).mean()))


def _change(before: Float32, after: Float32) -> NDArray[np.float64]:
    before_64 = before.astype(np.float64)
    return (after - before_64) / (before_64 + _EPS)


def _edge_counts(depth: Float32, picture: UInt8, answered: Mask) -> NDArray[np.int64]:
    """(4,) pixels of one frame: our edges, those of them near an edge of the picture, its edges, those near ours."""
    kernel = np.ones((3, 3), np.uint8)
    ours, theirs = depth_steps(depth) & answered, picture_edges(picture) & answered
    near = ours & (cv2.dilate(theirs.view(np.uint8), kernel) > 0)
    matched = theirs & (cv2.dilate(ours.view(np.uint8), kernel) > 0)
    return np.array([each.sum() for each in (ours, near, theirs, matched)], np.int64)


def _boundaries(given: int, near: int, asked: int, matched: int) -> dict[str, float]:
    """Precision, recall and F1 of the clip's edges within one pixel; empty if the pictures have no edge to find."""
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
    red, green, blue = (picture[..., channel].astype(np.float32) / 255 * share for channel, share in enumerate(_LUMA))
    luma = red + green + blue  # no matrix product, see ``robust``
    across = cv2.Sobel(luma, cv2.CV_32F, 1, 0, ksize=3, borderType=cv2.BORDER_CONSTANT)
    down = cv2.Sobel(luma, cv2.CV_32F, 0, 1, ksize=3, borderType=cv2.BORDER_CONSTANT)
    size = np.sqrt(across * across + down * down + np.float32(_EPS))
    return np.asarray((size - size.min()) / (size.max() - size.min() + _EPS) > PICTURE_EDGE, bool)
