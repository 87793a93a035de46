"""Pictures of the HTML report: arrays to colours (PNG with a palette) and photographs (WebP) inside the page.

Depth of one recording shares one colour scale; errors are signed and relative, (depth - truth) / truth.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from io import BytesIO

import cv2
import numpy as np

from dkt_ros.evaluation.gallery import Gallery
from dkt_ros.evaluation.gallery_frames import Moment, Slice
from dkt_ros.evaluation.metrics import Mask
from dkt_ros.evaluation.pictures import HOLE, PROVENANCE, UNSCORED, depth_span, normal_colours
from dkt_ros.evaluation.protocols import Range, valid_truth
from dkt_ros.frames import Float32, UInt8

#: Ends of the scale of errors.
ERROR_SPAN = 0.20
DEPTH_COLOURS, ERROR_COLOURS = "turbo_r", "RdBu"
#: Colours of a scale: few enough that the picture is small, too many to be seen as steps; then come those of pixels
#: without a value, of pixels that are not scored, and of the rim of transparent things.
_LEVELS = 96
_HOLE, _UNSCORED, _RIM = _LEVELS, _LEVELS + 1, _LEVELS + 2

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
        *([("Sensor", depth_picture(found.sensor, span))] if sensor else []),
        ("Ours", depth_picture(found.ours, span)),
        ("Ground truth", depth_picture(found.truth, span)),
        *([("Error: sensor", error_picture(found.sensor, found.truth, limits))] if sensor else []),
        ("Error: ours", error_picture(found.ours, found.truth, limits)),
    ]
    sources = [(title, picture.source()) for title, picture in pictures] + [("RGB", _webp(found.rgb))]
    words = f"column {found.column} of {found.width}, frames {found.first} to {found.first + width - 1} side by side"
    return [Picture(title, source, f"{title}: {words}", width, height) for title, source in sources]


Span = tuple[float, float]
Pair = tuple[Picture, Picture]


def span_of(gallery: Gallery, moments: Iterable[Moment]) -> Span:
    """Of a recording's depth, metres: 2nd to 98th percentile of the scored truth, of the sensor where there is none."""
    moments = list(moments)
    if any(valid_truth(moment.truth, gallery.limits).any() for moment in moments):
        return depth_span([moment.truth for moment in moments], gallery.limits)
    seen = [moment.sensor for moment in moments if moment.sensor is not None]
    return depth_span(seen or [np.zeros((0, 0), np.float32)], Range(1e-3, 1e3) if seen else gallery.limits)


@dataclass(frozen=True)
class Paint:
    """A picture by numbers: ``levels`` (H, W) uint8 into ``palette`` (n, 3) uint8."""

    levels: UInt8
    palette: UInt8

    def outlined(self, mask: Mask, level: int = _RIM) -> Paint:
        """With the rim of the mask's parts drawn, one pixel wide."""
        return Paint(_rim(self.levels, mask, level), self.palette)

    def source(self) -> str:
        """As a ``data:`` address."""
        from PIL import Image

        picture, data = Image.fromarray(self.levels, "P"), BytesIO()
        picture.putpalette(self.palette.tobytes())
        picture.save(data, "PNG")
        return "data:image/png;base64," + b64encode(data.getvalue()).decode()


def depth_picture(depth: Float32, span: Span) -> Paint:
    """Near is red, far is blue; what has no value has a colour that the scale does not have."""
    return Paint(_levels((depth - span[0]) / max(span[1] - span[0], 1e-6)), _palette(DEPTH_COLOURS))


def error_picture(depth: Float32, truth: Float32, limits: Range) -> Paint:
    """Red is too near, blue too far, white right; grey is not scored, the colour of holes has no value."""
    scored = valid_truth(truth, limits)
    error = np.divide(depth - truth, truth, out=np.full(depth.shape, np.nan, np.float32), where=scored)
    levels = _levels(error / (2 * ERROR_SPAN) + 0.5)
    levels[~scored] = _UNSCORED
    return Paint(levels, _palette(ERROR_COLOURS))


def scale_bar(colours: str) -> str:
    """A strip of the colours from the lower to the upper end, as a ``data:`` address."""
    return Paint(np.arange(_LEVELS, dtype=np.uint8)[None].repeat(8, axis=0), _palette(colours)).source()


def legend() -> list[tuple[str, str]]:
    """(colour, words) of what is not on a scale."""
    return [(colour, words) for words, colour in PROVENANCE.values() if colour != HOLE]


