"""A report as JSON and as a table. Every table says which protocol, which pixels, how many videos."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dkt_ros import __version__
from dkt_ros.evaluation.evaluate import OURS, VideoScores, best_fill, mean_scores, number_of, reported_rows
from dkt_ros.evaluation.protocols import IN_WORDS, Range
from dkt_ros.evaluation.provenance import IN_WORDS as PROVENANCE_IN_WORDS
from dkt_ros.evaluation.published import IN_WORDS as PUBLISHED_IN_WORDS
from dkt_ros.evaluation.reliability import IN_WORDS as RELIABILITY_IN_WORDS
from dkt_ros.evaluation.reliability import Reliability, in_a_line
from dkt_ros.evaluation.whole_pictures import IN_WORDS as WHOLE_PICTURES_IN_WORDS
from dkt_ros.files import written_whole

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


@dataclass(frozen=True)
class Report:
    """Everything that one evaluation found.

    Attributes:
        videos: at least one.
        limits: which ground truth was scored.
        engine: name of the engine.
        command: how it was called.
        details: what else belongs in the JSON (frame rate, ages, drops, ...).
    """

    videos: Sequence[VideoScores]
    limits: Range
    engine: str
    command: Sequence[str]
    details: dict[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain values; no NaN anywhere (what could not be scored is null and has a flag)."""
        mean = mean_scores(self.videos)
        return {
            "dkt_ros": __version__,
            "versions": versions(),
            "command": list(self.command),
            "engine": self.engine,
            "protocols": IN_WORDS | ({"published": PUBLISHED_IN_WORDS} if self.published_table() else {}),
            "measures": WHOLE_PICTURES_IN_WORDS | {"provenance": PROVENANCE_IN_WORDS},
            "valid": f"ground truth within {self.limits.near_m} to {self.limits.far_m} m",
            "pooling": "pixels of a video together, then the mean over videos; frame_mean: the mean over frames first",
            "best_classical_fill": best_fill(mean),
            "rows": reported_rows(mean),
            "mean": mean,
            "confidence": {"what": RELIABILITY_IN_WORDS, **self.reliability().numbers()},
            "videos": [_plain(video) for video in self.videos],
            **self.details,
        }

    def table(self) -> str:
        """The one table, with its legend, as Markdown that reads well on a terminal too."""
        mean = mean_scores(self.videos)
        rows = [["", *(column[0] for column in COLUMNS)]]
        for title, method in reported_rows(mean).items():
            rows.append([title, *(_cell(mean[method], *column[1:]) for column in COLUMNS)])
        return f"{markdown(rows)}\n\n{self._legend()}"

    def published_table(self) -> str:
        """The scores of the papers for the rows that have them, with their protocol; "" if they were not asked for."""
        mean = {name: scores for name, scores in mean_scores(self.videos).items() if "published" in scores}
        if not mean:
            return ""
        rows = [["", *(column[0] for column in PUBLISHED_COLUMNS)]]
        for name, scores in mean.items():
            rows.append([name, *(_cell(scores, "published", "all", *column[1:]) for column in PUBLISHED_COLUMNS)])
        flags = [(name, scores["published"]["all"].get("flag")) for name, scores in mean.items()]
        lines = [
            f"Published protocol (DVD's chain): {PUBLISHED_IN_WORDS}.",
            "AbsRel and d1, d2, d3 (within 1.25, 1.25^2, 1.25^3) in %, SqRel and RMSE in mm, iRMSE in 1/m.",
            f"Ground truth strictly within {self.limits.near_m} to {self.limits.far_m} m.",
            *(f"Left out of the mean of {name}: {flag}." for name, flag in flags if flag),
        ]
        legend = "\n".join(lines)
        return f"{markdown(rows)}\n\n{legend}"

    def reliability(self) -> Reliability:
        """Of the confidence, the pixels of all videos together."""
        return Reliability.of(video.reliability for video in self.videos)

    def confidence_line(self) -> str:
        """How far our confidence is a probability; "" if there are no metres."""
        return in_a_line(self.reliability().numbers(bins=False))

    def bars(self) -> str:
        """The project's own bars, each with what was reached."""
        mean = mean_scores(self.videos)
        best = best_fill(mean)
        seen = _share(mean, OURS, "raw sensor", "transparent_seen", "rel")
        fill = _share(mean, OURS, best, "transparent", "rel") if best else None
        opaque = [number_of(mean.get(m, {}), "C", "opaque_seen", "median_abs_m") for m in (OURS, "raw sensor")]
        lines = []
        if seen is not None:
            lines.append(
                f"transparent pixels where the sensor returned something: REL is {seen:.2f} of the sensor's"
                f" (bar: 0.50){_answered(mean, 'transparent_seen')}"
            )
        if fill is not None:
            side = "below" if fill <= 1 else "above"
            lines.append(
                f"all transparent pixels: REL is {abs(1 - fill):.0%} {side} the best classical fill's"
                f" (bar: 25% below){_answered(mean, 'transparent')}"
            )
        if opaque[0] is not None and opaque[1] is not None:
            worse = 1000 * (opaque[0] - opaque[1])
            lines.append(
                f"opaque pixels: median |error| is {worse:+.2f} mm against the sensor's"
                f" (bar: +2 mm){_answered(mean, 'opaque_seen')}"
            )
        return "\n".join(f"- {line}" for line in lines)

    def by_video(self) -> str:
        """REL on transparent pixels under protocol C, video by video, the worst of ours first: where it fails."""
        best = best_fill(mean_scores(self.videos))
        methods = [name for name in ("raw sensor", best, OURS) if name]
        rows = [["C glass REL", *methods, "glass pixels"]]
        for video in sorted(self.videos, key=lambda video: -(_glass_rel(video.scores, OURS) or 0.0)):
            numbers = [_cell(video.scores.get(name, {}), "C", "transparent", "rel", 100, ".2f") for name in methods]
            pixels = video.scores[OURS]["C"].get("transparent", {}).get("reference_pixels", 0)
            rows.append([video.name, *numbers, str(pixels)])
        return markdown(rows)

    def write_json(self, path: Path) -> None:
        """Write ``as_json`` so that the file is whole or not there.

        Raises:
            OSError: the folder is absent or the disk is full.
        """
        with written_whole(path) as temporary:
            temporary.write_text(json.dumps(self.as_json(), indent=1, allow_nan=False) + "\n")

    def _legend(self) -> str:
        answered, frames = sum(v.answered for v in self.videos), sum(v.frames for v in self.videos)
        videos = "1 video" if len(self.videos) == 1 else f"{len(self.videos)} videos"
        lines = [f"{name}: {words}." for name, words in IN_WORDS.items()]
        lines.append("REL, d1.05 (share of pixels within 5 %) and cover (share that has an answer) in %, RMSE in mm.")
        lines.append(
            f"glass: pixels of glass, clear plastic and liquid. Scored: {answered} of {frames} frames of {videos},"
            f" ground truth within {self.limits.near_m} to {self.limits.far_m} m."
        )
        return "\n".join(lines)


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is the head, the first column is left-aligned, the others are right-aligned."""
    widths = [max(3, *(len(row[i]) for row in rows)) for i in range(len(rows[0]))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_line(rows[0], widths), f"| {' | '.join(rule)} |", *(_line(row, widths) for row in rows[1:])]
    return "\n".join(lines)


def versions() -> dict[str, str]:
    """Of Python and of what decides the numbers; a package that is not installed is left out."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("numpy", "opencv-python-headless", "torch", "diffusers", "rosbags"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def command_line() -> list[str]:
    """How this process was started, without folders of this machine in front of the program."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _plain(video: VideoScores) -> dict[str, Any]:
    of_confidence = None if video.reliability is None else video.reliability.numbers(bins=False)
    return asdict(replace(video, reliability=None)) | {"reliability": of_confidence}


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
    return f"| {' | '.join(cells)} |"


def _cell(method: dict[str, Any], protocol: str, region: str, name: str, factor: float, form: str) -> str:
    value = number_of(method, protocol, region, name)
    return "-" if value is None else format(factor * value, form)


def _glass_rel(scores: dict[str, Any], method: str) -> float | None:
    return number_of(scores.get(method, {}), "C", "transparent", "rel")


def _answered(mean: dict[str, Any], region: str) -> str:
    """How much of a region ours has an answer for; what it leaves out is in no error."""
    leaf = mean.get(OURS, {}).get("C", {}).get(region, {})
    videos, asked = leaf.get("videos", 0), leaf.get("videos_asked", 0)
    return f"; ours answers {leaf.get('coverage', 0.0):.1%} of them, in {videos} of {asked} videos"


def _share(mean: dict[str, Any], ours: str, theirs: str, region: str, name: str) -> float | None:
    a, b = (number_of(mean.get(method, {}), "C", region, name) for method in (ours, theirs))
    return a / b if a is not None and b else None
