"""Charts of the HTML report: inline SVG by matplotlib, whose text stays text and whose colours are the page's.

A chart is shown at about as many pixels as it is units wide, on a phone as on a desk, so its letters have one size.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: What matplotlib draws with -> what stands in the page.
INK, RULE, FAINT = "#010101", "#020202", "#030303"
_PAGE_COLOURS = {INK: "currentColor", RULE: "var(--rule)", FAINT: "var(--faint)"}
#: Of methods in the page's order: ours, raw sensor, best fill, then engines that it is compared with.
METHOD_COLOURS = tuple(f"#0400{number:02x}" for number in range(8))
_PAGE_COLOURS |= {colour: f"var(--method-{number})" for number, colour in enumerate(METHOD_COLOURS)}
DASHES: tuple[Any, ...] = ("-", (0, (4, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), "-", (0, (4, 2)), (0, (1, 1.5)), "-")
_POINTS = 480
#: (width, height) in inches of 72 units.
_USUAL, _SMALL, _SQUARE = (5.0, 2.6), (3.8, 2.4), (3.6, 3.1)


@dataclass(frozen=True)
class Line:
    """One line: ``x`` ascending, ``y`` None where unknown; ``method`` chooses colour and dashes."""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    method: int = 0


def line_chart(
    words: str,
    lines: Sequence[Line],
    x_label: str,
    percent: bool = False,
    marks: Sequence[float] = (),
    from_zero: bool = True,
    small: bool = False,
) -> str:
    """An ``<svg>`` of values over time; "" if no line has a value.

    Args:
        words: for those who cannot see it.
        percent: shares 0..1 are written in percent.
        marks: places of short strokes on the lower axis (where clips begin).
        from_zero: whether the lower end of the axis is 0.
        small: to stand four in a row, else three.
    """
    factor = 100.0 if percent else 1.0
    drawn = []
    for line in lines:
        x, y = _thinned(np.asarray(line.x, float), factor * np.array([np.nan if v is None else v for v in line.y]))
        if np.isfinite(y).any():
            drawn.append((line, x, y))
    if not drawn:
        return ""
    with _chart(words, *(_SMALL if small else _USUAL)) as (axes, result):
        if len(marks) <= 60:  # more would be a grey wall
            axes.vlines(list(marks), 0, 0.06, transform=axes.get_xaxis_transform(), color=FAINT, linewidth=1)
        for line, x, y in reversed(drawn):  # the first one on top
            few = np.isfinite(y).sum() <= 40
            axes.plot(
                x,
                y,
                color=METHOD_COLOURS[line.method],
                linestyle=DASHES[line.method],
                linewidth=1.6 if line.method == 0 else 1.3,
                marker="o" if few else None,
                markersize=2.5,
            )
        _limit(axes, np.concatenate([y[np.isfinite(y)] for _, _, y in drawn]), from_zero, "%" if percent else "")
        axes.set_xlabel(x_label)
    return result[0]


def shares_chart(words: str, values: Sequence[tuple[str, int, Sequence[float]]], x_label: str) -> str:
    """Share of recordings (upwards) whose value is at most so much (to the right, a share in percent).

    Args:
        values: name, method and one value a recording; those without values are left out.
    """
    with _chart(words, *_USUAL) as (axes, result):
        for _, method, numbers in reversed(values):
            if len(numbers):
                x = 100 * np.quantile(np.asarray(numbers, float), np.linspace(0, 1, min(len(numbers), _POINTS)))
                x, y = np.append(x[0], x), 100 * np.arange(len(x) + 1) / len(x)
                colour, dashes = METHOD_COLOURS[method], DASHES[method]
                axes.plot(x, y, color=colour, linestyle=dashes, linewidth=1.5, drawstyle="steps-post")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 103)
        axes.set_xlabel(x_label)
    return result[0]


def reliability_chart(words: str, bins: Sequence[dict[str, float]]) -> str:
    """Share of right pixels over confidence, both in percent, beside the diagonal that it should be.

    Args:
        bins: "confidence", "right" (shares) and "pixels" of each; bins of few pixels are drawn hollow.
    """
    rows = np.array([(each["confidence"], each["right"], each["pixels"]) for each in bins], float).reshape(-1, 3)
    many = rows[:, 2] >= 0.002 * rows[:, 2].sum()
    with _chart(words, *_SQUARE) as (axes, result):
        axes.plot((0, 100), (0, 100), color=FAINT, linewidth=1, linestyle=(0, (4, 3)))
        x, y = 100 * rows[:, 0], 100 * rows[:, 1]
        axes.plot(x[many], y[many], color=METHOD_COLOURS[0], linewidth=1.6, marker="o", markersize=3.5)
        axes.plot(x[~many], y[~many], "o", color=METHOD_COLOURS[0], markersize=3.5, markerfacecolor="none")
        axes.set_xlim(-3, 103)
        axes.set_ylim(-3, 103)
        axes.set_xticks((0, 25, 50, 75, 100))
        axes.set_yticks((0, 25, 50, 75, 100))
        axes.set_xlabel("confidence, %")
    return result[0]


@contextmanager
def _chart(words: str, width: float, height: float) -> Iterator[tuple[Axes, list[str]]]:
    """Axes to draw into; when the block ends the list holds the SVG."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": words,
        "font.size": 10.5,
        "axes.edgecolor": RULE,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "xtick.color": RULE,
        "ytick.color": RULE,
        "grid.color": RULE,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "grid.linewidth": 0.6,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "ytick.major.size": 0,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
    }
    result: list[str] = []
    with rc_context(settings):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        figure.subplots_adjust(left=0.62 / width, right=1 - 0.12 / width, bottom=0.55 / height, top=1 - 0.12 / height)
        axes = figure.add_subplot()
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}".replace("e-0", "e-"))
        yield axes, result
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    result.append(_inline(text.getvalue(), words))


