"""Everything that one evaluation found: as JSON and in sentences; its tables are in ``tables``."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dkt_ros import __version__
from dkt_ros.evaluation.baselines import RAW_SENSOR
from dkt_ros.evaluation.evaluate import VideoScores
from dkt_ros.evaluation.means import OURS, best_fill, mean_scores, number_of, reported_rows
from dkt_ros.evaluation.protocols import IN_WORDS, Range
from dkt_ros.evaluation.provenance import IN_WORDS as PROVENANCE_IN_WORDS
from dkt_ros.evaluation.published import IN_WORDS as PUBLISHED_IN_WORDS
from dkt_ros.evaluation.reliability import IN_WORDS as RELIABILITY_IN_WORDS
from dkt_ros.evaluation.reliability import Reliability, astray, in_a_line
from dkt_ros.evaluation.tables import (
    cell,
    fit_table,
    main_legend,
    main_table,
    markdown,
    published_table,
    twin,
    whole_table,
)
from dkt_ros.evaluation.verdicts import SENSOR_IS_RIGHT, beside
from dkt_ros.evaluation.whole_pictures import IN_WORDS as WHOLE_PICTURES_IN_WORDS
from dkt_ros.files import written_whole
from dkt_ros.fills import CLASSICAL_FILLS


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
        rows = reported_rows(mean)
        return {
            "dkt_ros": __version__,
            "versions": versions(),
            "command": list(self.command),
            "engine": self.engine,
            "protocols": IN_WORDS | ({"published": PUBLISHED_IN_WORDS} if published_table(mean, self.limits) else {}),
            "measures": WHOLE_PICTURES_IN_WORDS | {"provenance": PROVENANCE_IN_WORDS},
            "limits": asdict(self.limits),
            "valid": f"ground truth within {self.limits.near_m} to {self.limits.far_m} m",
            "pooling": "pixels of a video together, then the mean over videos; report.json has the mean over frames"
            " first, too (frame_mean)",
            "best_classical_fill": best_fill(mean),
            "rows": rows,
            "mean": mean,
            "confidence": {"what": RELIABILITY_IN_WORDS, **self.reliability().numbers()},
            "videos": [_plain(video, _drawn(rows.values(), best_fill(mean))) for video in self.videos],
            **self.details,
        }

    def table(self) -> str:
        """The one table, with its legend, as Markdown that reads well on a terminal too."""
        mean = mean_scores(self.videos)
        said = filter(None, (main_legend(self.videos, self.limits), twin(mean, self.engine)))
        return "\n".join([main_table(mean), "", *said])

    def more_tables(self) -> list[str]:
        """The fits with their pixels; what looks at whole pictures; the papers' scores: those that there are."""
        mean = mean_scores(self.videos)
        return [fit_table(self.videos, mean), *filter(None, (whole_table(mean), published_table(mean, self.limits)))]

    def reliability(self) -> Reliability:
        """Of the confidence, the pixels of all videos together."""
        return Reliability.of(video.reliability for video in self.videos)

    def confidence_line(self) -> str:
        """How far our confidence is a probability, and where it is not; "" if there are no metres."""
        numbers = self.reliability().numbers(bins=False)
        return "\n".join(filter(None, (in_a_line(numbers), *astray(numbers))))

    def bars(self) -> str:
        """The project's own bars, each with what was reached."""
        mean = mean_scores(self.videos)
        best = best_fill(mean)
        seen = _share(mean, OURS, RAW_SENSOR, "transparent_seen", "rel")
        fill = _share(mean, OURS, best, "transparent", "rel") if best else None
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
        for region, words in SENSOR_IS_RIGHT.items():
            if said := beside(mean, region, RAW_SENSOR, "the sensor"):
                lines.append(
                    f"{words} where the sensor returned something: {said}{_median(mean, region)}"
                    f"{_answered(mean, region)}"
                )
        head = "What this project demands of itself (the bars), and what was reached:"
        return "\n".join([head, *(f"- {line}" for line in lines)]) if lines else ""

    def by_video(self) -> str:
        """REL on transparent pixels under protocol C, video by video, the worst of ours first: where it fails."""
        best = best_fill(mean_scores(self.videos))
        methods = [name for name in ("raw sensor", best, OURS) if name]
        rows = [["C glass REL", *methods, "glass pixels"]]
        for video in sorted(self.videos, key=lambda video: -(_glass_rel(video.scores, OURS) or 0.0)):
            numbers = [cell(video.scores.get(name, {}), "C", "transparent", "rel", 100, ".2f") for name in methods]
            pixels = video.scores[OURS]["C"].get("transparent", {}).get("reference_pixels", 0)
            rows.append([video.name, *numbers, str(pixels)])
        return markdown(rows)

    def write_json(self, path: Path) -> None:
        """Write ``as_json`` so that the file is whole or not there.

        Raises:
            OSError: see ``write_values``.
        """
        write_values(self.as_json(), path)


def write_values(values: dict[str, Any], path: Path) -> None:
    """Write plain values as JSON, so that the file is whole or not there.

    Raises:
        OSError: the folder cannot be written, or the disk is full.
    """
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")


def versions() -> dict[str, str]:
    """Of Python and of what decides the numbers; a package that is not installed is left out."""
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in ("numpy", "opencv-python-headless", "torch", "diffusers", "rosbags", "scipy", "open3d", "OpenEXR"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def command_line() -> list[str]:
    """How this process was started, without folders of this machine in front of the program."""
    program = Path(sys.argv[0]).name
    return ["dkt" if program == "cli.py" else program, *sys.argv[1:]]


def _drawn(methods: Collection[str], best: str | None) -> list[str]:
    """Those that have curves: the raw sensor, the best fill, the engines."""
    return [name for name in methods if name == best or not name.startswith(tuple(CLASSICAL_FILLS))]


def _plain(video: VideoScores, drawn: Collection[str]) -> dict[str, Any]:
    of_confidence = None if video.reliability is None else video.reliability.numbers(bins=False)
    plain = asdict(replace(video, reliability=None, curves=None))
    return plain | {
        "reliability": of_confidence,
        "curves": None if video.curves is None else video.curves.plain(drawn),
    }


def _glass_rel(scores: dict[str, Any], method: str) -> float | None:
    return number_of(scores.get(method, {}), "C", "transparent", "rel")


def _answered(mean: dict[str, Any], region: str) -> str:
    """How much of a region ours has an answer for; what it leaves out is in no error."""
    leaf = mean.get(OURS, {}).get("C", {}).get(region, {})
    videos, asked = leaf.get("videos", 0), leaf.get("videos_asked", 0)
    return f"; ours answers {leaf.get('coverage', 0.0):.1%} of them, in {videos} of {asked} videos"


def _median(mean: dict[str, Any], region: str) -> str:
    """Says little of harm: where ours is wrong in few pixels, and by much, the median does not move."""
    ours, sensor = (number_of(mean.get(name, {}), "C", region, "median_abs_m") for name in (OURS, RAW_SENSOR))
    if ours is None or sensor is None:
        return ""
    bar = " (bar: +2 mm)" if region == "opaque_seen" else ""
    return f"; median |error| is {1000 * (ours - sensor):+.2f} mm against the sensor's{bar}"


def _share(mean: dict[str, Any], ours: str, theirs: str, region: str, name: str) -> float | None:
    a, b = (number_of(mean.get(method, {}), "C", region, name) for method in (ours, theirs))
    return a / b if a is not None and b else None
