"""Tables of a report, as Markdown that reads well on a terminal too. Each says its protocol, pixels and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from dkt_ros.evaluation.means import OURS, Scores, number_of, reported_rows
from dkt_ros.evaluation.protocols import IN_WORDS, Range
from dkt_ros.evaluation.published import IN_WORDS as PUBLISHED_IN_WORDS

if TYPE_CHECKING:
    from dkt_ros.evaluation.evaluate import VideoScores

#: title, protocol, region, number, factor, format
COLUMNS = (
    ("A all REL", "A", "all", "rel", 100, ".2f"),
    ("d1.05", "A", "all", "delta_1_05", 100, ".1f"),
    ("B glass REL", "B", "transparent", "rel", 100, ".2f"),
    ("d1.05", "B", "transparent", "delta_1_05", 100, ".1f"),
    ("C all REL", "C", "all", "rel", 100, ".2f"),
    ("RMSE", "C", "all", "rmse_m", 1000, ".1f"),
    ("C glass REL", "C", "transparent", "rel", 100, ".2f"),
    ("RMSE", "C", "transparent", "rmse_m", 1000, ".1f"),
    ("d1.05", "C", "transparent", "delta_1_05", 100, ".1f"),
    ("cover", "C", "transparent", "coverage", 100, ".1f"),
)
#: title, number, factor, format: the scores of the papers
PUBLISHED_COLUMNS = (
    ("AbsRel", "abs_rel", 100, ".2f"),
    ("d1", "delta_1", 100, ".2f"),
    ("d2", "delta_2", 100, ".2f"),
    ("d3", "delta_3", 100, ".2f"),
    ("SqRel", "sq_rel_m", 1000, ".2f"),
    ("RMSE", "rmse_m", 1000, ".1f"),
    ("RMSE log", "rmse_log", 1, ".4f"),
    ("log10", "log10", 1, ".4f"),
    ("iRMSE", "inverse_rmse", 1, ".4f"),
    ("SILog", "silog", 1, ".2f"),
    ("temporal", "relative_temporal_difference", 1, ".4f"),
    ("B-F1", "boundary_f1", 1, ".3f"),
    ("B-P", "boundary_precision", 1, ".3f"),
    ("B-R", "boundary_recall", 1, ".3f"),
)
#: A recording's count of frames that no score is about.
WITHOUT_TRUTH = "pictures without ground truth"
#: title, protocol, region, number, factor, format: time, edges, normals, clouds
WHOLE_COLUMNS = (
    ("A TAE", "temporal", "A", "tae", 1, ".3f"),
    ("C TAE", "temporal", "C", "tae", 1, ".3f"),
    ("last write", "temporal", "C", "tae_last_write", 1, ".3f"),
    ("warped", "temporal", "C", "warped_difference", 100, ".3f"),
    ("seam", "temporal", "C", "seam_ratio", 1, ".2f"),
    ("edge F1", "boundaries", "depth_pro", "depth_pro_f1", 1, ".3f"),
    ("normals", "normals", "all", "mean_deg", 1, ".1f"),
    ("median", "normals", "all", "median_deg", 1, ".1f"),
    ("11.25", "normals", "all", "within_11_25", 100, ".1f"),
    ("22.5", "normals", "all", "within_22_5", 100, ".1f"),
    ("30", "normals", "all", "within_30", 100, ".1f"),
    ("glass", "normals", "transparent", "mean_deg", 1, ".1f"),
    ("chamfer", "clouds", "objects", "chamfer_m", 1000, ".2f"),
)
#: title, protocol, region, number, factor, format: beside the fit of A
FIT_COLUMNS = (
    ("A RMSE cm", "A", "all", "rmse_cm", 1, ".2f"),
    ("d1.10", "A", "all", "delta_1_10", 100, ".1f"),
    ("d1.25", "A", "all", "delta_1_25", 100, ".1f"),
    ("B d1.25", "B", "transparent", "delta_1_25", 100, ".1f"),
    ("C MAE mm", "C", "all", "mae_m", 1000, ".1f"),
)


def main_table(mean: Scores) -> str:
    """All methods under all protocols."""
    rows = [["", *(column[0] for column in COLUMNS)]]
    for title, method in reported_rows(mean).items():
        rows.append([title, *(cell(mean[method], *column[1:]) for column in COLUMNS)])
    return markdown(rows)


def twin(mean: Mapping[str, Any], engine: str) -> str:
    """Said where the engine of ours was asked for beside itself and has its scores to the last digit; else ""."""
    if engine not in mean or any(mean[engine].get(each) != mean[OURS].get(each) for each in "AC"):
        return ""
    return (
        f"{engine}: the engine of {OURS} itself, so the same numbers; --against is for another one, or other weights."
    )


def main_legend(videos: Sequence[VideoScores], limits: Range) -> str:
    """What ``main_table`` shows, of how many frames."""
    answered, frames = sum(video.answered for video in videos), sum(video.frames for video in videos)
    bare = sum(video.counts.get(WITHOUT_TRUTH, 0) for video in videos)
    without = f" ({bare} of the {frames} have no ground truth and are in no number)" if bare else ""
    said = "1 video" if len(videos) == 1 else f"{len(videos)} videos"
    lines = [f"{name}: {words}." for name, words in IN_WORDS.items()]
    lines.append(
        "REL, d1.05 (share of pixels within a factor of 1.05), cover (share that has an answer) in %, RMSE in mm."
    )
    lines.append(
        f"glass: pixels of glass, clear plastic and liquid. Scored: {answered} of {frames} frames of {said}{without},"
        f" ground truth within {limits.near_m} to {limits.far_m} m."
    )
    return "\n".join(lines)


def fit_table(videos: Sequence[VideoScores], mean: Scores) -> str:
    """What A fitted, over how many pixels, and how many C scored; then our own metric fit."""
    head = ["", "A scale", "A shift", "fitted px", *(column[0] for column in FIT_COLUMNS), "C scored px", "glass px"]
    rows, flags = [head], []
    for title, method in reported_rows(mean).items():
        fits = [video.scores[method]["A"]["alignment"] for video in videos if video.scores.get(method, {}).get("A")]
        flags += [f"{title}: {flag}." for flag in dict.fromkeys(fit["flag"] for fit in fits) if flag]
        numbers = [_spread([fit[name] for fit in fits if fit[name] is not None]) for name in ("scale", "shift")]
        fitted = str(sum(fit["pixels"] for fit in fits))
        errors = [cell(mean[method], *column[1:]) for column in FIT_COLUMNS]
        scored = [_scored(videos, method, region) for region in ("all", "transparent")]
        rows.append([title, *numbers, fitted, *errors, *scored])
    lines = [
        "A: 1/z = scale * disparity + shift, 1/z in 1/m; disparity is 1/depth of a method with metres; mean over videos"
        " [least .. greatest]; fitted px: pixels with truth and answer. d: share within a factor of 1.10, 1.25."
        " px: of all videos, scored / with ground truth.",
        *([own] if (own := _own_fit(videos)) else []),
        *flags,
    ]
    return "\n".join([markdown(rows), "", *lines])


def whole_table(mean: Scores) -> str:
    """What looks at whole pictures, of the methods that have it; "" if none has."""
    rows = [["", *(column[0] for column in WHOLE_COLUMNS)]]
    for title, method in reported_rows(mean).items():
        cells = [cell(mean[method], *column[1:]) for column in WHOLE_COLUMNS]
        if set(cells) != {"-"}:
            rows.append([title, *cells])
    if len(rows) == 1:
        return ""
    legend = (
        "TAE in % between successive frames moved by the true camera motion, nearest point kept (last write: the last"
        " one, as Video Depth Anything's script); warped: change of the error at a surface point in %; seam: jump"
        " between clips over that inside them; edge F1: Depth Pro's boundary F1; normals: mean and median angle in"
        " degrees, % within 11.25, 22.5, 30, all pixels, then the mean on glass; chamfer of objects in mm."
    )
    return "\n".join([markdown(rows), "", legend, *filter(None, [without_motion(mean)])])


def without_motion(mean: Mapping[str, Any]) -> str:
    """Why no method has a TAE; "" if one has, or if nothing was looked at in time."""
    found = [leaf for scores in mean.values() for leaf in scores.get("temporal", {}).values() if leaf.get("pixels")]
    if not found or any(leaf.get("tae") is not None for leaf in found):
        return ""
    return (
        "TAE and warped difference: of no method, as they move each frame into the next by the true camera motion, and"
        " this input has no camera poses with its ground truth (or no intrinsics, or no two frames in a row)."
    )


def published_table(mean: Scores, limits: Range) -> str:
    """The scores of the papers for the rows that have them, with their protocol; "" if they were not asked for."""
    asked = {name: scores for name, scores in mean.items() if "published" in scores}
    if not asked:
        return ""
    rows = [["", *(column[0] for column in PUBLISHED_COLUMNS)]]
    for name, scores in asked.items():
        rows.append([name, *(cell(scores, "published", "all", *column[1:]) for column in PUBLISHED_COLUMNS)])
    flags = [(name, scores["published"]["all"].get("flag")) for name, scores in asked.items()]
    lines = [
        f"Published protocol (DVD's chain): {PUBLISHED_IN_WORDS}.",
        "AbsRel and d1, d2, d3 (within 1.25, 1.25^2, 1.25^3) in %, SqRel and RMSE in mm, iRMSE in 1/m.",
        f"Ground truth strictly within {limits.near_m} to {limits.far_m} m.",
        *(f"Left out of the mean of {name}: {flag}." for name, flag in flags if flag),
    ]
    return "\n".join([markdown(rows), "", *lines])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the head, the first column is left-aligned, the others are right-aligned."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_line(rows[0], widths), f"| {' | '.join(rule)} |", *(_line(row, widths) for row in rows[1:])]
    return "\n".join(lines)


def cell(method: Mapping[str, Any], protocol: str, region: str, name: str, factor: float, form: str) -> str:
    """One number of a method's scores for a table; "-" where there is none."""
    value = number_of(method, protocol, region, name)
    return "-" if value is None else format(factor * value, form)


