"""Pictures of the HTML report: arrays to colours, colours to WebP inside the page.

Depth of one recording shares one colour scale; errors are signed and relative, (depth - truth) / truth.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dkt_ros.evaluation.gallery import Gallery
from dkt_ros.evaluation.gallery_frames import Moment, Slice
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.pictures import HOLE, PROVENANCE, UNSCORED, depth_span, normal_colours, provenance_colours
from dkt_ros.evaluation.protocols import Range, valid_truth
from dkt_ros.frames import Float32, UInt8

#: Ends of the scale of errors.
ERROR_SPAN = 0.20
DEPTH_COLOURS, ERROR_COLOURS = "turbo_r", "RdBu"
#: Colours of a depth or error picture: few enough that the lossless picture is small, too many to be seen as steps.
_LEVELS = 96

#: A classical fill: sensor depth (H, W) and RGB to dense depth (``fills.Fill``).
Fill = Callable[[Float32, UInt8], Float32]


@dataclass(frozen=True)
class Picture:
    """One picture of the page.

    Attributes:
        title: below it.
        source: ``data:`` address; "" if there is none.
        words: for those who cannot see it, or why there is none.
        width, height: pixels.
    """

    title: str
    source: str
    words: str
    width: int
    height: int


def moment_pictures(moment: Moment, fill: tuple[str, Fill] | None, limits: Range, span: Span, width: int) -> list[Pair]:
    """Pairs of pictures (what a method says, its error), for the page's columns.

    Args:
        fill: the best classical fill and its name; None without one.
        limits: where the ground truth counts.
        span: of the depth, metres.
        width: of the pictures, pixels; never larger than the originals.
    """
    look = _Look(moment, limits, span, width)
    pairs = [
        (look.photo(), look.provenance()),
        *([] if moment.sensor is None else [look.depth_and_error("Sensor", moment.sensor)]),
    ]
    if fill and moment.sensor is not None:
        pairs.append(look.depth_and_error(f"Fill: {fill[0]}", fill[1](moment.sensor, moment.rgb), fill[0]))
    pairs.append(look.refused() if moment.ours is None else look.depth_and_error("Ours", moment.ours))
    pairs.append((look.depth("Ground truth", moment.truth), look.normals()))
    return pairs


def slice_pictures(found: Slice, limits: Range, span: Span) -> list[Picture]:
    """Sensor, ours, truth; below them the errors and RGB: time runs to the right, the picture's rows down."""
    height, width = found.truth.shape
    sensor = np.isfinite(found.sensor).any()
    pictures = [
        *([("Sensor", depth_colours(found.sensor, span))] if sensor else []),
        ("Ours", depth_colours(found.ours, span)),
        ("Ground truth", depth_colours(found.truth, span)),
        *([("Error: sensor", error_colours(found.sensor, found.truth, limits))] if sensor else []),
        ("Error: ours", error_colours(found.ours, found.truth, limits)),
        ("RGB", found.rgb),
    ]
    words = f"column {found.column} of {found.width}, frames {found.first} to {found.first + width - 1} side by side"
    return [Picture(title, _webp(rgb), f"{title}: {words}", width, height) for title, rgb in pictures]


Span = tuple[float, float]
Pair = tuple[Picture, Picture]


def span_of(gallery: Gallery, moments: Iterable[Moment]) -> Span:
    """Of a recording's depth, metres: 2nd to 98th percentile of the scored truth, of the sensor where there is none."""
    moments = list(moments)
    if any(valid_truth(moment.truth, gallery.limits).any() for moment in moments):
        return depth_span([moment.truth for moment in moments], gallery.limits)
    seen = [moment.sensor for moment in moments if moment.sensor is not None]
    return depth_span(seen or [np.zeros((0, 0), np.float32)], Range(1e-3, 1e3) if seen else gallery.limits)


def depth_colours(depth: Float32, span: Span) -> UInt8:
    """(..., 3): near is red, far is blue; what has no value has a colour that the scale does not have."""
    return _mapped((depth - span[0]) / max(span[1] - span[0], 1e-6), DEPTH_COLOURS, HOLE)


def error_colours(depth: Float32, truth: Float32, limits: Range) -> UInt8:
    """(..., 3): red is too near, blue too far, white right; grey is not scored, the colour of holes has no value."""
    scored = valid_truth(truth, limits)
    error = np.divide(depth - truth, truth, out=np.full(depth.shape, np.nan, np.float32), where=scored)
    colours = _mapped(error / (2 * ERROR_SPAN) + 0.5, ERROR_COLOURS, HOLE)
    colours[~scored] = _rgb(UNSCORED)
    return colours


def scale_bar(colours: str) -> str:
    """A strip of the colours from the lower to the upper end, as a ``data:`` address."""
    return _webp(_mapped(np.linspace(0, 1, 256, dtype=np.float32)[None].repeat(8, axis=0), colours, HOLE))


