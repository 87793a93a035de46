"""Score the held-out renders and the bundled bag, and put both tables into benchmarks/RESULTS.md, newest first.

    python -m benchmarks.eval data/heldout --out out
    python -m benchmarks.eval data/unseen --dry          only print, of other renders

Writes OUT/NAME/report.json, report.html and timing.json, as `dkt eval --out` does, NAME being that of the folder of
renders and "bundled_bag".
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

from dkt_ros.commands import CommandError
from dkt_ros.commands.run import add_engine_arguments, make_cuts, make_perception
from dkt_ros.demo import BUNDLED_BAG
from dkt_ros.evaluation.baselines import RAW_SENSOR
from dkt_ros.evaluation.datasets import open_dataset
from dkt_ros.evaluation.layout import DatasetError
from dkt_ros.evaluation.means import OURS, Scores, mean_scores
from dkt_ros.evaluation.players import InProcess
from dkt_ros.evaluation.recordings import RecordingError
from dkt_ros.evaluation.running import EvaluationError, Outcome, evaluate_all
from dkt_ros.files import written_whole
from dkt_ros.fills import CLASSICAL_FILLS

RESULTS = Path(__file__).with_name("RESULTS.md")
#: Stands in RESULTS.md above the newest section.
NEWEST_BELOW = "<!-- newest below -->\n"
#: So many of the worst videos are named there.
WORST = 5


def commit() -> str:
    """The commit that is checked out, with a plus if files differ from it."""
    try:
        name = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "no git"
    return name.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def machine() -> str:
    """Processor, cores and load, in words."""
    try:
        told = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        told = []
    model = next((line.partition(":")[2].strip() for line in told if line.startswith("model name")), platform.machine())
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def metal(mean: Scores) -> str:
    """A line on shiny metal under protocol C; "" where nobody knows which pixels those are."""
    found = {
        name: leaf
        for name in (RAW_SENSOR, *CLASSICAL_FILLS, OURS)
        if (leaf := mean[name]["C"].get("specular", {})).get("rel") is not None
    }
    if not {RAW_SENSOR, OURS} <= set(found):
        return ""
    fill = min((name for name in found if name in CLASSICAL_FILLS), key=lambda name: found[name]["rel"])
    parts = [
        f"{name} {100 * found[name]['rel']:.2f} % (cover {found[name]['coverage']:.0%})"
        for name in (RAW_SENSOR, fill, OURS)
    ]
    return f"Shiny metal, C REL in {found[OURS]['videos']} videos: {', '.join(parts)}."


def section(title: str, path: Path, outcome: Outcome, at: str) -> str:
    """What RESULTS.md gets for one set of recordings."""
    day, report, timing = datetime.datetime.now(datetime.timezone.utc).date(), outcome.report, outcome.timing
    cost = f"{1000 * timing['path_seconds_per_frame']:.0f} ms per frame for the path alone on this machine"
    lines = [
        f"## {title}, {day.isoformat()}, commit {at}, engine {report.engine}",
        f"`make eval` (as `dkt eval {path} --published --out DIR`), {machine()}.",
        report.table(),
        *report.more_tables(),
        report.confidence_line(),
        report.bars(),
        metal(mean_scores(report.videos)),
    ]
    if len(report.videos) > WORST:
        lines.append("\n".join(report.by_video().splitlines()[: 2 + WORST]) + f"\n\nThe worst {WORST} of them.")
    return "\n\n".join(filter(None, [*lines, cost])) + "\n"


def evaluated(arguments: argparse.Namespace) -> Iterator[str]:
    """The section of each set, once its report is written."""
    renders, at = arguments.data.resolve().name, commit()  # before RESULTS.md differs from it
    titles = {"heldout": "held-out renders", "unseen": "renders of what training never saw"}
    for title, name, path in (
        (titles.get(renders, renders), renders, arguments.data),
        ("bundled bag", "bundled_bag", BUNDLED_BAG),
    ):
        dataset = open_dataset(path)
        ours = InProcess(make_perception(arguments), make_cuts(arguments))
        outcome = evaluate_all(dataset, ours, dataset.limits, published=True, pictures=True)
        outcome.write(arguments.out / name)
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        yield section(title, shown, outcome, at)


def main() -> int:
    """Evaluate, print, write, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of held-out sequences (*.tar)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for the reports")
    parser.add_argument("--dry", action="store_true", help="leave RESULTS.md as it is")
    add_engine_arguments(parser)
    arguments = parser.parse_args()
    try:
        for text in evaluated(arguments):
            print(text)
            if not arguments.dry:
                head, mark, older = RESULTS.read_text().partition(NEWEST_BELOW)
                with written_whole(RESULTS) as path:
                    path.write_text(f"{head}{mark}\n{text}{older}")
    except (CommandError, DatasetError, EvaluationError, RecordingError, OSError) as error:
        parser.exit(1, f"benchmarks.eval: {error}\n")
    return 0


if __name__ == "__main__":
    main()