class _Look:
    """Pictures of one moment at the page's size."""

    def __init__(self, moment: Moment, limits: Range, span: Span, width: int) -> None:
        self._moment, self._limits, self._span = moment, limits, span
        height, full = moment.truth.shape
        width = min(width, full)
        self._size = width, max(1, round(height * width / full))
        rows = ((np.arange(self._size[1]) + 0.5) * height / self._size[1]).astype(int)
        columns = ((np.arange(width) + 0.5) * full / width).astype(int)
        self._nearest = np.ix_(rows, columns)
        self._truth = moment.truth[self._nearest]
        self._glass = moment.transparent[self._nearest]

    def photo(self) -> Picture:
        rgb = np.asarray(cv2.resize(self._moment.rgb, self._size, interpolation=cv2.INTER_AREA), np.uint8)
        words = "photograph" + ("; transparent things are outlined" if self._glass.any() else "")
        return Picture("RGB", _webp(_rim(rgb, self._glass, (255, 255, 255))), words, *self._size)

    def depth(self, title: str, depth: Float32) -> Picture:
        near, far = self._span
        words = f"{title}: depth in colours, {near:.2f} m red to {far:.2f} m blue"
        return self._picture(title, depth_picture(depth[self._nearest], self._span), words)

    def depth_and_error(self, title: str, depth: Float32, name: str = "") -> Pair:
        """``name``: in the title of the error, where it is another."""
        name, small = name or title.lower(), depth[self._nearest]
        painted = error_picture(small, self._truth, self._limits).outlined(self._glass)
        words = f"error of {name}: {_how_far_off(small, self._truth, self._glass, self._limits)}"
        return self.depth(title, depth), self._picture(f"Error: {name}", painted, words)

    def refused(self) -> Pair:
        words = f"no metric depth: {self._moment.refusal}"
        depth, error = (Picture(title, "", words, *self._size) for title in ("Ours", "Error: ours"))
        return depth, error

    def normals(self) -> Picture:
        normals = self._moment.normals
        if normals is None:
            return Picture("Normals: ours", "", "no normals", *self._size)
        colours = normal_colours(normals[self._nearest].astype(np.float32), self._truth.shape)
        words = "normals of ours: red faces right, green up, blue the camera"
        return Picture("Normals: ours", _webp((255 * colours).round().astype(np.uint8)), words, *self._size)

    def provenance(self) -> Picture:
        if not self._moment.provenance.any():
            return Picture("Provenance", "", "no depth", *self._size)
        palette = np.array([_rgb(PROVENANCE[value][1]) for value in sorted(PROVENANCE)] + [(0, 0, 0)], np.uint8)
        paint = Paint(self._moment.provenance[self._nearest], palette).outlined(self._glass, len(PROVENANCE))
        return self._picture("Provenance", paint, "where the depth of ours comes from: the sensor or the model")

    def _picture(self, title: str, paint: Paint, words: str) -> Picture:
        return Picture(title, paint.source(), words, *self._size)


def _how_far_off(depth: Float32, truth: Float32, glass: Mask, limits: Range) -> str:
    scored = valid_truth(truth, limits) & np.isfinite(depth)
    parts = []
    for name, where in (("on transparent things", scored & glass), ("elsewhere", scored & ~glass)):
        if where.any():
            error = float(np.median((depth[where] - truth[where]) / truth[where]))
            parts.append(f"{name} by {abs(error):.1%} too {'far' if error > 0 else 'near'} in the median")
    return ", ".join(parts) or "nothing to score"


def _levels(share: Float32) -> UInt8:
    """Numbers of the colours of values 0..1; those outside have the ends', NaN has that of holes."""
    known = np.isfinite(share)
    levels = np.where(known, np.clip(share, 0, 1) * (_LEVELS - 1), 0).round().astype(np.uint8)
    levels[~known] = _HOLE
    return levels


@cache
def _palette(colours: str) -> UInt8:
    from matplotlib import colormaps

    scale = (255 * colormaps[colours](np.linspace(0, 1, _LEVELS))[:, :3]).round()
    return np.concatenate([scale, [_rgb(HOLE), _rgb(UNSCORED), (0, 0, 0)]]).astype(np.uint8)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def _rim(picture: UInt8, mask: Mask, colour: int | tuple[int, int, int]) -> UInt8:
    """A copy with the rim of the mask's parts drawn, one pixel wide."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    result = picture.copy()
    cv2.drawContours(result, contours, -1, colour if isinstance(colour, tuple) else (colour,), 1)
    return result


def _webp(rgb: UInt8) -> str:
    """A photograph as a ``data:`` address."""
    bgr = cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".webp", bgr, (cv2.IMWRITE_WEBP_QUALITY, 84))
    return "data:image/webp;base64," + b64encode(data.tobytes()).decode()