def legend() -> list[tuple[str, str]]:
    """(colour, words) of what is not on a scale."""
    return [(colour, words) for words, colour in PROVENANCE.values() if colour != HOLE]


class _Look:
    """Pictures of one moment at the page's size."""

    def __init__(self, moment: Moment, limits: Range, span: Span, width: int) -> None:
        self._moment, self._limits, self._span = moment, limits, span
        height, full = moment.truth.shape
        self._width = min(width, full)
        self._height = max(1, round(height * self._width / full))
        rows = ((np.arange(self._height) + 0.5) * height / self._height).astype(int)
        columns = ((np.arange(self._width) + 0.5) * full / self._width).astype(int)
        self._nearest = np.ix_(rows, columns)
        self._truth = moment.truth[self._nearest]
        self._glass = moment.transparent[self._nearest]

    def photo(self) -> Picture:
        rgb = cv2.resize(self._moment.rgb, (self._width, self._height), interpolation=cv2.INTER_AREA)
        words = "photograph" + ("; transparent things are outlined" if self._glass.any() else "")
        return self._picture("RGB", _outlined(np.asarray(rgb, np.uint8), self._glass, "#ffffff"), words, quality=82)

    def depth(self, title: str, depth: Float32) -> Picture:
        near, far = self._span
        words = f"{title}: depth in colours, {near:.2f} m red to {far:.2f} m blue"
        return self._picture(title, depth_colours(depth[self._nearest], self._span), words)

    def depth_and_error(self, title: str, depth: Float32, name: str = "") -> Pair:
        """``name``: in the title of the error, where it is another."""
        name, small = name or title.lower(), depth[self._nearest]
        colours = error_colours(small, self._truth, self._limits)
        words = f"error of {name}: {_how_far_off(small, self._truth, self._glass, self._limits)}"
        return self.depth(title, depth), self._picture(f"Error: {name}", _outlined(colours, self._glass), words)

    def refused(self) -> Pair:
        words = f"no metric depth: {self._moment.refusal}"
        depth, error = (Picture(title, "", words, self._width, self._height) for title in ("Ours", "Error: ours"))
        return depth, error

    def normals(self) -> Picture:
        normals = self._moment.normals
        if normals is None:
            return Picture("Normals: ours", "", "no normals", self._width, self._height)
        colours = normal_colours(normals[self._nearest].astype(np.float32), self._truth.shape)
        words = "normals of ours: red faces right, green up, blue the camera"
        return self._picture("Normals: ours", (255 * colours).round().astype(np.uint8), words, quality=85)

    def provenance(self) -> Picture:
        colours = (255 * provenance_colours(self._moment.provenance[self._nearest])).round().astype(np.uint8)
        words = "where the depth of ours comes from: the sensor or the model"
        return self._picture("Provenance", _outlined(colours, self._glass), words)

    def _picture(self, title: str, rgb: UInt8, words: str, quality: int = 101) -> Picture:
        return Picture(title, _webp(rgb, quality), words, self._width, self._height)


def _how_far_off(depth: Float32, truth: Float32, glass: Mask, limits: Range) -> str:
    scored = valid_truth(truth, limits) & np.isfinite(depth)
    parts = []
    for name, where in (("on transparent things", scored & glass), ("elsewhere", scored & ~glass)):
        if where.any():
            error = float(np.median((depth[where] - truth[where]) / truth[where]))
            parts.append(f"{name} by {abs(error):.1%} too {'far' if error > 0 else 'near'} in the median")
    return ", ".join(parts) or "nothing to score"


def _mapped(share: Float32, colours: str, unknown: str) -> UInt8:
    """(..., 3) from values 0..1; NaN becomes ``unknown``."""
    from matplotlib import colormaps

    table = (255 * colormaps[colours](np.linspace(0, 1, _LEVELS))[:, :3]).round().astype(np.uint8)
    known = np.isfinite(share)
    level = np.where(known, np.clip(share, 0, 1) * (_LEVELS - 1), 0).round().astype(np.intp)
    result = table[level]
    result[~known] = _rgb(unknown)
    return np.asarray(result, np.uint8)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _outlined(rgb: UInt8, mask: Mask, colour: str = "#000000") -> UInt8:
    """The rim of the mask's parts drawn, one pixel wide."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    result: NDArray[np.uint8] = np.ascontiguousarray(rgb)
    cv2.drawContours(result, contours, -1, _rgb(colour), 1)
    return result


def _webp(rgb: UInt8, quality: int = 101) -> str:
    """As a ``data:`` address; a quality above 100 is lossless."""
    flags = (cv2.IMWRITE_WEBP_QUALITY, quality)
    _, data = cv2.imencode(".webp", cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR), flags)
    return "data:image/webp;base64," + b64encode(data.tobytes()).decode()
