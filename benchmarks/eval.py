"""Score the held-out renders and the bundled bag, and put both tables into benchmarks/RESULTS.md, newest first.

    python -m benchmarks.eval data/heldout --out out

Writes OUT/eval_NAME.json (every number) and OUT/eval_NAME/*.png (a contact sheet of each recording).
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
from pathlib import Path

from dkt_ros.commands import CommandError
from dkt_ros.commands.eval import evaluate_all
from dkt_ros.commands.run import add_engine_arguments, make_perception
from dkt_ros.demo import BUNDLED_BAG
from dkt_ros.evaluation.datasets import open_dataset
from dkt_ros.evaluation.layout import DatasetError
from dkt_ros.evaluation.protocols import Range
from dkt_ros.evaluation.recordings import RecordingError
from dkt_ros.evaluation.report import Report
from dkt_ros.files import written_whole

RESULTS = Path(__file__).with_name("RESULTS.md")
#: Stands in RESULTS.md above the newest section.
NEWEST_BELOW = "<!-- newest below -->\n"


def commit() -> str:
    """The commit that is checked out, with a plus if files differ from it."""
    try:
        name = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "no git"
    return name.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def section(title: str, report: Report) -> str:
    """What RESULTS.md gets for one set of recordings."""
    day = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    cost = f"{1000 * report.details['path_seconds_per_frame']:.0f} ms per frame for the whole path on this machine"
    parts = [f"## {title}, {day}, commit {commit()}, engine {report.engine}", report.table(), report.bars()]
    if len(report.videos) > 1:
        parts.append(report.by_video())
    return "\n\n".join([*parts, f"{cost} ({os.cpu_count()} CPU cores)"]) + "\n"


def main() -> int:
    """Evaluate, print, write, append."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of held-out sequences (*.tar)")
    parser.add_argument("--out", type=Path, default=Path("out"), help="folder for JSON and pictures")
    parser.add_argument("--dry", action="store_true", help="print only; leave RESULTS.md as it is")
    add_engine_arguments(parser)
    arguments = parser.parse_args()
    limits = Range()
    for title, path in (("held-out renders", arguments.data), ("bundled bag", BUNDLED_BAG)):
        name = title.replace(" ", "_")
        try:
            report = evaluate_all(
                open_dataset(path), make_perception(arguments), limits, arguments.out / f"eval_{name}"
            )
        except (CommandError, DatasetError, RecordingError) as error:
            parser.exit(1, f"{title}: {error}\n")
        report.write_json(arguments.out / f"eval_{name}.json")
        text = section(title, report)
        print(text)
        if not arguments.dry:
            head, mark, older = RESULTS.read_text().partition(NEWEST_BELOW)
            with written_whole(RESULTS) as path:
                path.write_text(f"{head}{mark}\n{text}{older}")
    return 0


if __name__ == "__main__":
    main()