def _spread(values: Sequence[float]) -> str:
    """Mean [least .. greatest]."""
    if not values:
        return "-"
    mean = f"{np.mean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} [{min(values):.4g} .. {max(values):.4g}]"


def _scored(videos: Sequence[VideoScores], method: str, region: str) -> str:
    """Pixels of C with an answer / with ground truth; "-" of a method without metres."""
    leaves = [video.scores.get(method, {}).get("C", {}).get(region) for video in videos]
    pixels, asked = (sum(leaf[name] for leaf in leaves if leaf) for name in ("pixels", "reference_pixels"))
    return f"{pixels} / {asked}" if any(leaves) else "-"


def _own_fit(videos: Sequence[VideoScores]) -> str:
    """The metric fit that ours ran with, frame by frame; "" where nobody said."""
    curves = [video.curves for video in videos if video.curves is not None]
    if not curves:
        return ""
    scale, shift, residual, inliers = np.concatenate([each.fits for each in curves], axis=1)
    known = np.isfinite(scale)
    if not known.any():
        return ""
    parts = [f"{name} {_spread(values[known].tolist())}" for name, values in (("scale", scale), ("shift", shift))]
    return (
        f"{OURS}, C: its own fit to the sensor (or its other anchor), frame by frame: {', '.join(parts)}, residual"
        f" {np.mean(residual[known]):.2g} 1/m, {np.mean(inliers[known]):.0%} of the trusted pixels within three"
        f" residuals; in {known.sum()} of {known.size} frames."
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return f"| {' | '.join(cells)} |"