def _inline(svg: str, words: str) -> str:
    """Only what belongs into a page: no declaration, no metadata, no style for the page's other elements, no names of
    groups; the colours are the page's."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    view = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg {view.group() if view else ""} role="img" aria-label="{escape(words, quote=True)}"'
    svg = re.sub(r"<svg[^>]*", lambda _: head, svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*;?", "", svg)
    svg = re.sub(r' (?:d|x|y|transform)="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found.group()), svg)
    for colour, name in _PAGE_COLOURS.items():
        svg = svg.replace(colour, name)
    return re.sub(r"\n\s*", "\n", svg)


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of many points the lowest and the highest of each of some hundred stretches, so that no peak is lost."""
    if len(x) <= _POINTS:
        return x, y
    kept: list[int] = []
    for part in np.array_split(np.arange(len(x)), _POINTS // 2):
        known = part[np.isfinite(y[part])]
        if known.size:
            kept += sorted({int(known[np.argmin(y[known])]), int(known[np.argmax(y[known])])})
        else:
            kept.append(int(part[0]))  # a gap stays one
    return x[kept], y[kept]


def _limit(axes: Axes, values: NDArray[np.float64], from_zero: bool, unit: str) -> None:
    """Ends of the upright axis; a few extreme values do not press the rest flat, and are then named."""
    low, high = float(values.min()), float(values.max())
    if from_zero:
        usual = float(np.percentile(values, 95))
        if high > 3 * usual > 0:
            words = f"peak {high:.4g}{' ' + unit if unit else ''}"
            axes.text(1, 1, words, ha="right", va="top", transform=axes.transAxes)
            high = 2 * usual
        axes.set_ylim(0, 1.08 * high or 1.0)
    elif high - low < 1e-3 * abs(high):  # a constant is not drawn as noise
        axes.set_ylim(low - 0.05 * abs(high), high + 0.05 * abs(high))
